"""The part of the Segment widget that shows the result of a run."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.core.agreement import agreement_unavailable_reason
from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation
from napari_latentseg.measure import Measurement, expected_dice_lines
from napari_latentseg.widgets._shared.map_style import MAP_ROLES, map_meaning
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets.segment.form import SOURCE_LABELS

__all__ = ["ResultPanel"]

_ROLES = ("mask", *reversed(MAP_ROLES))
# why no more samples can be drawn, by source
_NO_MORE_SAMPLES = {
    "none": "This source is deterministic",
    "members": "Each ensemble member gives one sample; set the number above and segment again",
}


class ResultPanel(QWidget):
    """Sizes of the classes, visibility of the layers, more samples, review, export.

    Signals
    -------
    more_requested
        The user wants five more samples.
    review_requested
        The user wants to review the result.
    export_requested
        The user wants to export the result.
    """

    more_requested = Signal()
    review_requested = Signal()
    export_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.size_text = QLabel()
        self.size_text.setWordWrap(True)
        self.interval_note = QLabel()
        self.interval_note.setWordWrap(True)
        self.dice_text = QLabel()
        self.dice_text.setWordWrap(True)
        self.dice_text.setToolTip(
            "The Dice of the model's mask against a reference, as on the images that the model was calibrated"
            " with (see the model card); not of a mask that you have corrected"
        )
        self.run_note = QLabel()
        self.run_note.setWordWrap(True)
        self.toggles: dict[str, QPushButton] = {}
        toggle_row = QHBoxLayout()
        toggle_row.addWidget(QLabel("Show"))
        for role in _ROLES:
            button = QPushButton(role.capitalize())
            button.setCheckable(True)
            button.clicked.connect(lambda on, role=role: self._toggle(role, on))
            self.toggles[role] = button
            toggle_row.addWidget(button, 1)
        self.more_button = QPushButton("+5 samples")
        self.review_button = QPushButton("Review")
        self.review_button.setToolTip("Review the regions where the samples differ most")
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip("Write mask, mean, variance and the run record to a folder")
        self.more_button.clicked.connect(self.more_requested)
        self.review_button.clicked.connect(self.review_requested)
        self.export_button.clicked.connect(self.export_requested)
        buttons = QHBoxLayout()
        buttons.addWidget(self.more_button)
        buttons.addWidget(self.review_button)
        buttons.addWidget(self.export_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.size_text)
        layout.addWidget(self.interval_note)
        layout.addWidget(self.dice_text)
        layout.addLayout(toggle_row)
        layout.addWidget(self.run_note)
        layout.addLayout(buttons)
        self._layers: ResultLayers | None = None
        self._segmentation: Segmentation | None = None

    def show_result(
        self,
        segmentation: Segmentation,
        layers: ResultLayers,
        sizes: Iterable[Measurement],
        note: str,
    ) -> None:
        """Show a result, the sizes of its classes and a note on them; follow the visibility of its layers."""
        self._layers, self._segmentation = layers, segmentation
        for layer in layers.all_layers:
            layer.events.visible.disconnect(self._update_toggles)
            layer.events.visible.connect(self._update_toggles)
        record = segmentation.record
        self.size_text.setText("\n".join(row.describe() for row in sizes))
        self.interval_note.setText(note)
        estimates = expected_dice_lines(record.expected_dice)
        self.dice_text.setText("\n".join(estimates))
        self.dice_text.setVisible(bool(estimates))
        self.run_note.setText(_run_note(segmentation))
        self.more_button.setEnabled(record.source not in _NO_MORE_SAMPLES)
        self.more_button.setToolTip(
            _NO_MORE_SAMPLES.get(record.source, "Add five samples to the mean and variance")
        )
        self._update_toggles()

    def set_busy(self, busy: bool) -> None:
        """Disable the panel during a run."""
        self.setEnabled(not busy)

    def _toggle(self, role: str, on: bool) -> None:
        for layer in self._layers.layers_of(role) if self._layers is not None else []:
            layer.visible = on

    def _update_toggles(self, event: object = None) -> None:
        for role, button in self.toggles.items():
            shown = self._layers.layers_of(role) if self._layers is not None else []
            button.setEnabled(bool(shown))
            button.setChecked(any(layer.visible for layer in shown))
            button.setToolTip(self._tooltip(role, bool(shown)))

    def _tooltip(self, role: str, is_in_viewer: bool) -> str:
        segmentation = self._segmentation
        if segmentation is None:
            return ""
        if is_in_viewer and role == "mask":
            return "Voxels whose mean probability exceeds the threshold."
        if is_in_viewer:
            return map_meaning(role, segmentation.record.samples)
        reason = agreement_unavailable_reason(segmentation) if role == "agreement" else ""
        return reason or f"This run has no {role}"


def _run_note(segmentation: Segmentation) -> str:
    record, region = segmentation.record, segmentation.segmented_region
    if record.source == "none":
        line = "Single pass: no variance"
    else:
        line = f"{record.samples} samples from {SOURCE_LABELS[record.source]}"
    if region.is_cancelled:
        requested = f" of {record.samples_asked} requested" if record.samples < record.samples_asked else ""
        line = f"Cancelled: {line}{requested}"
        line += f"; {region.describe_missing()}" if region.missing_count else ""
    elif not region.is_whole:
        line += f", on {region.describe()}"
    if record.source != "none" and record.samples < MIN_SAMPLES_FOR_VARIANCE:
        line += f". A variance needs {MIN_SAMPLES_FOR_VARIANCE} samples or more"
    return f"{line}."
