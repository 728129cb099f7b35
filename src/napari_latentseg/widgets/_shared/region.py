"""The region of interest (ROI) of an image: a box drawn in a Shapes layer, or the current view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.layers import layer_matrix

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["crop_box_in_view", "crop_box_of_shapes", "image_shape"]

CropBox = tuple[int, int, int, int]  # top, left, bottom, right in voxels; bottom and right are exclusive


def image_shape(image: Image) -> tuple[int, ...]:
    """The shape of an image without its colour channels; the finest level of a multiscale one."""
    data = image.data[0] if image.multiscale else image.data
    return tuple(int(n) for n in data.shape[: image.ndim])


def crop_box_of_shapes(shapes: Shapes, image: Image, order: tuple[int, ...]) -> CropBox:
    """The bounding box of the selected shapes of a layer, or else of its last one, in rows and columns.

    Parameters
    ----------
    shapes
        Layer of the shapes; they may lie on any slice.
    image
        The image to segment.
    order
        Axis i of the reoriented volume is axis ``order[i]`` of the image; the last two are rows and columns.

    Returns
    -------
    top, left, bottom, right
        In voxels; bottom and right are exclusive.

    Raises
    ------
    BadInput
        If the layer has no shape, or the box is outside the image.
    """
    if not len(shapes.data):
        raise BadInput(shapes.name, "has no shape", "draw a rectangle around the region of interest")
    shape_indices = sorted(shapes.selected_data) or [len(shapes.data) - 1]
    vertices = np.concatenate([np.asarray(shapes.data[i], dtype=np.float64) for i in shape_indices])
    shapes_world = _apply_affine(layer_matrix(shapes), vertices)
    # napari aligns layers of different dimensions by their last axes
    shared_axes = min(shapes.ndim, image.ndim)
    world: NDArray[np.float64] = np.zeros((len(shapes_world), image.ndim))
    world[:, -shared_axes:] = shapes_world[:, -shared_axes:]
    indices = _apply_affine(np.linalg.inv(layer_matrix(image)), world)
    # voxel i extends from i - 0.5 to i + 0.5: the box has every voxel that the shapes touch
    low, high = np.floor(indices.min(axis=0) + 0.5), np.ceil(indices.max(axis=0) + 0.5)
    return _clip_to_image(image, order, low, high, f"the ROI in {shapes.name}")


def crop_box_in_view(viewer: ViewerModel, image: Image, order: tuple[int, ...]) -> CropBox:
    """The part of the slices that the canvas shows, in rows and columns.

    Parameters
    ----------
    viewer
        The viewer of the image.
    image, order
        As for `crop_box_of_shapes`.

    Returns
    -------
    top, left, bottom, right
        In voxels; bottom and right are exclusive.

    Raises
    ------
    BadInput
        If the canvas shows another orientation, or no part of the image.
    """
    displayed = {axis - (viewer.dims.ndim - image.ndim) for axis in viewer.dims.displayed}
    if displayed != set(order[-2:]):
        raise BadInput(
            "ROI",
            "the current view shows another orientation of the volume",
            "change the orientation of the view, or segment the whole image",
        )
    # corner_pixels are the first and the last visible voxel, in the resolution level that is shown
    factor = image.downsample_factors[image.data_level] if image.multiscale else np.ones(image.ndim)
    corners = np.asarray(image.corner_pixels, dtype=float) * factor
    return _clip_to_image(
        image, order, np.floor(corners[0]), np.ceil(corners[1] + factor), "the current view"
    )


def _apply_affine(matrix: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
    """Points `(M, n)` transformed by an affine `(n + 1, n + 1)`."""
    transformed: NDArray[np.float64] = (
        np.asarray(points, dtype=np.float64) @ matrix[:-1, :-1].T + matrix[:-1, -1]
    )
    return transformed


def _clip_to_image(
    image: Image,
    order: tuple[int, ...],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    description: str,
) -> CropBox:
    """Limit a box, exclusive at `high`, to the image; its rows and columns as integers."""
    extents = []
    shape = image_shape(image)
    for axis in order[-2:]:
        start, stop = max(0, int(low[axis])), min(shape[axis], int(high[axis]))
        if stop <= start:
            raise BadInput(description, f"lies outside {image.name}", "choose another ROI")
        extents.append((start, stop))
    (top, bottom), (left, right) = extents
    return top, left, bottom, right
