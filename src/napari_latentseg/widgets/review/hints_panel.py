"""The controls of hints, and of taking a sample into the correction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QCheckBox, QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.core.hints import MIN_EFFECTIVE_SAMPLES
from napari_latentseg.core.reweight import reweight_unavailable_reason
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.controls import WrappedLabel, elastic_combo
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.sample_contours import sample_contours_of
from napari_latentseg.widgets._shared.threads import show_exception
from napari_latentseg.widgets.review.hints import hinting_of
from napari_latentseg.widgets.review.sample_copy import take_sample

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["HintsPanel"]

_TOO_LOW = (
    " Hardly any sample agrees with the hints: correct the mask (Edit), or point at the structure with a"
    " model that answers clicks."
)


class HintsPanel(QWidget):
    """Hints for results whose samples are kept; hidden for others.

    Parameters
    ----------
    viewer
        The viewer.

    Signals
    -------
    sample_taken
        A sample was copied into the correction.
    """

    sample_taken = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._result: RunResult | None = None
        self.hinting = hinting_of(viewer)
        self.inside_button = QPushButton("+ Part of it")
        self.outside_button = QPushButton("\u2212 Not part")
        self.back_button = QPushButton("Take back")
        self.message = WrappedLabel()
        self.sample = elastic_combo("The sample to take, in the colour of its outline")
        self.take_button = QPushButton("Take sample here")
        self.object_box = QCheckBox("only the object at the last hint")
        self._lay_out()
        self.inside_button.clicked.connect(lambda on: self._on_mode(True, on))
        self.outside_button.clicked.connect(lambda on: self._on_mode(False, on))
        self.back_button.clicked.connect(self.hinting.take_back)
        self.take_button.clicked.connect(self.take)
        self.hinting.changed.connect(self.update_state)

    def _lay_out(self) -> None:
        for button in (self.inside_button, self.outside_button):
            button.setCheckable(True)
        self.take_button.setToolTip(
            "Copy the mask of this sample on the slice on screen into the correction; one step of undo"
        )
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.addWidget(PlainLabel("Hints"), 0, 0)
        grid.addWidget(self.inside_button, 0, 1)
        grid.addWidget(self.outside_button, 0, 2)
        grid.addWidget(self.back_button, 0, 3)
        grid.addWidget(self.sample, 1, 0, 1, 2)
        grid.addWidget(self.take_button, 1, 2, 1, 2)
        grid.addWidget(self.object_box, 2, 0, 1, 4)
        for column in (1, 2, 3):
            grid.setColumnStretch(column, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(grid)
        layout.addWidget(self.message)

    def show_result(self, result: RunResult | None) -> None:
        """Show the hints of a result; None hides the controls."""
        self._result = result
        segmentation = result.segmentation if result is not None else None
        # a result of files, of one pass or too large has no single samples, and so nothing to choose between
        self.setVisible(segmentation is not None and not reweight_unavailable_reason(segmentation))
        if segmentation is None or segmentation.sample_maps is None:
            return
        count = segmentation.sample_maps.sample_count
        if self.sample.count() != count:
            colours = sample_contours_of(self._viewer).colours
            chosen = self.sample.currentIndex()
            self.sample.clear()
            for number in range(count):
                self.sample.addItem(_swatch(colours[number % len(colours)]), f"sample {number + 1}", number)
            self.sample.setCurrentIndex(chosen if 0 <= chosen < count else 0)
        self.update_state()

    def update_state(self) -> None:
        """Follow the hints."""
        result, hinting = self._result, self.hinting
        if result is None or result.segmentation is None:
            return
        reason = hinting.unavailable_reason(result)
        counts = hinting.counts_clicks and not reason
        for button, inside in ((self.inside_button, True), (self.outside_button, False)):
            button.setEnabled(not reason)
            button.setChecked(counts and hinting.inside == inside)
            kind = "belongs to the class" if inside else "does not belong to the class"
            button.setToolTip(
                reason
                or f"Click where something {kind}: samples that agree count more. Hold Shift for the other"
            )
        hints = hinting.hints_of(result)
        self.back_button.setEnabled(bool(hints) and not reason)
        self.back_button.setToolTip(
            reason
            or (
                "Take the last hint back; without hints the result is what it was"
                if hints
                else "No hint was given"
            )
        )
        self.object_box.setEnabled(bool(hints))
        self.object_box.setToolTip(
            "Leave the other objects of the slice as they are" if hints else "Give a hint in an object first"
        )
        self.message.setText(self._text(result, len(hints)))
        self.message.setVisible(bool(self.message.text()))

    def _text(self, result: RunResult, count: int) -> str:
        assert result.segmentation is not None
        record = result.segmentation.record
        if self.hinting.is_computing:
            percent = self.hinting.percent
            return f"Weighting the samples… {percent} %" if percent else "Weighting the samples…"
        if record.hints is None:
            is_ready = self.hinting.counts_clicks and not count
            return "Click in the image; each click is a hint." if is_ready else ""
        effective = record.hints.effective_samples
        text = (
            f"{count_text(len(record.hints.hints), 'hint')}: {count_text(record.samples, 'sample')},"
            f" effective number {effective:.1f}."
        )
        return text + (_TOO_LOW if effective < MIN_EFFECTIVE_SAMPLES else "")

    def _on_mode(self, inside: bool, on: bool) -> None:
        if self._result is None:
            return
        if on:
            self.hinting.start(self._result, inside=inside)
        else:
            self.hinting.stop()
        self.update_state()

    def take(self) -> None:
        """Copy the chosen sample of the slice on screen into the correction."""
        if self._result is None:
            return
        try:
            hints = self.hinting.hints_of(self._result) if self.object_box.isChecked() else ()
            place = hints[-1].voxel if hints else None
            changed = take_sample(self._viewer, self._result, int(self.sample.currentData()), place)
        except BadInput as error:
            show_exception(error)
            return
        name = self.sample.currentText()
        self.update_state()
        self.message.setText(f"{count_text(changed, 'voxel')} are those of {name} now. Ctrl+Z takes it back.")
        self.message.setVisible(True)
        self.sample_taken.emit()


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(color))
    return QIcon(pixmap)
