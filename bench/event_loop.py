"""Waiting in Qt's event loop, and how long it did not run meanwhile; loads nothing of the plugin."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QEventLoop, QTimer

__all__ = ["Holds", "rest", "wait_for"]


class Holds:
    """Inside this context: the longest time that the main thread was blocked, and the whole, in seconds."""

    def __init__(self) -> None:
        self.worst, self.seconds = 0.0, 0.0
        self._start = self._last = 0.0
        self._timer = QTimer()
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._tick)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.worst = max(self.worst, now - self._last)
        self._last = now

    def __enter__(self) -> Holds:
        self._start = self._last = time.perf_counter()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tick()
        self._timer.stop()
        self.seconds = self._last - self._start


def wait_for(condition: Callable[[], Any], most: float = 600) -> None:
    """Run the event loop until something holds.

    Raises
    ------
    TimeoutError
        If it does not after `most` seconds.
    """
    loop, timer, limit = QEventLoop(), QTimer(), QTimer()
    timer.timeout.connect(lambda: condition() and loop.quit())
    timer.start(2)
    limit.timeout.connect(loop.quit)
    limit.start(round(most * 1000))
    if not condition():
        loop.exec()
    if not condition():
        raise TimeoutError("waited for too long")


def rest(seconds: float) -> None:
    """Run the event loop for a while."""
    end = time.perf_counter() + seconds
    wait_for(lambda: time.perf_counter() >= end)
