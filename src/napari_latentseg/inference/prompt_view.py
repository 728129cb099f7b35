"""Which part of a slice a model looks at to answer prompts: a square in which the structure is well seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.data.resize import resize
from napari_latentseg.methods.simulated_prompts import PromptMaps, only_parts

__all__ = [
    "View",
    "closer_view",
    "first_view",
    "is_well_seen",
    "only_pointed_at",
    "prompt_maps",
    "size_misfit",
    "views_at_scales",
    "views_of_size",
    "whole_view",
]

Array = NDArray[np.float32]

# As in training, where the side of a view is 1.5 to 6 times that of the object (`view_around`): in the middle
# of that range, by the logarithm, the object is seen best.
_SIDE_OF_OBJECT = 2.5
_SIDE_OF_BOX = 2.0  # a box is drawn a little larger than what it holds
_TOO_FAR = 4.0  # a view whose side is more than this times the object's is replaced by a closer one
_LEAST_SIDE = 16  # pixels of the image; less holds no structure
# The factor by which each view that looks for the scale of a structure is narrower than the one before. With
# 1.5, nearly twice as many views gave no better answers on training images.
_SCALE_STEP = 2.25
_MOST_SCALES = 5  # the narrowest shows a 25th of the longer side
_LEAST_SCALE_SIDE = 24  # pixels of the image, enlarged fivefold; closer there is nothing more to see
# Sides of the views of a structure whose size is given, in sizes. The size is known to a factor of 1.5 or so;
# the widest view shows a structure of few pixels with its surroundings.
_SIDES_OF_SIZE = tuple(_SIDE_OF_OBJECT * 1.5**step for step in (-1, 0, 1, 2))
# Share of the side of a view that a well seen object takes, a little more than in training.
_LEAST_SHARE, _LARGEST_SHARE = 1 / 7, 0.8


@dataclass(frozen=True)
class View:
    """A square of a slice, in pixels of the slice; it may reach beyond it.

    Attributes
    ----------
    top, left
        Of its first pixel.
    side
        Number of rows, and of columns.
    """

    top: int
    left: int
    side: int

    def crop(self, plane: Array, size: int) -> Array:
        """The view of a slice `(C, H, W)` as `(C, size, size)`; beyond the slice its edge goes on."""
        height, width = plane.shape[-2:]
        rows = np.clip(np.arange(self.top, self.top + self.side), 0, height - 1)
        columns = np.clip(np.arange(self.left, self.left + self.side), 0, width - 1)
        return resize(np.ascontiguousarray(plane[..., rows[:, None], columns]), (size, size))

    def paste(self, values: Array, shape: tuple[int, int]) -> Array:
        """Values `(size, size)` of the view as an image `(H, W)`; 0 outside the view."""
        height, width = shape
        resized = resize(values, (self.side, self.side))
        top, left = max(0, self.top), max(0, self.left)
        bottom, right = min(height, self.top + self.side), min(width, self.left + self.side)
        image = np.zeros(shape, dtype=np.float32)
        image[top:bottom, left:right] = resized[
            top - self.top : bottom - self.top, left - self.left : right - self.left
        ]
        return image

    def to_view(self, point: Sequence[float], size: int) -> tuple[int, int]:
        """The pixel of the view, at `size` by `size`, nearest to a point of the slice."""
        y, x = (
            int(np.clip((value + 0.5 - start) * size / self.side, 0, size - 1))
            for value, start in zip(point, (self.top, self.left), strict=True)
        )
        return y, x

    def holds(self, point: Sequence[float]) -> bool:
        """Whether a point of the slice lies in the view."""
        y, x = (value + 0.5 - start for value, start in zip(point, (self.top, self.left), strict=True))
        return 0 <= y < self.side and 0 <= x < self.side


def whole_view(shape: tuple[int, int]) -> View:
    """The view of a whole slice `(H, W)`."""
    height, width = shape
    side = max(shape)
    return View((height - side) // 2, (width - side) // 2, side)


def first_view(prompts: Prompts, shape: tuple[int, int], previous: NDArray[np.bool_] | None = None) -> View:
    """A view around what is known of the structure: the mask before, or boxes; otherwise the whole slice.

    Parameters
    ----------
    prompts
        Of this slice, from `Prompts.on_plane`.
    shape
        Of the slice.
    previous
        The mask of the answer before, `(H, W)`.
    """
    corners = [(*sorted((box[0], box[2])), *sorted((box[1], box[3]))) for box in prompts.boxes]
    rectangles = [(y0, x0, y1, x1) for y0, y1, x0, x1 in corners]
    factor = _SIDE_OF_BOX
    if previous is not None and previous.any():
        rectangles.append(_bounds(previous))
        factor = _SIDE_OF_OBJECT
    if not rectangles:
        return whole_view(shape)
    return _view_of(_with_points(rectangles, prompts), shape, factor)


def views_at_scales(prompts: Prompts, shape: tuple[int, int]) -> list[View]:
    """Views around the points, from the whole slice to ever narrower ones that still hold all of them.

    Parameters
    ----------
    prompts
        Of this slice, from `Prompts.on_plane`; points, and no boxes.
    shape
        Of the slice.
    """
    views = [whole_view(shape)]
    points = _with_points([], prompts)
    extent = float((points[2:] - points[:2]).max())
    for step in range(1, _MOST_SCALES):
        side = max(shape) / _SCALE_STEP**step
        if side < max(_LEAST_SCALE_SIDE, _SIDE_OF_BOX * extent):
            break
        views.append(_view_of(points, shape, side / extent))
    return views


def views_of_size(prompts: Prompts, shape: tuple[int, int]) -> list[View]:
    """Views around the points in which a structure of the given size is seen, from narrow to wide.

    Parameters
    ----------
    prompts
        Of this slice, with a size; all points are in each view.
    shape
        Of the slice.
    """
    assert prompts.size is not None
    points = _with_points([], prompts)
    extent = float((points[2:] - points[:2]).max())
    sides = [max(factor * prompts.size, _SIDE_OF_BOX * extent) for factor in _SIDES_OF_SIZE]
    return list(dict.fromkeys(_view_of(points, shape, side / extent) for side in sides))


def size_misfit(view: View, prompts: Prompts, answer: NDArray[np.bool_]) -> float:
    """By which factor the object that is pointed at is larger or smaller than the given size, 1 or more.

    Infinite where nothing was answered.

    Parameters
    ----------
    view, prompts, answer
        As for `closer_view`; the prompts have a size.
    """
    assert prompts.size is not None
    mask = _pointed_at(view, prompts, answer)
    if not mask.any():
        return float("inf")
    top, left, bottom, right = _bounds(mask)
    ratio = max(bottom - top, right - left) * view.side / len(answer) / prompts.size
    return max(ratio, 1 / ratio)


def is_well_seen(view: View, prompts: Prompts, answer: NDArray[np.bool_]) -> bool:
    """Whether the size of the object that is pointed at, in the view, occurred in training.

    Parameters
    ----------
    view, prompts, answer
        As for `closer_view`.
    """
    mask = _pointed_at(view, prompts, answer)
    if not mask.any():
        return False
    top, left, bottom, right = _bounds(mask)
    return _LEAST_SHARE < max(bottom - top, right - left) / len(answer) < _LARGEST_SHARE


def closer_view(
    view: View, prompts: Prompts, shape: tuple[int, int], answer: NDArray[np.bool_]
) -> View | None:
    """A closer view, where the structure is small in this one.

    Parameters
    ----------
    view, prompts, shape
        As for `first_view`.
    answer
        The mask in this view, `(S, S)`.

    Returns
    -------
    View or None
        None where the structure is well seen, or nothing was answered.
    """
    mask = _pointed_at(view, prompts, answer)
    if not mask.any():
        return None
    scale = view.side / len(answer)
    top, left, bottom, right = (bound * scale for bound in _bounds(mask))
    rectangle = (view.top + top, view.left + left, view.top + bottom, view.left + right)
    closer = _view_of(_with_points([rectangle], prompts), shape, _SIDE_OF_OBJECT)
    return closer if view.side > _TOO_FAR / _SIDE_OF_OBJECT * closer.side else None


def only_pointed_at(probability: Array, view: View, prompts: Prompts, threshold: float) -> Array:
    """A probability `(S, S)` without the objects that nothing points at.

    A click on a nucleus means that nucleus, and not all that look like it. Where no object is pointed at, all
    of them stay, and the next click corrects them.

    Parameters
    ----------
    probability
        In the view.
    view, prompts
        As for `closer_view`.
    threshold
        An object is a connected part above it.
    """
    size = len(probability)
    labels, count = ndimage.label(probability > threshold)
    if count < 2:
        return probability
    wanted = {int(labels[view.to_view(p, size)]) for p in prompts.positive if view.holds(p)}
    for box in prompts.boxes:
        (top, left), (bottom, right) = (view.to_view(box[i : i + 2], size) for i in (0, 2))
        rows, columns = sorted((top, bottom)), sorted((left, right))
        wanted |= set(np.unique(labels[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1]).tolist())
    return only_parts(probability, labels, wanted)


def _pointed_at(view: View, prompts: Prompts, answer: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The objects of an answer that points are on; all of it where there is none."""
    labels, _ = ndimage.label(answer)
    wanted = {int(labels[view.to_view(p, len(answer))]) for p in prompts.positive if view.holds(p)} - {0}
    return np.isin(labels, list(wanted)) if wanted else answer


