"""What is said of results whose image or mask a person has removed from the viewer."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_latentseg.widgets._shared.plain_text import show_warning

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["say_image_removed", "say_masks_removed"]


def say_image_removed(image: Image, results: Iterable[RunResult], is_open: Callable[[Image], bool]) -> None:
    """Say that the results of an image outlive it, once no more layers are being removed.

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
    """Say that a result ends with its mask, where its image and maps are still there.

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
