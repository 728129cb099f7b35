"""A button that shows something new must not act on it with the second click of a double-click."""

from __future__ import annotations

from qtpy.QtCore import QElapsedTimer
from qtpy.QtWidgets import QApplication

__all__ = ["DoubleClickGuard"]


class DoubleClickGuard:
    """Tells whether something was shown so recently that nobody can have looked at it.

    Examples
    --------
    >>> guard = DoubleClickGuard()
    >>> guard.is_too_soon
    False
    """

    def __init__(self) -> None:
        self._since_shown = QElapsedTimer()

    def something_was_shown(self) -> None:
        """Begin to wait for as long as a double-click may take."""
        self._since_shown.start()

    @property
    def is_too_soon(self) -> bool:
        """Whether a click may be the second one of a double-click."""
        timer = self._since_shown
        return timer.isValid() and not timer.hasExpired(QApplication.doubleClickInterval())
