"""The objects of a mask, each with a number and a row of its own in napari's table of features."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject

from napari_latentseg.widgets.background import in_background
from napari_latentseg.widgets.layers import KEY, role_of, spatial_arguments

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.measure import Measurement
    from napari_latentseg.widgets.session import Result

__all__ = ["numbered", "show_objects"]


def numbered(
    mask: NDArray[np.uint8], measured: tuple[Measurement, ...]
) -> tuple[NDArray[np.int32], list[Measurement]]:
    """Each object's elements with a number of its own, 1, 2, 3 ... in the order of the measurements.

    Parameters
    ----------
    mask
        Class labels that were measured.
    measured
        From `napari_latentseg.measure.measure`; whole classes are left out.
    """
    from scipy import ndimage

    objects = np.zeros(mask.shape, dtype=np.int32)
    kept = [one for one in measured if one.object and one.box]
    full = np.ones((3,) * mask.ndim)
    for number, one in enumerate(kept, 1):
        place = tuple(slice(start, stop) for start, stop in one.box or ())
        pieces, count = ndimage.label(mask[place] == one.label, full)
        if count > 1:  # others reach into the box; the object is the piece that touches all its sides
            pieces = pieces == _filling(pieces, count)
        objects[place][pieces > 0] = number
    return objects, kept


def _filling(pieces: NDArray[np.int32], count: int) -> int:
    from scipy import ndimage

    whole = tuple(slice(0, n) for n in pieces.shape)
    for number, box in enumerate(ndimage.find_objects(pieces, count), 1):
        if box == whole:
            return number
    return int(np.bincount(pieces.ravel())[1:].argmax()) + 1


def show_objects(
    viewer: ViewerModel,
    result: Result,
    mask: NDArray[np.uint8] | None,
    done: Callable[[], None],
    failed: Callable[[str], None],
    owner: QObject | None = None,
) -> Any:
    """Measure all objects of a result and show them as a Labels layer with a table; in the background.

    Parameters
    ----------
    viewer
        Where the layer is shown.
    result
        What is measured.
    mask
        A mask that was painted in, in place of the result's.
    done, failed
        Called at the end, the latter with one sentence.
    owner
        See `in_background`.
    """
    found, image = result.found, result.layers.image
    assert found is not None
    scan, interval = result.job.scan, result.card.volume_interval

    def work() -> Any:
        from napari_latentseg.measure import measure, table_of

        measured = measure(found, scan, mask=mask, objects=True, interval=interval)
        data, kept = numbered(np.asarray(found.mask) if mask is None else mask, measured)
        table = table_of(kept)
        table["index"] = list(range(1, len(kept) + 1))
        return data, table

    def show(answer: Any) -> None:
        if image not in viewer.layers:  # removed since, or the window was closed
            done()
            return
        data, table = answer
        about = {"role": "objects", "image": str(image.unique_id)}
        layer = Labels(
            data, name=f"{image.name} objects", features=table, metadata={KEY: about}, opacity=0.6,
            **spatial_arguments(image),
        )  # fmt: skip
        for other in list(viewer.layers):  # an earlier table of the same image
            if role_of(other) == "objects" and other.metadata[KEY].get("image") == about["image"]:
                viewer.layers.remove(other)
        if result.layers.mask is not None:
            result.layers.mask.visible = False
        viewer.add_layer(layer)
        viewer.layers.selection.active = layer
        done()

    def fail(error: BaseException) -> None:
        done()
        failed(str(error))

    return in_background(work, show, fail, owner)
