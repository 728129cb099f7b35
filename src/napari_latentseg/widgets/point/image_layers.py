"""Layers that are drawn on one image: how they are named, marked as ours, added, hidden and removed."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from napari_latentseg.widgets._shared.layers import METADATA_KEY
from napari_latentseg.widgets._shared.removed_layers import remove_soon
from napari_latentseg.widgets._shared.text import MAX_IMAGE_NAME, elide_middle

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

__all__ = ["ImageLayers"]


class ImageLayers:
    """The layers on one image by their role; each is added once, then updated, and hidden where not needed.

    With napari 0.9 and software rendering, a layer that is removed while it is drawn, or added again, may end
    the program: only the layers of an image that has gone are removed.

    Parameters
    ----------
    viewer
        The viewer.
    image
        The image.
    """

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self._viewer = weakref.ref(viewer)
        self.image = image
        self._by_role: dict[str, Layer] = {}

    @property
    def viewer(self) -> ViewerModel | None:
        """The viewer; None after it was closed."""
        return self._viewer()

    def arguments(self, role: str, title: str) -> dict[str, Any]:
        """The keywords of a new layer that name it and mark it as ours.

        Parameters
        ----------
        role
            See `role_of`.
        title
            What follows the name of the image.
        """
        return {
            "name": f"{elide_middle(self.image.name, MAX_IMAGE_NAME)} {title}",
            "metadata": {METADATA_KEY: {"role": role, "image": str(self.image.unique_id)}},
        }

    def get(self, role: str) -> Layer | None:
        """The layer of a role; None where it was not added, or somebody has removed it."""
        layer, viewer = self._by_role.get(role), self._viewer()
        return layer if layer is not None and viewer is not None and layer in viewer.layers else None

    def was_added(self, role: str) -> bool:
        """Whether a layer of a role was added, even if somebody has removed it."""
        return role in self._by_role

    def add(self, role: str, layer: Layer, below: Layer | None = None) -> None:
        """Add a layer, on top or below another one; what is selected stays selected."""
        viewer = self._viewer()
        if viewer is None:
            return
        layers = viewer.layers
        active = layers.selection.active
        layers.insert(layers.index(below) if below in layers else len(layers), layer)
        layers.selection.active = active
        self._by_role[role] = layer

    def hide(self) -> None:
        """Hide all of them."""
        for role in self._by_role:
            self.hide_one(role)

    def hide_one(self, role: str) -> None:
        """Hide the layer of a role."""
        layer = self.get(role)
        if layer is not None and layer.visible:
            layer.visible = False

    def remove(self) -> None:
        """Remove all of them, in the next iteration of the event loop."""
        layers = [layer for role in self._by_role if (layer := self.get(role)) is not None]
        self._by_role.clear()
        remove_soon(self._viewer, layers)
