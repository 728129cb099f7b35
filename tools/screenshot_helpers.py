"""Waiting for the window, for `screenshots.py` and its scenes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from qtpy.QtWidgets import QApplication, QWidget

__all__ = ["Shots", "dock", "settle", "wait_until"]

Shots = Iterator[tuple[str, QWidget | None]]
"""The name of each picture, and what is on it; None for the whole window."""


def settle(seconds: float = 0.5) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.01)


def wait_until(ready: Callable[[], bool], seconds: float = 900) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise TimeoutError("a state was not reached")
        settle(0.02)
    settle(0.2)


def dock(viewer: Any, name: str) -> Any:
    _, widget = viewer.window.add_plugin_dock_widget("napari-latentseg", name, tabify=True)
    settle(0.3)
    return widget
