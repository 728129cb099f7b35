"""An object through a volume that nobody has accepted yet: its masks, and the layer that shows them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import METADATA_KEY, spatial_arguments
from napari_latentseg.widgets._shared.region import image_shape
from napari_latentseg.widgets._shared.text import MAX_IMAGE_NAME, elide_middle

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

__all__ = ["ProposalLayer", "VolumeProposal"]

Mask = NDArray[np.bool_]


@dataclass
class VolumeProposal:
    """What the model proposes on the slices of a volume.

    Attributes
    ----------
    name
        Class and number of the object; None for those that are in the panel when it is accepted.
    masks
        By the number of the slice, `(H, W)`.
    cleared
        Slices on which a person has said that the object is not there.
    text
        How far it was followed, in words.
    """

    name: tuple[str, int] | None
    masks: dict[int, Mask] = field(default_factory=dict)
    cleared: set[int] = field(default_factory=set)
    text: str = ""


class ProposalLayer:
    """The layer of a proposal on one image; added once, then updated slice by slice.

    Parameters
    ----------
    viewer
        The viewer.
    image
        The volume.
    """

    def __init__(self, viewer: ViewerModel, image: Image) -> None:
        self._viewer = weakref.ref(viewer)
        self._image = image
        self._layer: Labels | None = None

    @property
    def layer(self) -> Labels | None:
        """The layer while it is in the viewer."""
        viewer = self._viewer()
        return self._layer if viewer is not None and self._layer in viewer.layers else None

    def show(
        self, proposal: VolumeProposal, color: str, below: Layer, is_hidden: Callable[[int], bool]
    ) -> None:
        """Show a proposal in place of what was shown.

        Parameters
        ----------
        proposal
            Its masks.
        color
            Of the object.
        below
            The layer is added below this one.
        is_hidden
            Whether a slice shows something else: an answer that corrects it.
        """
        layer, viewer = self.layer, self._viewer()
        if viewer is None:
            return
        style = label_style([ClassInfo(label=1, name="proposal", color=color)])
        if layer is None:
            name = f"{elide_middle(self._image.name, MAX_IMAGE_NAME)} proposal"
            entry = {"role": "answer volume", "image": str(self._image.unique_id)}
            layer = Labels(
                np.zeros(image_shape(self._image), np.uint8), name=name, opacity=0.55,
                metadata={METADATA_KEY: entry}, **style, **spatial_arguments(self._image),
            )  # fmt: skip
            active = viewer.layers.selection.active
            viewer.layers.insert(viewer.layers.index(below), layer)
            viewer.layers.selection.active = active
            layer.editable = False
            self._layer = layer
        else:
            layer.colormap = style["colormap"]
        data: Any = layer.data
        for plane in range(len(data)):
            mask = None if is_hidden(plane) else proposal.masks.get(plane)
            if mask is not None:
                data[plane] = mask
            elif data[plane].any():
                data[plane] = 0
        layer.refresh()
        layer.visible = True

    def show_plane(self, plane: int, mask: Mask | None) -> None:
        """Show another mask on a slice, or none."""
        layer, viewer = self.layer, self._viewer()
        if layer is None or viewer is None:
            return
        layer.data[plane] = 0 if mask is None else mask
        if viewer.dims.current_step[-3] == plane or viewer.dims.ndisplay == 3:
            layer.refresh()

    def hide(self) -> None:
        """Hide it, see `PromptLayers`."""
        if self.layer is not None and self.layer.visible:
            self.layer.visible = False

    def remove(self) -> None:
        """Remove it."""
        layer, viewer = self.layer, self._viewer()
        if layer is not None and viewer is not None:
            viewer.layers.remove(layer)
