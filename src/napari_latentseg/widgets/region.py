"""Which part of an image is worked on: a box that someone drew, or what is in view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets.layers import layer_matrix

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["box_in_view", "box_of_shapes", "shape_of"]

Box = tuple[int, int, int, int]


def shape_of(image: Image) -> tuple[int, ...]:
    """The size of an image along its axes, without that of colours; of a multiscale one the finest."""
    data = image.data[0] if image.multiscale else image.data
    return tuple(int(n) for n in data.shape[: image.ndim])


def box_of_shapes(shapes: Shapes, image: Image, order: tuple[int, ...]) -> Box:
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
    world = _to(layer_matrix(shapes), corners)
    shared = min(shapes.ndim, image.ndim)
    points: NDArray[np.float64] = np.zeros((len(world), image.ndim))
    points[:, -shared:] = world[:, -shared:]
    inside = _to(np.linalg.inv(layer_matrix(image)), points)
    low, high = np.floor(inside.min(axis=0) + 0.5), np.ceil(inside.max(axis=0) + 0.5)
    return _clipped(image, order, low, high, f"the box in {shapes.name}")


def box_in_view(viewer: ViewerModel, image: Image, order: tuple[int, ...]) -> Box:
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
    return _clipped(image, order, np.floor(corners[0]), np.ceil(corners[1] + factor), "what is in view")


def _to(matrix: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = np.asarray(points, dtype=np.float64) @ matrix[:-1, :-1].T + matrix[:-1, -1]
    return moved


def _clipped(
    image: Image, order: tuple[int, ...], low: NDArray[np.float64], high: NDArray[np.float64], what: str
) -> Box:
    found = []
    shape = shape_of(image)
    for axis in order[-2:]:
        first, last = max(0, int(low[axis])), min(shape[axis], int(high[axis]))
        if last <= first:
            raise BadInput(what, f"lies beside {image.name}", "choose another part")
        found.append((first, last))
    (top, bottom), (left, right) = found
    return top, left, bottom, right
