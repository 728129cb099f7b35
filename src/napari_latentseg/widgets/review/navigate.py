"""Show a region of a layer in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_latentseg.widgets._shared.layers import layer_matrix
from napari_latentseg.widgets._shared.region import image_shape
from napari_latentseg.widgets._shared.view import camera_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

__all__ = ["navigate_to"]

_MARGIN = 2.5  # side of the view, in sides of the box
_MIN_VIEW_FRACTION = 0.15  # smallest part of the image in view, so that the surroundings stay visible


def navigate_to(
    viewer: ViewerModel,
    layer: Image | Labels,
    index: tuple[int, ...],
    box: tuple[tuple[int, int], ...] | None = None,
) -> None:
    """Show a slice of a layer, centred on a box and zoomed to it.

    Parameters
    ----------
    viewer
        The viewer of the layer.
    layer
        Its slices are its last two axes.
    index
        Index of the slice along the leading axes.
    box
        Start and stop along each axis of the layer, in voxels, half open; where None the view is not moved.
    """
    dims = viewer.dims
    offset = dims.ndim - layer.ndim
    if dims.ndisplay != 2 or {axis - offset for axis in dims.displayed} != {layer.ndim - 2, layer.ndim - 1}:
        dims.ndisplay = 2
        dims.order = tuple(range(dims.ndim))
    inverse = np.linalg.inv(layer_matrix(layer))
    if index:
        leading_axes = len(index)
        # napari slices where the displayed axes are 0, which matters for an oblique layer
        world_position = np.linalg.solve(
            inverse[:leading_axes, :leading_axes], np.array(index) - inverse[:leading_axes, -1]
        )
        for axis, value in enumerate(world_position):
            dims.set_point(axis + offset, float(value))
    if box is None:
        return
    box_centre = np.array([(start + stop - 1) / 2 for start, stop in box])
    box_centre[: len(index)] = index
    world = np.asarray(layer.data_to_world(box_centre))
    box_size = np.array([stop - start for start, stop in box[-2:]], dtype=float)
    plane_size = np.array(image_shape(layer)[-2:], dtype=float)
    view_fraction = max(float((_MARGIN * box_size / plane_size).max()), _MIN_VIEW_FRACTION)
    viewer.reset_view()
    camera = camera_of(viewer)
    camera.center = (*camera.center[:-2], *world[-2:])
    if view_fraction < 1:
        camera.zoom = camera.zoom / view_fraction
