"""A button that shows something new must not act on it with the second click of a double-click."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QElapsedTimer
from qtpy.QtWidgets import QApplication, QPushButton

__all__ = ["DoubleClickGuard", "connect_start_and_cancel"]


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


def connect_start_and_cancel(
    start_button: QPushButton,
    cancel_button: QPushButton,
    start: Callable[[], object],
    cancel: Callable[[], object],
) -> None:
    """Connect a button that starts work, and one that appears in its place and cancels it.

    The second click of a double-click on the first falls on the second.

    Parameters
    ----------
    start_button, cancel_button
        The buttons.
    start, cancel
        What they do.
    """
    guard = DoubleClickGuard()

    def begin() -> None:
        guard.something_was_shown()
        start()

    def end() -> None:
        if not guard.is_too_soon:
            cancel()

    start_button.clicked.connect(begin)
    cancel_button.clicked.connect(end)