def prompt_maps(view: View, prompts: Prompts, size: int, previous: Array | None = None) -> Array:
    """The maps that the network sees, `(4, size, size)`; see `PROMPT_CHANNELS`.

    Parameters
    ----------
    view, prompts
        As for `closer_view`.
    size
        Of the view, in pixels of the network's input.
    previous
        The probability of the answer before, `(H, W)` in [0, 1].
    """
    drawn = PromptMaps((size, size))
    for points, is_positive in ((prompts.positive, True), (prompts.negative, False)):
        for point in points:
            if view.holds(point):
                drawn.add_click(view.to_view(point, size), is_positive=is_positive)
    for box in prompts.boxes:
        (y0, y1), (x0, x1) = sorted((box[0], box[2])), sorted((box[1], box[3]))
        top, left = view.to_view((y0, x0), size)
        bottom, right = view.to_view((y1, x1), size)
        drawn.add_box(top, left, bottom + 1, right + 1)
    if previous is not None:
        drawn.set_previous(view.crop(previous[None], size)[0])
    return drawn.maps


def _bounds(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Top, left, bottom and right of a mask that is not empty; the ends are not part of it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)


def _with_points(
    rectangles: Sequence[tuple[float, float, float, float]], prompts: Prompts
) -> NDArray[np.float64]:
    """Top, left, bottom and right of all rectangles and points together: no prompt is out of view."""
    points = [(y, x, y + 1, x + 1) for y, x in (*prompts.positive, *prompts.negative)]
    bounds = np.array([*rectangles, *points])
    return np.array([*bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)])


def _view_of(rectangle: NDArray[np.float64], shape: tuple[int, int], factor: float) -> View:
    """A view around a rectangle whose side is `factor` times the longer one of its sides."""
    start, stop = rectangle[:2], rectangle[2:]
    side = int(np.clip(np.ceil(factor * (stop - start).max()), min(_LEAST_SIDE, max(shape)), max(shape)))
    top, left = (
        int(np.clip(round(centre - side / 2), min(0, size - side), max(0, size - side)))
        for centre, size in zip((start + stop) / 2, shape, strict=True)
    )
    return View(top, left, side)
