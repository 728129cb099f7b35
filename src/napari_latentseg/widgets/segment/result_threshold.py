"""The threshold of a finished result, which belongs to it alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from magicgui.widgets import FloatSlider
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_latentseg.widgets._shared.keys import key_text
from napari_latentseg.widgets._shared.plain_text import PlainLabel

if TYPE_CHECKING:
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["ResultThreshold"]

_STEP = 0.05  # of the keys
_RUN_IN_PROGRESS = "A run is in progress; wait or cancel"
_DIGITS = 6  # that a slider keeps: a step down and one up lead back to a threshold such as 0.461382


class ResultThreshold(QWidget):
    """A slider that follows the result on screen; the threshold of the next run is another field.

    Signals
    -------
    threshold_chosen
        The threshold that a person chose, in [0, 1].
    """

    threshold_chosen = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.slider = FloatSlider(value=0.5, min=0.05, max=0.95, step=0.01)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(PlainLabel("Threshold"))
        layout.addWidget(self.slider.native, 1)
        self._is_following = False
        self._tooltip = ""
        self.slider.changed.connect(self._on_moved)

    def show_result(self, result: RunResult) -> None:
        """Follow a finished result."""
        if result.segmentation is None:
            return
        reason = result.threshold_locked_reason
        self.slider.native.setEnabled(not reason)
        self._tooltip = (
            reason
            or "A voxel belongs to the mask of this result where its mean probability exceeds the threshold"
            f" ({key_text('threshold_down')} and {key_text('threshold_up')})"
        )
        self._show_tooltip()
        self._is_following = True
        threshold = float(result.segmentation.record.threshold)
        self.slider.value = min(max(threshold, self.slider.min), self.slider.max)
        self._is_following = False

    def set_busy(self, busy: bool) -> None:
        """Disable the slider during a run."""
        self.setEnabled(not busy)
        self._show_tooltip()

    def _show_tooltip(self) -> None:
        # of the row: the number beside the slider is a widget of its own, which magicgui gives none
        self.setToolTip(self._tooltip if self.isEnabled() else _RUN_IN_PROGRESS)

    def shift(self, steps: int) -> None:
        """Move the slider by steps of 0.05."""
        value = round(float(self.slider.value) + steps * _STEP, _DIGITS)
        self.slider.value = min(max(value, self.slider.min), self.slider.max)

    def _on_moved(self, value: float) -> None:
        if not self._is_following:
            self.threshold_chosen.emit(float(value))
