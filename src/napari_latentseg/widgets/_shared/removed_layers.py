"""Removed layers: messages on results whose image or mask was removed, and removing shown layers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_latentseg.widgets._shared.plain_text import show_info, show_warning

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["remove_soon", "say_image_removed", "say_mask_comes_back", "say_masks_removed"]


def say_image_removed(image: Image, results: Iterable[RunResult], is_open: Callable[[Image], bool]) -> None:
    """Tell the user that the results of a removed image remain, once no more layers are being removed.

    Parameters
    ----------
    image
        The image that was removed.
    results
        Its results.
    is_open
        Whether an image is in the viewer.
    """
    known = weakref.WeakSet(results)

    def say() -> None:
        kept = [result for result in known if result.is_in_viewer]
        if kept and not is_open(image):
            what, them = ("result", "it") if len(kept) == 1 else (f"{len(kept)} results", "them")
            show_warning(
                f"{image.name} was removed. Its {what} can still be reviewed and exported; open the image"
                f" again to correct {them}."
            )

    QTimer.singleShot(0, say)


def say_masks_removed(results: Iterable[RunResult], is_open: Callable[[Image], bool]) -> None:
    """Tell the user that a result is lost with its mask, where its image and maps are still there.

    Parameters
    ----------
    results
        Those whose masks were removed.
    is_open
        Whether an image is in the viewer.
    """
    known = weakref.WeakSet(results)

    def say() -> None:
        for result in known:
            if result.is_put_away:
                continue
            if result.layers.all_layers and not result.is_in_viewer and is_open(result.image):
                show_warning(
                    f"The mask of {result.title} was removed, so that its result cannot be reviewed or"
                    " exported any more: segment the image again."
                )

    QTimer.singleShot(0, say)


def say_mask_comes_back(result: RunResult, is_running: Callable[[], bool]) -> None:
    """Say that a mask which was removed during its run is the result of it, once no more layers are removed.

    Parameters
    ----------
    result
        The result of the run.
    is_running
        Whether the run goes on.
    """

    def say() -> None:
        if is_running() and not result.layers.is_discarded:
            show_info(
                f"The mask of {result.image.name} was removed. The run goes on, and shows its mask again when"
                " it has ended: Cancel in Segment ends it now."
            )

    QTimer.singleShot(0, say)


def remove_soon(viewer_of: Callable[[], ViewerModel | None], layers: Iterable[Layer]) -> None:
    """Remove layers in the next iteration of the event loop, as they are.

    They are not hidden before: with software rendering (napari 0.9 on Mesa) a layer of labels that was hidden
    and removed when the window had been drawn without it ended the program at the next drawing.

    Parameters
    ----------
    viewer_of
        Gives the viewer; None once it has gone.
    layers
        The layers.
    """
    waiting = list(layers)

    def remove() -> None:
        viewer = viewer_of()
        for layer in waiting:
            if viewer is not None and layer in viewer.layers:
                viewer.layers.remove(layer)

    QTimer.singleShot(0, remove)
