"""What part of the world a viewer shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["camera_of", "show_whole"]


def camera_of(viewer: ViewerModel) -> Any:
    """The camera of a viewer, before and since napari 0.9."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def show_whole(viewer: ViewerModel, layer: Layer) -> None:
    """Show all of a layer, whatever else is open; napari itself shows all layers together.

    Parameters
    ----------
    viewer
        The viewer.
    layer
        One of its layers.
    """
    viewer.reset_view(reset_camera_angle=False)
    offset = viewer.dims.ndim - layer.ndim
    displayed = [axis for axis in viewer.dims.displayed if axis >= offset]
    of_all = np.ptp(viewer.layers.extent.world[:, displayed], axis=0)
    own_extent = layer.extent.world[:, [axis - offset for axis in displayed]]
    own = np.ptp(own_extent, axis=0)
    if not (own > 0).all():
        return
    camera = camera_of(viewer)
    camera.center = (*camera.center[: -len(displayed)], *own_extent.mean(axis=0))
    camera.zoom = camera.zoom * float((of_all / own).min())
