"""Bringing the viewer to a place in a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_latentseg.widgets.layers import layer_matrix
from napari_latentseg.widgets.region import shape_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

__all__ = ["go_to"]

_MARGIN = 2.5  # how much more than a box is shown of each side
_LEAST = 0.15  # of the image that is shown at least, so that there is something to compare with


def go_to(
    viewer: ViewerModel,
    layer: Image | Labels,
    index: tuple[int, ...],
    box: tuple[tuple[int, int], ...] | None = None,
) -> None:
    """Show a plane of a layer, with a box in it in the middle and as large as is fitting.

    Parameters
    ----------
    viewer
        Where the layer is shown.
    layer
        Whose planes are its last two axes, as napari shows them at first.
    index
        Of the plane, along the leading axes.
    box
        Start and stop along each axis of the layer, half open; the whole plane where None.
    """
    dims = viewer.dims
    offset = dims.ndim - layer.ndim
    if dims.ndisplay != 2 or {axis - offset for axis in dims.displayed} != {layer.ndim - 2, layer.ndim - 1}:
        dims.ndisplay = 2
        dims.order = tuple(range(dims.ndim))
    inverse = np.linalg.inv(layer_matrix(layer))
    if index:
        lead = len(index)
        # napari cuts where the displayed axes are 0, which matters where the layer lies askew
        at = np.linalg.solve(inverse[:lead, :lead], np.array(index) - inverse[:lead, -1])
        for axis, value in enumerate(at):
            dims.set_point(axis + offset, float(value))
    if box is None:
        return
    middle = np.array([(start + stop - 1) / 2 for start, stop in box])
    middle[: len(index)] = index
    world = np.asarray(layer.data_to_world(middle))
    sides = np.array([stop - start for start, stop in box[-2:]], dtype=float)
    whole = np.array(shape_of(layer)[-2:], dtype=float)
    share = max(float((_MARGIN * sides / whole).max()), _LEAST)
    viewer.reset_view()
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera  # before and since napari 0.9
    camera.center = (*camera.center[:-2], *world[-2:])
    if share < 1:
        camera.zoom = camera.zoom / share
