"""Work of the GUI thread in small parts, between which the window redraws and handles clicks."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from qtpy.QtCore import QObject, QTimer

__all__ = ["Turns"]


class Turns(QObject):
    """Calls functions in the order in which they came, each in its own iteration of the event loop.

    napari takes a tenth of a second of processor time to add some layers: two of them in one iteration hold
    the window noticeably.

    Parameters
    ----------
    parent
        Qt parent; nothing is called after it has gone.
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._waiting: dict[Hashable, Callable[[], None]] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._call_next)

    @property
    def is_busy(self) -> bool:
        """Whether something waits."""
        return bool(self._waiting)

    def call(self, key: Hashable, function: Callable[[], None]) -> None:
        """Call a function in a later iteration, in place of one with the same key that still waits."""
        self._waiting[key] = function
        self._timer.start()

    def forget(self) -> None:
        """Drop the calls that are waiting."""
        self._waiting.clear()
        self._timer.stop()

    def _call_next(self) -> None:
        if not self._waiting:
            return
        function = self._waiting.pop(next(iter(self._waiting)))
        if self._waiting:  # before the call, which may fail
            self._timer.start()
        function()
