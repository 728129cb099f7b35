"""One sample's mask of the slice on screen, copied into the correction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.layers import index_on_screen
from napari_latentseg.widgets._shared.text import slice_text
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.annotate.mask_tools import LabelChange, set_labels

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["take_sample"]


def take_sample(
    viewer: ViewerModel, result: RunResult, sample: int, place: tuple[int, ...] | None = None
) -> int:
    """Give the slice on screen the labels of a sample, in the correction of a result, as one step of undo.

    Classes that a person has added are not overwritten.

    Parameters
    ----------
    viewer
        The viewer of the result.
    result
        A result whose samples were kept.
    sample
        Counted from 0.
    place
        A voxel of the image on the slice on screen: only the connected object there is changed, in the sample
        and in the correction; the whole slice where not given.

    Returns
    -------
    int
        The number of voxels that changed.

    Raises
    ------
    BadInput
        If the samples were not kept, the view shows another orientation, the slice is approved, or nothing is
        at the place.
    """
    segmentation = result.segmentation
    if segmentation is None or segmentation.sample_maps is None or not segmentation.sample_maps.is_complete:
        raise BadInput("sample", "the single samples were not kept", "segment the image again")
    image = result.image
    index = index_on_screen(viewer, image)
    leading = tuple(i for i in index[:-2] if not isinstance(i, slice))
    if viewer.dims.ndisplay != 2 or len(leading) != image.ndim - 2:
        raise BadInput("sample", "the view shows another orientation", "show the slices of the image")
    corrections = corrections_of(viewer)
    layer = corrections.edit(result)
    correction = corrections.active
    assert correction is not None
    if correction.result is not result:
        raise BadInput("sample", "another run of the image is being corrected", "remove that copy first")
    data: Any = layer.data
    number = int(np.ravel_multi_index(leading, data.shape[:-2])) if leading else 0
    if not correction.is_reoriented and number in correction.approved:
        name = slice_text(number, correction.plane_count) if leading else "this image"
        raise BadInput(name, "is approved and locked", "unlock it in Annotate")
    samples = segmentation.sample_maps.plane_samples(number)
    labels = labels_from_probabilities(
        samples[sample], segmentation.record.sample_threshold, segmentation.classes
    )
    before = np.asarray(data[leading])
    replaceable = np.isin(before, [0, *(info.label for info in segmentation.classes)])
    changed = replaceable & (before != labels)
    if place is not None:
        changed &= _object_at(place, leading, (labels > 0) | (replaceable & (before > 0)))
    rows, columns = np.nonzero(changed)
    voxels = (*(np.full(len(rows), i, np.intp) for i in leading), rows, columns)
    set_labels(layer, LabelChange(voxels, before[rows, columns], labels[rows, columns]))
    return len(rows)


def _object_at(
    place: tuple[int, ...], leading: tuple[int, ...], mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The connected object of a slice `(H, W)` that holds a voxel.

    Raises
    ------
    BadInput
        If the voxel is on another slice, or in no object.
    """
    if place[:-2] != leading:
        raise BadInput("hint", "the last one is on another slice", "show its slice, or take the whole sample")
    parts, _ = ndimage.label(mask)
    part = parts[place[-2:]]
    if not part:
        raise BadInput("hint", "the last one is in no object of this sample", "choose another sample")
    found: NDArray[np.bool_] = parts == part
    return found
