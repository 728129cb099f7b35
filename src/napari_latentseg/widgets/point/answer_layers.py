"""The answer on screen: a preview of the mask, mean and variance of the samples, and their outlines."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Vectors
from napari.utils.transforms import Affine

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import METADATA_KEY, spatial_arguments
from napari_latentseg.widgets._shared.map_style import map_style
from napari_latentseg.widgets._shared.text import MAX_IMAGE_NAME, elide_middle

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_latentseg.inference.slice_part import SliceAnswer
    from napari_latentseg.widgets.point.engine import Outlines

__all__ = ["MAPS", "AnswerLayers"]

MAPS = ("mean", "variance", "outlines")
"""What is shown of an answer beside its mask."""

_OUTLINE_COLOR = "#f0e442"  # one for all samples: napari (0.9) fails to change many colours with the lines


class AnswerLayers:
    """The layers of an answer on one image; each is added once, then updated.

    Parameters
    ----------
    viewer
        The viewer.
    image
        The layer that is pointed at.
    """

    def __init__(self, viewer: ViewerModel, image: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self._image = image
        self.layers: dict[str, Layer] = {}
        self.is_shown = False
        self.wanted: dict[str, bool] = dict.fromkeys(MAPS, False)

    def show(
        self, answer: SliceAnswer, index: tuple[int, ...], outlines: Outlines, color: str, below: Layer
    ) -> None:
        """Show an answer on a slice.

        Parameters
        ----------
        answer
            The answer.
        index
            Of the slice, along the axes before rows and columns.
        outlines
            Of the samples, see `contour_segments`; in rows and columns of the answer.
        color
            Of the mask.
        below
            The layers are added below this one.
        """
        self.is_shown = True
        mean = answer.mean
        lead = (1,) * len(index)
        place = _placed(self._image, (*index, *answer.part.origin), answer.part.step)
        mask = (mean > answer.threshold).astype(np.uint8).reshape(*lead, *mean.shape)
        self._show_mask(mask, place, color, below)
        samples = len(answer.samples)
        for role, values in (("mean", mean), ("variance", answer.variance)):
            layer = self._existing(role)
            if values is None and layer is not None:
                layer.visible = False
            elif values is not None:
                self._show_map(role, values.reshape(*lead, *values.shape), place, samples, below)
        self._show_outlines(answer, index, outlines, below)

    def _show_mask(self, mask: Any, place: dict[str, Any], color: str, below: Layer) -> None:
        style = label_style([ClassInfo(label=1, name="preview", color=color)])
        layer = self._existing("preview")
        if isinstance(layer, Labels):
            layer.data = mask
            layer.translate, layer.scale = place["translate"], place["scale"]
            layer.colormap = style["colormap"]
            layer.visible = True
            return
        layer = Labels(mask, opacity=0.55, **style, **self._arguments("preview"), **place)
        self._add("preview", layer, below)
        layer.editable = False

    def _show_map(self, role: str, values: Any, place: dict[str, Any], samples: int, below: Layer) -> None:
        layer = self._existing(role)
        if layer is not None:
            layer.data = values
            layer.translate, layer.scale = place["translate"], place["scale"]
        else:
            layer = Image(values, rgb=False, **map_style(role, samples), **self._arguments(role), **place)
            self._add(role, layer, self._existing("preview") or below)
        layer.visible = self.wanted[role]

    def _show_outlines(
        self, answer: SliceAnswer, index: tuple[int, ...], outlines: Outlines, below: Layer
    ) -> None:
        segments = outlines[0]
        step, origin = answer.part.step, answer.part.origin
        data = np.zeros((len(segments), 2, self._image.ndim), dtype=np.float32)
        data[:, 0, : len(index)] = index
        data[:, 0, -2:] = segments[:, 0] * step + np.array(origin)
        data[:, 1, -2:] = segments[:, 1] * step
        layer = self._existing("outlines")
        if isinstance(layer, Vectors):
            layer.data = data
        else:
            layer = Vectors(
                data, ndim=self._image.ndim, vector_style="line", edge_color=_OUTLINE_COLOR,
                edge_width=max(0.15, 0.15 * step), **self._arguments("outlines"),
                **spatial_arguments(self._image),
            )  # fmt: skip
            self._add("outlines", layer, below)
        layer.visible = self.wanted["outlines"]

    def show_map(self, role: str, on: bool) -> None:
        """Show or hide one of `MAPS`, also of later answers."""
        self.wanted[role] = on
        layer = self._existing(role)
        if layer is not None:
            layer.visible = on and self.is_shown

    def clear(self) -> None:
        """Show no answer; the layers are kept hidden, see `PromptLayers`."""
        self.is_shown = False
        for role in self.layers:
            layer = self._existing(role)
            if layer is not None and layer.visible:
                layer.visible = False

    def remove(self) -> None:
        """Remove the layers."""
        viewer = self._viewer()
        for role in list(self.layers):
            layer = self._existing(role)
            if layer is not None and viewer is not None:
                viewer.layers.remove(layer)
        self.layers.clear()

    def _arguments(self, role: str) -> dict[str, Any]:
        titles = {"preview": "answer", "outlines": "answer samples"}
        return {
            "name": f"{elide_middle(self._image.name, MAX_IMAGE_NAME)} {titles.get(role, f'answer {role}')}",
            "metadata": {METADATA_KEY: {"role": f"answer {role}", "image": str(self._image.unique_id)}},
        }

    def _existing(self, role: str) -> Layer | None:
        layer, viewer = self.layers.get(role), self._viewer()
        return layer if layer is not None and viewer is not None and layer in viewer.layers else None

    def _add(self, role: str, layer: Layer, below: Layer) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        layers = viewer.layers
        active = layers.selection.active
        layers.insert(layers.index(below) if below in layers else len(layers), layer)
        layers.selection.active = active
        self.layers[role] = layer


def _placed(image: Any, first: tuple[float, ...], step: int) -> dict[str, Any]:
    """The keywords that draw an array on an image: each value stands for `step` rows."""
    arguments = spatial_arguments(image)
    to_drawn = Affine(scale=image.scale, rotate=image.rotate, shear=image.shear, translate=image.translate)
    scale = np.array(image.scale, dtype=float)
    scale[-2:] *= step
    return arguments | {"translate": to_drawn(np.array(first, dtype=float)), "scale": scale}
