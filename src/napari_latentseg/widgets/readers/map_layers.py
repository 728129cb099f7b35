"""The layers of a comparison: the readers' disagreement and their consensus, on the image."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels

from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import METADATA_KEY, placement_metadata, spatial_arguments
from napari_latentseg.widgets._shared.map_style import map_style
from napari_latentseg.widgets._shared.unwrapped_viewer import unwrapped_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_latentseg.widgets.readers.comparing import Compared

__all__ = ["CONSENSUS", "DISAGREEMENT", "ComparisonLayers"]

DISAGREEMENT, CONSENSUS = "disagreement of readers", "consensus of readers"


class ComparisonLayers:
    """The layers of one comparison; each is added when it is first shown.

    Parameters
    ----------
    viewer
        The viewer.
    image
        The layer of the image.
    compared
        What is shown.
    """

    def __init__(self, viewer: ViewerModel, image: Image, compared: Compared) -> None:
        self._viewer = weakref.ref(unwrapped_viewer(viewer))
        self.image, self.compared = image, compared
        self._layers: dict[str, Layer] = {}

    @property
    def is_image_open(self) -> bool:
        """Whether the image is in the viewer."""
        viewer = self._viewer()
        return viewer is not None and self.image in viewer.layers

    def layer(self, kind: str) -> Layer | None:
        """The layer of a kind, if it is in the viewer."""
        viewer, layer = self._viewer(), self._layers.get(kind)
        return layer if viewer is not None and layer is not None and layer in viewer.layers else None

    def is_shown(self, kind: str) -> bool:
        """Whether it can be seen."""
        layer = self.layer(kind)
        return layer is not None and layer.visible

    def hide(self, kind: str) -> None:
        """Hide it; it stays in the list."""
        layer = self.layer(kind)
        if layer is not None:
            layer.visible = False

    def show_disagreement(self, position: int) -> None:
        """Show where the readers differ about a class, on the colours and scale of a model's variance."""
        values = self.compared.disagreement[position]
        layer = self.layer(DISAGREEMENT)
        if layer is None:
            self._add(
                DISAGREEMENT,
                Image(values, rgb=False, **map_style("disagreement", 0), **self._arguments(DISAGREEMENT)),
            )
        else:
            layer.data, layer.visible = values, True

    def show_consensus(self) -> None:
        """Show the consensus as outlines."""
        layer = self.layer(CONSENSUS)
        if layer is None:
            labels = Labels(
                self.compared.consensus,
                **label_style(self.compared.comparison.classes),
                **self._arguments(CONSENSUS),
            )
            labels.contour, labels.editable = 1, False
            self._add(CONSENSUS, labels)
        else:
            layer.visible = True

    def _add(self, kind: str, layer: Layer) -> None:
        viewer = self._viewer()
        if viewer is None or not self.is_image_open:
            return
        active = viewer.layers.selection.active
        viewer.layers.append(layer)
        viewer.layers.selection.active = active
        self._layers[kind] = layer

    def _arguments(self, kind: str) -> dict[str, Any]:
        entry = {"role": kind, "image": str(self.image.unique_id), **placement_metadata(self.image)}
        return {
            "name": f"{self.image.name} {kind}",
            "metadata": {METADATA_KEY: entry},
            **spatial_arguments(self.image),
        }

    def take_away(self) -> None:
        """Hide the layers of an earlier comparison; they stay in the list, for the person to remove."""
        for kind in list(self._layers):
            self.hide(kind)
