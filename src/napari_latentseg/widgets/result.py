"""The part of the Segment widget that shows what came out."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.measure import Extent
from napari_latentseg.segmentation import MINIMUM_FOR_VARIANCE, Segmentation
from napari_latentseg.widgets.form import SOURCE_LABELS
from napari_latentseg.widgets.result_layers import ResultLayers

__all__ = ["ResultPanel"]

_LEGEND = {
    "mask": "The places whose mean probability is above the cut.",
    "mean": "How often, and how surely, the samples called a place the class: 0 never, 1 always.",
    "variance": "How much the samples differ at a place. A small variance is no proof of being right.",
}
# why no further samples can be drawn, by their source
_NO_MORE = {
    "none": "This source gives the same answer every time",
    "members": "Each member of the model gives one sample; choose how many above, and segment again",
}


class ResultPanel(QWidget):
    """How large the classes are, which layers show, more samples, export.

    Signals
    -------
    more_wanted
        Five more samples were asked for.
    review_wanted
        The result is to be reviewed.
    export_wanted
        The result is to be written.
    """

    more_wanted = Signal()
    review_wanted = Signal()
    export_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.extent = QLabel()
        self.extent.setWordWrap(True)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.toggles: dict[str, QPushButton] = {}
        shown = QHBoxLayout()
        shown.addWidget(QLabel("Show"))
        for role, legend in _LEGEND.items():
            button = QPushButton(role.capitalize())
            button.setCheckable(True)
            button.setToolTip(legend)
            button.clicked.connect(lambda on, role=role: self._toggle(role, on))
            self.toggles[role] = button
            shown.addWidget(button, 1)
        self.more = QPushButton("+5 samples")
        self.review = QPushButton("Review")
        self.review.setToolTip("Go through the places where the samples differ most")
        self.export = QPushButton("Export…")
        self.export.setToolTip("Write mask, mean, variance and the record of the run into a folder")
        self.more.clicked.connect(self.more_wanted)
        self.review.clicked.connect(self.review_wanted)
        self.export.clicked.connect(self.export_wanted)
        buttons = QHBoxLayout()
        buttons.addWidget(self.more)
        buttons.addWidget(self.review)
        buttons.addWidget(self.export)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.extent)
        layout.addLayout(shown)
        layout.addWidget(self.note)
        layout.addLayout(buttons)
        self._layers: ResultLayers | None = None

    def show_result(self, found: Segmentation, layers: ResultLayers, extents: Iterable[Extent]) -> None:
        """Show a result and follow the visibility of its layers."""
        if self._layers is not layers:
            self._layers = layers
        for role in _LEGEND:
            for layer in layers.of(role):
                layer.events.visible.disconnect(self._follow)
                layer.events.visible.connect(self._follow)
        record = found.record
        self.extent.setText("\n".join(e.text() for e in extents))
        self.note.setText(_note(found))
        self.more.setEnabled(record.source not in _NO_MORE)
        self.more.setToolTip(
            _NO_MORE.get(record.source, "Draw five more and take them into the mean and the variance")
        )
        self._follow()

    def set_busy(self, busy: bool) -> None:
        """While a run is under way nothing more can be asked."""
        self.setEnabled(not busy)

    def _toggle(self, role: str, on: bool) -> None:
        for layer in self._layers.of(role) if self._layers is not None else []:
            layer.visible = on

    def _follow(self, event: object = None) -> None:
        for role, button in self.toggles.items():
            shown = self._layers.of(role) if self._layers is not None else []
            button.setEnabled(bool(shown))
            button.setChecked(any(layer.visible for layer in shown))
            button.setToolTip(_LEGEND[role] if shown else f"This run has no {role}")


def _note(found: Segmentation) -> str:
    record = found.record
    if record.source == "none":
        return "One answer, no samples: there is no variance to show."
    line = f"{record.samples} samples from {SOURCE_LABELS[record.source]}"
    if not record.complete:
        line += f" (of {record.samples_asked} asked for"
        line += f"; {record.planes_done} of {record.planes} slices)" if record.planes > 1 else ")"
    elif record.slices is not None and record.slices != (0, record.planes - 1):
        first, last = record.slices
        line += f", on {last - first + 1} of {record.planes} slices"
    if record.samples < MINIMUM_FOR_VARIANCE:
        line += f". A variance needs {MINIMUM_FOR_VARIANCE} or more."
    return line
