"""Windows of which a viewer has one, such as the one that segments a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from qtpy.QtWidgets import QDialog, QWidget

from napari_latentseg.widgets._shared.unwrapped_viewer import unwrapped_viewer

__all__ = ["show_dialog"]

_Dialog = TypeVar("_Dialog", bound=QDialog)


def show_dialog(viewer: Any, kind: type[_Dialog], make: Callable[[Any, QWidget], _Dialog]) -> _Dialog:
    """Show the window of a kind in front; it is made where the viewer has none.

    Parameters
    ----------
    viewer
        The viewer, or the proxy that napari gives to plugins.
    kind
        Its class.
    make
        Called with the viewer and the window of napari.
    """
    unwrapped: Any = unwrapped_viewer(viewer)
    window = unwrapped.window._qt_window
    dialog: _Dialog | None = window.findChild(kind)
    if dialog is None:
        dialog = make(unwrapped, window)
    dialog.show()
    dialog.raise_()
    dialog.activateWindow()
    return dialog
