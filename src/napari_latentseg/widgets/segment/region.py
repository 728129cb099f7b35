"""Which part of an image is worked on: a box that someone drew, or what is in view."""

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

CropBox = tuple[int, int, int, int]


def image_shape(image: Image) -> tuple[int, ...]:
    """The size of an image along its axes, without that of colours; of a multiscale one the finest."""
    data = image.data[0] if image.multiscale else image.data
    return tuple(int(n) for n in data.shape[: image.ndim])


def crop_box_of_shapes(shapes: Shapes, image: Image, order: tuple[int, ...]) -> CropBox:
    """The box around the selected shapes of a layer, or around its last one, in rows and columns.

    Parameters
    ----------
    shapes
        Drawn in the same world; they may lie on any slice.
    image
        What is segmented.
    order
        Axis i of the planes is axis ``order[i]`` of the image; rows and columns are the last two.

    Returns
    -------
    top, left, bottom, right
        Half open.

    Raises
    ------
    BadInput
        Where nothing is drawn, or it lies beside the image.
    """
    if not len(shapes.data):
        raise BadInput(shapes.name, "holds no shape", "draw a rectangle around what is to be segmented")
    chosen = sorted(shapes.selected_data) or [len(shapes.data) - 1]
    corners = np.concatenate([np.asarray(shapes.data[i], dtype=np.float64) for i in chosen])
    world = _apply_affine(layer_matrix(shapes), corners)
    shared_axes = min(shapes.ndim, image.ndim)
    points: NDArray[np.float64] = np.zeros((len(world), image.ndim))
    points[:, -shared_axes:] = world[:, -shared_axes:]
    image_points = _apply_affine(np.linalg.inv(layer_matrix(image)), points)
    low, high = np.floor(image_points.min(axis=0) + 0.5), np.ceil(image_points.max(axis=0) + 0.5)
    return _clip_to_image(image, order, low, high, f"the box in {shapes.name}")


def crop_box_in_view(viewer: ViewerModel, image: Image, order: tuple[int, ...]) -> CropBox:
    """What of the planes is in view, in rows and columns.

    Raises
    ------
    BadInput
        Where the planes are not what is on screen, or nothing of the image is.
    """
    displayed = {axis - (viewer.dims.ndim - image.ndim) for axis in viewer.dims.displayed}
    if displayed != set(order[-2:]):
        raise BadInput(
            "area", "what is in view are no planes of this run", "turn the view, or segment all of it"
        )
    factor = image.downsample_factors[image.data_level] if image.multiscale else np.ones(image.ndim)
    corners = np.asarray(image.corner_pixels, dtype=float) * factor
    return _clip_to_image(image, order, np.floor(corners[0]), np.ceil(corners[1] + factor), "what is in view")


def _apply_affine(matrix: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
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
    extents = []
    shape = image_shape(image)
    for axis in order[-2:]:
        start, stop = max(0, int(low[axis])), min(shape[axis], int(high[axis]))
        if stop <= start:
            raise BadInput(description, f"lies beside {image.name}", "choose another part")
        extents.append((start, stop))
    (top, bottom), (left, right) = extents
    return top, left, bottom, right
