"""The window of a viewer is closed while a run is in progress: one question, and the run is stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QMessageBox, QWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["CloseGuard"]

QUESTION = "A segmentation is running. Close and stop it?"


class CloseGuard(QObject):
    """Asks before a person closes the window during a run, and stops the run when the window closes.

    `viewer.close()`, as scripts call it, closes without a question.

    Parameters
    ----------
    viewer
        The viewer; one without a window is left alone.
    is_busy
        Whether a run is in progress.
    stop
        Called when the window is being closed.
    parent
        Qt parent, which owns this.
    """

    def __init__(
        self, viewer: ViewerModel, is_busy: Callable[[], bool], stop: Callable[[], Any], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._is_busy, self._stop = is_busy, stop
        window = getattr(getattr(viewer, "window", None), "_qt_window", None)
        if isinstance(window, QWidget):
            window.installEventFilter(self)

    def eventFilter(self, window: QObject | None, event: QEvent | None) -> bool:
        """Look at the closing of the window."""
        if event is None or event.type() != QEvent.Type.Close or not isinstance(window, QWidget):
            return False
        if not event.spontaneous():  # closed by the program: nothing will be asked
            self._stop()
            return False
        if not self._is_busy():
            return False  # napari asks what it asks
        event.ignore()
        answer = QMessageBox.question(window, "Close", QUESTION)
        if answer == QMessageBox.StandardButton.Yes:
            QTimer.singleShot(0, window.close)  # without a second question
        return True
