"""An object through a volume that nobody has accepted yet: its masks, and the layer that shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import spatial_arguments
from napari_latentseg.widgets._shared.region import image_shape
from napari_latentseg.widgets.point.image_layers import ImageLayers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

__all__ = ["ProposalLayer", "VolumeProposal"]

Mask = NDArray[np.bool_]

_ROLE = "answer volume"


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
        self._image = image
        self._layers = ImageLayers(viewer, image)

    @property
    def layer(self) -> Labels | None:
        """The layer while it is in the viewer."""
        layer = self._layers.get(_ROLE)
        assert layer is None or isinstance(layer, Labels)
        return layer

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
        layer = self.layer
        style = label_style([ClassInfo(label=1, name="proposal", color=color)])
        if layer is None:
            layer = Labels(
                np.zeros(image_shape(self._image), np.uint8), opacity=0.55, **style,
                **self._layers.arguments(_ROLE, "proposal"), **spatial_arguments(self._image),
            )  # fmt: skip
            self._layers.add(_ROLE, layer, below)
            layer.editable = False
        else:
            layer.colormap = style["colormap"]
            if layer.data.shape != image_shape(self._image):  # other values were put into it
                layer.data = np.zeros(image_shape(self._image), np.uint8)
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
        layer, viewer = self.layer, self._layers.viewer
        if layer is None or viewer is None:
            return
        layer.data[plane] = 0 if mask is None else mask
        if viewer.dims.current_step[-3] == plane or viewer.dims.ndisplay == 3:
            layer.refresh()

    def hide(self) -> None:
        """Hide it."""
        self._layers.hide()

    def remove(self) -> None:
        """Remove it."""
        self._layers.remove()
