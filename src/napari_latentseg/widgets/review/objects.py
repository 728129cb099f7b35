"""The connected objects of a mask as a Labels layer, with a row each in napari's features table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_latentseg.core.labels import class_region
from napari_latentseg.widgets._shared.layers import (
    METADATA_KEY,
    placement_metadata,
    role_of,
    spatial_arguments,
)
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread
from napari_latentseg.widgets.review.objects_table import ObjectsTable

if TYPE_CHECKING:
    import pandas as pd
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QWidget

    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.measure import Measurement
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["label_objects", "show_objects"]


def label_objects(
    mask: NDArray[np.uint8], measurements: tuple[Measurement, ...], classes: Sequence[ClassInfo]
) -> tuple[NDArray[np.int32], list[Measurement]]:
    """Number the voxels of each object 1, 2, 3 ... in the order of the measurements.

    Where an object lies in another of which its class is a part, the voxels are its own.

    Parameters
    ----------
    mask
        Class labels, of the mask that was measured.
    measurements
        From `napari_latentseg.measure.measure`; those of whole classes are left out.
    classes
        Of the result.

    Returns
    -------
    objects, object_measurements
        Object numbers in the shape of the mask, and the measurements of the objects.
    """
    from scipy import ndimage

    objects = np.zeros(mask.shape, dtype=np.int32)
    object_measurements = [
        measurement for measurement in measurements if measurement.object_number and measurement.box
    ]
    connectivity = np.ones((3,) * mask.ndim)
    labels = [info.label for info in classes]
    numbered = enumerate(object_measurements, 1)
    for number, measurement in sorted(numbered, key=lambda item: -len(item[1].includes)):
        box_slices = tuple(slice(start, stop) for start, stop in measurement.box or ())
        part, label = mask[box_slices], measurement.label
        has_class = class_region(part, labels.index(label), classes) if label in labels else part == label
        components, count = ndimage.label(has_class, connectivity)
        if count > 1:  # others reach into the box; the object touches all sides of it
            components = components == _component_filling_box(components, count)
        objects[box_slices][components > 0] = number
    return objects, object_measurements


def _component_filling_box(components: NDArray[np.int32], count: int) -> int:
    from scipy import ndimage

    full_box = tuple(slice(0, n) for n in components.shape)
    for number, box in enumerate(ndimage.find_objects(components, count), 1):
        if box == full_box:
            return number
    return int(np.bincount(components.ravel())[1:].argmax()) + 1


def show_objects(
    viewer: ViewerModel,
    result: RunResult,
    on_done: Callable[[], None],
    on_error: Callable[[str], None],
    parent: QWidget | None = None,
) -> ThreadWorker:
    """Measure all objects of a result in a worker; show a table of them, and their outlines as a layer.

    Parameters
    ----------
    viewer
        The viewer to add the layer to.
    result
        The result to measure, with the mask that counts.
    on_done
        Called at the end, also after an error.
    on_error
        Called with one sentence.
    parent
        Parent of the table's window; nothing is shown after it was deleted.
    """
    image, shown = result.layers.image, result.shown_mask()
    scan, card = result.job.scan, result.card

    def compute() -> tuple[NDArray[np.int32], pd.DataFrame, list[Measurement]]:
        from napari_latentseg.measure import measure, measurement_table

        segmentation = shown.segmentation
        measurements = measure(segmentation, scan, objects=True, card=card)
        data, object_measurements = label_objects(
            np.asarray(segmentation.mask), measurements, segmentation.classes
        )
        table = measurement_table(object_measurements)
        table["index"] = list(range(1, len(object_measurements) + 1))
        return data, table, object_measurements

    def show(measured: tuple[NDArray[np.int32], pd.DataFrame, list[Measurement]]) -> None:
        # else it was removed or got other values in the meantime, or the window was closed
        if image in viewer.layers and not result.has_other_data:
            data, table, object_measurements = measured
            _show_outlines(viewer, result, data, table)
            for earlier in parent.findChildren(ObjectsTable) if parent is not None else ():
                if earlier.measured.image is image:  # its numbers are no longer those of the outlines
                    earlier.close()
            ObjectsTable(table, object_measurements, viewer, result, parent).show()
        on_done()

    def fail(error: BaseException) -> None:
        on_done()
        on_error(str(error))

    return run_in_thread(compute, show, fail, parent)


def _show_outlines(
    viewer: ViewerModel, result: RunResult, objects: NDArray[np.int32], table: pd.DataFrame
) -> None:
    """Show the outlines of objects as a layer, in place of that of the same image; none without objects."""
    image = result.layers.image
    image_id = str(image.unique_id)
    for layer in list(viewer.layers):
        if role_of(layer) == "objects" and layer.metadata[METADATA_KEY].get("image") == image_id:
            viewer.layers.remove(layer)
    if not len(table):
        return
    layer = Labels(
        objects,
        name=f"{image.name} objects",
        features=table,
        metadata={
            METADATA_KEY: {
                "role": "objects",
                "image": image_id,
                "run": result.layers.run_number,  # they are hidden with it
                **placement_metadata(image),
            }
        },
        **spatial_arguments(image),
    )
    layer.contour = 1  # outlines: the mask stays visible
    active = viewer.layers.selection.active
    viewer.add_layer(layer)
    viewer.layers.selection.active = active  # so that a brush in the hand stays there
