"""Carrying an answer on through a volume: the mask of one slice points at the structure in the next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.prompt_session import PromptAnswer
from napari_latentseg.methods.simulated_prompts import deepest_point

__all__ = ["CarriedOn", "next_prompts", "stop_reason"]

Mask = NDArray[np.bool_]

_SHRINK_SHARE = 0.25  # of the depth of the mask: what is left lies inside the structure in the next slice too
_LEAST_VOXELS = 4  # of an answer; less is no structure, and has no inside to point at
_LEAST_OVERLAP = 0.3  # Dice with the slice before; less is another structure, or a slice was left out
_DOUBT_FACTOR = 2.0  # times the doubt on the first slice ...
_LEAST_DOUBT_JUMP = 0.2  # ... and at least this: below it the edge alone is unsure


@dataclass(frozen=True)
class CarriedOn:
    """How far an answer was carried on.

    Attributes
    ----------
    first, last
        The slices that have an answer, counted from 0.
    reasons
        Why it stopped before the first and after the last, in words.
    """

    first: int
    last: int
    reasons: tuple[str, str]

    def describe(self) -> str:
        """A sentence for the record; slices are counted from 1."""
        before, after = self.reasons
        slices = f"slices {self.first + 1} to {self.last + 1}"
        return f"carried on to {slices}; before them {before}, after them {after}"


def next_prompts(mask: Mask, given: Prompts) -> tuple[Prompts, Mask]:
    """The prompts of a neighbouring slice, from the mask of this one.

    Parameters
    ----------
    mask
        Of this slice, `(H, W)`; not empty.
    given
        The prompts of this slice, without its index; the points outside the structure are kept where they
        are still outside the mask.

    Returns
    -------
    prompts : Prompts
        The deepest point of each part of the shrunk mask, and what is left of the points outside.
    shrunk : ndarray
        The part of the mask that is taken to lie in the structure there as well.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    shrunk: Mask = depth > max(1.0, _SHRINK_SHARE * float(depth.max()))
    if not shrunk.any():
        shrunk = depth >= depth.max()
    parts, count = ndimage.label(mask)
    points = [deepest_point((parts == number + 1) & mask) for number in range(count)]
    outside = [p for p in given.negative if not mask[round(p[0]), round(p[1])]]
    return Prompts(positive=tuple(points), negative=tuple(outside)), shrunk


def stop_reason(answer: PromptAnswer, mask: Mask, before: Mask, first_doubt: float) -> str:
    """Why the answer of a slice is not carried on; empty where it is.

    Parameters
    ----------
    answer, mask
        Of this slice.
    before
        The mask of the slice that pointed at it.
    first_doubt
        `doubt_inside` of the slice that a person pointed at.
    """
    if mask.sum() < _LEAST_VOXELS:
        return "the structure ends"
    if dice(mask, before) < _LEAST_OVERLAP:
        return "the answer moves away from the one before"
    if doubt_inside(answer.mean, mask) > max(_LEAST_DOUBT_JUMP, _DOUBT_FACTOR * first_doubt):
        return "the model is much less sure than on the first slice"
    return ""


def doubt_inside(mean: NDArray[np.float32], mask: Mask) -> float:
    """The mean of min(p, 1 - p) over a mask, in [0, 0.5]; 0 of an empty mask."""
    values = mean[mask]
    return float(np.minimum(values, 1 - values).mean()) if values.size else 0.0
