"""Removing the layers of a decided case, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_latentseg.widgets._shared.session import session_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_latentseg.widgets.cases.opened_case import OpenedCase

__all__ = ["put_away"]

_POLL_MS = 50  # while they wait for what is written of the case


def put_away(
    viewer_of: Callable[[], ViewerModel | None],
    opened: OpenedCase,
    layers: Sequence[Layer],
    is_waiting: Callable[[], bool],
    on_done: Callable[[], Any],
) -> None:
    """Take the layers of a decided case out of the viewer, and end a run on its image.

    Parameters
    ----------
    viewer_of, is_waiting, on_done
        As for `remove_layers`.
    opened
        The case.
    layers
        Its layers when it was decided; those that its run adds go as well.
    """
    viewer = viewer_of()
    if viewer is None:
        on_done()
        return
    session, image = session_of(viewer), opened.image
    # napari would number those of the same case, where it is opened again before these have gone
    for layer in layers:
        layer.name = f"{layer.name} (decided)"
    if session.running is not None and session.running.image is image:
        session.cancel()

    def begin() -> None:
        running = session.running
        if session.busy and (running is None or running.image is image):
            QTimer.singleShot(_POLL_MS, begin)
            return
        for result in session.results_of(image):
            result.is_put_away = True
        of_run = [layer for layer in session.cases.layers if session.cases.image_of(layer) is image]
        added = [layer for layer in of_run if layer not in layers]
        remove_layers(viewer_of, [*layers, *added], is_waiting, on_done)

    begin()


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
