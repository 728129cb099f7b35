"""The viewer behind the proxy that napari gives to plugins, and its window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QMainWindow

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["main_window", "unwrapped_viewer"]


def unwrapped_viewer(viewer: ViewerModel) -> ViewerModel:
    """The viewer itself; layers that are read through the proxy are proxies, and not the layers."""
    original: ViewerModel = getattr(viewer, "__wrapped__", viewer)
    return original


def main_window(viewer: ViewerModel | None) -> QMainWindow | None:
    """The window of a viewer; None where it has none, as in a script without a display."""
    window: Any = getattr(unwrapped_viewer(viewer), "window", None) if viewer is not None else None
    qt_window: QMainWindow | None = getattr(window, "_qt_window", None)
    return qt_window
