"""The answer on screen: a preview of the mask, mean and variance of the samples, and their outlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Vectors
from napari.utils.transforms import Affine
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import spatial_arguments
from napari_latentseg.widgets._shared.map_style import map_style
from napari_latentseg.widgets.point.image_layers import ImageLayers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_latentseg.inference.slice_part import SliceAnswer, SlicePart
    from napari_latentseg.widgets._shared.turns import Turns
    from napari_latentseg.widgets.point.engine import Outlines

__all__ = ["MAPS", "AnswerLayers"]

MAPS = ("mean", "variance", "outlines")
"""What is shown of an answer beside its mask."""

_OUTLINE_COLOR = "#f0e442"  # one for all samples: napari (0.9) fails to change many colours with the lines


@dataclass(frozen=True)
class _Shown:
    """An answer that is shown: on which slice, and below which layer."""

    answer: SliceAnswer
    index: tuple[int, ...]
    outlines: Outlines
    below: Layer


class AnswerLayers:
    """The layers of an answer on one image; each is added once, then updated.

    Parameters
    ----------
    viewer
        The viewer.
    image
        The layer that is pointed at.
    turns
        In which layers are added, and maps are drawn after the mask.
    wanted
        Which of `MAPS` are shown; shared by the images of a viewer.
    """

    def __init__(self, viewer: ViewerModel, image: Any, turns: Turns, wanted: Mapping[str, bool]) -> None:
        self._image = image
        self._turns = turns
        self._layers = ImageLayers(viewer, image)
        self.is_shown = False
        self._latest: _Shown | None = None
        self._color = self._drawn_color = ""
        self.wanted = wanted

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
        self._latest = _Shown(answer, index, outlines, below)
        self._color = color
        self._update("preview")
        for role in MAPS:
            self._update_later(role)

    def prepare(self, part: SlicePart, color: str, below: Layer) -> None:
        """Add the layer of the mask, with nothing in it, so that the first answer need not wait for it.

        Parameters
        ----------
        part
            The part of a slice that will be answered.
        color, below
            As for `show`.
        """
        if self._existing("preview") is not None:
            return
        index = (part.plane,) if self._image.ndim > 2 else ()
        (top, left, bottom, right), step = part.box, part.step
        empty = np.zeros((*_leading(index), -(-(bottom - top) // step), -(-(right - left) // step)), np.uint8)
        place = _placed(self._image, (*index, *part.origin), step)
        self._color = color

        def add() -> None:
            if self._existing("preview") is None:
                self._add(self._new_layer("preview", empty, place), "preview", below)

        self._turns.call("preview", add)

    def _update_later(self, role: str) -> None:
        """Draw a map in an iteration of the event loop of its own; what is not wanted costs no time."""
        if self.wanted[role]:
            self._turns.call(role, lambda: self._update(role))
        else:
            self._layers.hide_one(_role(role))

    def _update(self, role: str) -> None:
        """Show the latest answer in a layer; a new one is added now, and drawn in the next iteration."""
        latest = self._latest
        data = None
        if latest is not None and self.is_shown and self.wanted.get(role, True):
            data = self._data(role, latest)
        if latest is None or data is None:
            self._layers.hide_one(_role(role))
            return
        part = latest.answer.part
        place = _placed(self._image, (*latest.index, *part.origin), part.step)
        layer = self._existing(role)
        if layer is None:
            empty = data[:0] if role == "outlines" else np.zeros_like(data)
            self._add(self._new_layer(role, empty, place), role, latest.below)
            self._turns.call(role, lambda: self._update(role))
            return
        layer.data = data
        if isinstance(layer, Vectors):
            layer.edge_width = max(0.15, 0.15 * part.step)
        else:
            _move(layer, place)
        if isinstance(layer, Labels) and self._drawn_color != self._color:  # napari makes a new texture of it
            layer.colormap = self._mask_style()["colormap"]
        layer.visible = True

    def _data(self, role: str, latest: _Shown) -> NDArray[Any] | None:
        """What the layer of a role shows of an answer; None where there is nothing."""
        answer, index = latest.answer, latest.index
        if role == "outlines":
            return self._outline_vectors(latest)
        if role == "preview":
            values: NDArray[Any] | None = (answer.mean > answer.threshold).astype(np.uint8)
        else:
            values = answer.mean if role == "mean" else answer.variance
        return None if values is None else values.reshape(*_leading(index), *values.shape)

    def _outline_vectors(self, latest: _Shown) -> NDArray[np.float32]:
        index, segments = latest.index, latest.outlines[0]
        step, origin = latest.answer.part.step, latest.answer.part.origin
        data = np.zeros((len(segments), 2, self._image.ndim), dtype=np.float32)
        data[:, 0, : len(index)] = index
        data[:, 0, -2:] = segments[:, 0] * step + np.array(origin)
        data[:, 1, -2:] = segments[:, 1] * step
        return data

    def _new_layer(self, role: str, data: NDArray[Any], place: dict[str, Any]) -> Layer:
        titles = {"preview": "answer", "outlines": "answer samples"}
        arguments = self._layers.arguments(_role(role), titles.get(role, f"answer {role}"))
        if role == "preview":
            return Labels(data, opacity=0.55, **self._mask_style(), **arguments, **place)
        if role == "outlines":
            return Vectors(
                data, ndim=self._image.ndim, vector_style="line", edge_color=_OUTLINE_COLOR, **arguments,
                **spatial_arguments(self._image),
            )  # fmt: skip
        return Image(data, rgb=False, **map_style(role, samples=1), **arguments, **place)

    def _mask_style(self) -> dict[str, Any]:
        self._drawn_color = self._color
        return label_style([ClassInfo(label=1, name="preview", color=self._color)])

    def _add(self, layer: Layer, role: str, below: Layer) -> None:
        is_map = role in ("mean", "variance")
        self._layers.add(_role(role), layer, (self._existing("preview") or below) if is_map else below)
        if role == "preview":
            layer.editable = False

    def update_map(self, role: str) -> None:
        """Show or hide one of `MAPS` as it is wanted now."""
        self._update_later(role)

    def clear(self) -> None:
        """Hide the answer; the layers are kept, see `ImageLayers`."""
        self.is_shown = False
        self._layers.hide()

    def remove(self) -> None:
        """Remove the layers."""
        self._layers.remove()

    def _existing(self, role: str) -> Layer | None:
        return self._layers.get(_role(role))


def _role(name: str) -> str:
    """The role of a layer: ``"preview"`` of the mask, or one of `MAPS`."""
    return f"answer {name}"


def _leading(index: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one slice along the axes before its rows and columns."""
    return (1,) * len(index)


def _move(layer: Layer, place: dict[str, Any]) -> None:
    """Move a layer, unless it is there already: napari would draw it again all the same."""
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
