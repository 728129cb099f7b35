"""The answer on screen: a preview of the mask, mean and variance of the samples, and their outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Vectors
from napari.utils.transforms import Affine

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import spatial_arguments
from napari_latentseg.widgets._shared.map_style import map_style
from napari_latentseg.widgets.point.image_layers import ImageLayers

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
        self._image = image
        self._layers = ImageLayers(viewer, image)
        self.is_shown = False
        self._latest: tuple[SliceAnswer, tuple[int, ...], Outlines, Layer] | None = None
        self._color = ""
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
        self._latest = answer, index, outlines, below
        mean = answer.mean
        place = _placed(self._image, (*index, *answer.part.origin), answer.part.step)
        mask = (mean > answer.threshold).astype(np.uint8).reshape(*_leading(index), *mean.shape)
        self._show_mask(mask, place, color, below)
        for role in MAPS:
            self._update(role)

    def _update(self, role: str) -> None:
        """Show the latest answer in a map that is wanted; the others cost time at each click for nothing."""
        if not self.wanted[role] or not self.is_shown or self._latest is None:
            self._layers.hide_one(_role(role))
            return
        answer, index, outlines, below = self._latest
        if role == "outlines":
            self._show_outlines(answer, index, outlines, below)
            return
        values = answer.mean if role == "mean" else answer.variance
        if values is not None:
            place = _placed(self._image, (*index, *answer.part.origin), answer.part.step)
            whole = values.reshape(*_leading(index), *values.shape)
            self._show_map(role, whole, place, len(answer.samples), below)
        else:
            self._layers.hide_one(_role(role))

    def _show_mask(self, mask: Any, place: dict[str, Any], color: str, below: Layer) -> None:
        style = label_style([ClassInfo(label=1, name="preview", color=color)])
        is_new_color, self._color = color != self._color, color
        layer = self._existing("preview")
        if isinstance(layer, Labels):
            layer.data = mask
            _move(layer, place)
            if is_new_color:  # napari makes a new texture of it
                layer.colormap = style["colormap"]
            layer.visible = True
            return
        layer = Labels(mask, opacity=0.55, **style, **self._arguments("preview"), **place)
        self._layers.add(_role("preview"), layer, below)
        layer.editable = False

    def _show_map(self, role: str, values: Any, place: dict[str, Any], samples: int, below: Layer) -> None:
        layer = self._existing(role)
        if layer is not None:
            layer.data = values
            _move(layer, place)
        else:
            layer = Image(values, rgb=False, **map_style(role, samples), **self._arguments(role), **place)
            self._layers.add(_role(role), layer, self._existing("preview") or below)
        layer.visible = True

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
            self._layers.add(_role("outlines"), layer, below)
        layer.visible = True

    def show_map(self, role: str, on: bool) -> None:
        """Show or hide one of `MAPS`, also of later answers."""
        self.wanted[role] = on
        self._update(role)

    def clear(self) -> None:
        """Show no answer; the layers are kept hidden, see `ImageLayers`."""
        self.is_shown = False
        self._layers.hide()

    def remove(self) -> None:
        """Remove the layers."""
        for role in ("preview", *MAPS):
            self._layers.remove(_role(role))

    def _arguments(self, role: str) -> dict[str, Any]:
        titles = {"preview": "answer", "outlines": "answer samples"}
        return self._layers.arguments(_role(role), titles.get(role, f"answer {role}"))

    def _existing(self, role: str) -> Layer | None:
        return self._layers.get(_role(role))


def _role(name: str) -> str:
    """The role of a layer: ``"preview"`` of the mask, or one of `MAPS`."""
    return f"answer {name}"


def _leading(index: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one slice along the axes before its rows and columns."""
    return (1,) * len(index)


def _move(layer: Layer, place: dict[str, Any]) -> None:
    """Place a layer elsewhere; where it lies there already, napari would draw it again all the same."""
    for name in ("scale", "translate"):
        if not np.array_equal(getattr(layer, name), place[name]):
            setattr(layer, name, place[name])


def _placed(image: Any, first: tuple[float, ...], step: int) -> dict[str, Any]:
    """The keywords that draw an array on an image: each value stands for `step` rows."""
    arguments = spatial_arguments(image)
    to_drawn = Affine(scale=image.scale, rotate=image.rotate, shear=image.shear, translate=image.translate)
    scale = np.array(image.scale, dtype=float)
    scale[-2:] *= step
    return arguments | {"translate": to_drawn(np.array(first, dtype=float)), "scale": scale}
