"""The layers of a decided case go, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["remove_layers"]

_POLL_MS = 50  # while they wait for what is written of the case


def remove_layers(
    viewer_of: Callable[[], ViewerModel | None],
    layers: Sequence[Layer],
    is_waiting: Callable[[], bool],
    on_done: Callable[[], Any],
) -> None:
    """Take layers out of a viewer.

    One at a time: the window draws in between, as napari takes long for each; see `FrozenHeap`, too. All are
    hidden first, since software rendering (napari 0.9 on Mesa) can end the program at a layer that goes while
    it is drawn.

    Parameters
    ----------
    viewer_of
        Gives the viewer; None once it has gone.
    layers
        The layers; those that a person has removed are passed over.
    is_waiting
        Whether they have to stay for now.
    on_done
        Called when all have gone.
    """
    viewer = viewer_of()
    if viewer is None or not layers:
        on_done()
        return
    shown = [layer for layer in layers if layer.visible and layer in viewer.layers]
    if is_waiting() or shown:
        if not is_waiting():
            for layer in shown:
                layer.visible = False
        QTimer.singleShot(_POLL_MS, lambda: remove_layers(viewer_of, layers, is_waiting, on_done))
        return
    *others, last = layers
    if last in viewer.layers:
        viewer.layers.remove(last)
    QTimer.singleShot(0, lambda: remove_layers(viewer_of, others, is_waiting, on_done))
