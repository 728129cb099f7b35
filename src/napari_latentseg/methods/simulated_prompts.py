"""The prompts of an imagined person who points at an object and corrects the answers, for training.

The first click is inside the object, later ones are where the last answer is most wrong, as in Sofiiuk et
al., "Reviving iterative training with mask guidance for interactive segmentation", ICIP 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_latentseg.networks.prompt_encoder import PROMPT_CHANNELS

__all__ = [
    "CLICK_RADIUS",
    "ObjectView",
    "PromptMaps",
    "choose_object",
    "deepest_point",
    "only_parts",
    "point_in",
    "sampling_grid",
    "view_around",
]

CLICK_RADIUS = 3
"""Of the disc that a click is drawn as, in pixels at working size: large enough to be seen in an eighth of
its size, smaller than most objects. Chosen by hand."""

_NEIGHBOURS = np.ones((3, 3))
_SMALLEST_OBJECT = 12  # pixels at working size; less has lost its shape
_BOX_SHARE = 0.3  # of the prompts begin with a box in place of a click
_BOX_JITTER = 0.1  # of the sides: people draw no tight boxes
_DEEP_SHARE = 0.5  # of the clicks at the deepest point; the others anywhere inside, as people click


@dataclass(frozen=True)
class ObjectView:
    """A square part of an image that is shown at working size.

    Attributes
    ----------
    top, left, side
        In pixels of the image; it may reach beyond the image.
    """

    top: float
    left: float
    side: float


def choose_object(
    masks: NDArray[np.bool_], rng: np.random.Generator, single_share: float = 0.5
) -> NDArray[np.bool_]:
    """Draw the object that is meant: a class, or one connected object of it.

    Parameters
    ----------
    masks
        Of the annotated classes, `(K, H, W)`.
    rng
        Draws.
    single_share
        Share of the classes with several objects of which one object alone is meant.

    Returns
    -------
    ndarray
        `(H, W)`; empty where no class is there.
    """
    present = np.flatnonzero(masks.any(axis=(1, 2)))
    if not len(present):
        return np.zeros(masks.shape[1:], dtype=bool)
    mask: NDArray[np.bool_] = masks[rng.choice(present)]
    components, _ = ndimage.label(mask, _NEIGHBOURS)
    sizes = np.bincount(components.ravel())[1:]
    large = np.flatnonzero(sizes >= _SMALLEST_OBJECT) + 1
    if len(large) < 2 or rng.random() > single_share:
        return mask
    chosen: NDArray[np.bool_] = components == rng.choice(large)
    return chosen


def view_around(
    mask: NDArray[np.bool_], rng: np.random.Generator, closest: float = 1.5, farthest: float = 6.0
) -> ObjectView:
    """A view in which the object has a random size, and lies anywhere.

    Parameters
    ----------
    mask
        The object, `(H, W)`; where it is empty the view is the whole image.
    rng
        Draws.
    closest, farthest
        Limits of the side of the view, as multiples of the object's longer side. Small objects are seen at a
        finer scale than that of the whole image.
    """
    height, width = mask.shape
    whole = float(max(height, width))
    if not mask.any():
        return ObjectView((height - whole) / 2, (width - whole) / 2, whole)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    extent = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1.0
    factor = float(np.exp(rng.uniform(np.log(closest), np.log(farthest))))
    side = min(whole, max(extent * factor, whole / 8))
    corner = []
    for low, high, size in ((rows[0], rows[-1], height), (columns[0], columns[-1], width)):
        # the object stays inside; beyond the image only where the view is larger than it
        first, last = min(high + 1 - side, low), max(high + 1 - side, low)
        start = rng.uniform(first, last)
        corner.append(float(np.clip(start, min(0, size - side), max(0, size - side))))
    return ObjectView(corner[0], corner[1], side)


def sampling_grid(view: ObjectView, size: int, detail: int) -> Tensor:
    """Where `grid_sample` reads a square image of `size` pixels for a view that is `detail` times smaller."""
    scale = view.side / size
    # in its coordinates -1 and 1 are the edges of the image
    centre_x, centre_y = ((2 * start + view.side) / size - 1 for start in (view.left, view.top))
    theta = torch.tensor([[[scale, 0, centre_x], [0, scale, centre_y]]], dtype=torch.float32)
    return F.affine_grid(theta, [1, 1, size // detail, size // detail], align_corners=False)


def only_parts(
    probability: NDArray[np.float32], parts: NDArray[np.integer], wanted: set[int]
) -> NDArray[np.float32]:
    """A probability `(H, W)` without the parts that are not wanted; all of it where none is wanted.

    Parameters
    ----------
    probability
        In [0, 1].
    parts
        The number of the connected part of each pixel, 0 outside of all, which stays as it is.
    wanted
        Numbers of parts; 0 counts for none.
    """
    if not (wanted := wanted - {0}):
        return probability
    return np.where((parts > 0) & ~np.isin(parts, list(wanted)), np.float32(0), probability)


def deepest_point(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """The point of a mask that is farthest from its edge; the border of the image is an edge."""
    distance = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), mask.shape)
    return int(row), int(column)


class PromptMaps:
    """The maps of the prompts of one image so far, see `PROMPT_CHANNELS`.

    Parameters
    ----------
    size
        Height and width of the view.

    Attributes
    ----------
    maps
        float32, `(4, H, W)`, in [0, 1].
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.maps = np.zeros((len(PROMPT_CHANNELS), *size), dtype=np.float32)

    def begin(self, mask: NDArray[np.bool_], rng: np.random.Generator) -> None:
        """The first prompt of a person who means this mask: a click inside, or a box."""
        if mask.any():
            if rng.random() < _BOX_SHARE:
                self.add_box(*_jittered_box(mask, rng))
            else:
                self.add_click(point_in(mask, rng), is_positive=True)

    def correct(
        self, mask: NDArray[np.bool_], answer: NDArray[np.floating], rng: np.random.Generator
    ) -> None:
        """A click where the answer (probabilities) is most wrong, and the answer as the one before."""
        self.set_previous(answer)
        is_wrong = (answer > 0.5) != mask
        components, count = ndimage.label(is_wrong)
        if count:
            sizes = np.bincount(components.ravel())
            sizes[0] = 0
            point = point_in(components == sizes.argmax(), rng)
            self.add_click(point, is_positive=bool(mask[point]))

    def add_click(self, point: tuple[int, int], *, is_positive: bool) -> None:
        """A disc around a point, in pixels of the view."""
        radius = CLICK_RADIUS
        row, column = point
        height, width = self.maps.shape[1:]
        rows = np.arange(max(0, row - radius), min(height, row + radius + 1))
        columns = np.arange(max(0, column - radius), min(width, column + radius + 1))
        disc = (rows[:, None] - row) ** 2 + (columns - column) ** 2 <= radius**2
        name, other = ("positive", "negative") if is_positive else ("negative", "positive")
        area = np.ix_(rows, columns)
        self.maps[PROMPT_CHANNELS.index(name)][area] = np.maximum(
            self.maps[PROMPT_CHANNELS.index(name)][area], disc
        )
        # the later click is right where two overlap
        self.maps[PROMPT_CHANNELS.index(other)][area] *= ~disc

    def set_previous(self, answer: NDArray[np.floating]) -> None:
        """The probability of the answer before, `(H, W)` in [0, 1]."""
        self.maps[PROMPT_CHANNELS.index("previous")] = answer

    def add_box(self, top: int, left: int, bottom: int, right: int) -> None:
        """The inside of a box, in pixels of the view; the ends are not part of it."""
        self.maps[PROMPT_CHANNELS.index("box"), max(0, top) : bottom, max(0, left) : right] = 1


def point_in(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
    """A click of a person who means this mask, not empty: at its deepest point, or anywhere inside."""
    if rng.random() < _DEEP_SHARE:
        return deepest_point(mask)
    inner = ndimage.binary_erosion(mask)
    candidates = np.argwhere(inner if inner.any() else mask)
    row, column = candidates[rng.integers(len(candidates))]
    return int(row), int(column)


def _jittered_box(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], dtype=float)
    sides = np.tile(box[2:] - box[:2], 2)
    top, left, bottom, right = np.rint(box + rng.uniform(-1, 1, 4) * _BOX_JITTER * sides).astype(int)
    return top, left, max(bottom, top + 1), max(right, left + 1)
