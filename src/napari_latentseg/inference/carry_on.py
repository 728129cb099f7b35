"""Carrying an answer on through a volume: the mask of one slice points at the structure in the next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.prompt_session import PromptAnswer
from napari_latentseg.methods.simulated_prompts import deepest_point

__all__ = [
    "Answers",
    "CarriedOn",
    "CarriedSlice",
    "Start",
    "carry_on",
    "doubt_inside",
    "inner_points",
    "next_prompts",
    "stop_reason",
]

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Answers = Callable[[int, Prompts, "Array | None"], PromptAnswer]
"""Gives the answer on a slice: its number, the prompts, and the probability of the answer before them."""

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


@dataclass(frozen=True)
class Start:
    """What is carried on.

    Attributes
    ----------
    mask
        Of the slice that a person has decided, `(H, W)`.
    doubt
        `doubt_inside` of the model there.
    outside
        Points of the person on that slice that are not part of it; they stay where they are still outside.
    """

    mask: Mask
    doubt: float
    outside: tuple[Sequence[float], ...] = ()


@dataclass(frozen=True)
class CarriedSlice:
    """The structure on a slice that no person has decided.

    Attributes
    ----------
    plane
        Number of the slice.
    answer
        Of the model.
    mask
        The structure, `(H, W)`.
    """

    plane: int
    answer: PromptAnswer
    mask: Mask


def carry_on(
    answers: Answers, start: Start, planes: Iterable[int], threshold: float
) -> Generator[CarriedSlice, None, str]:
    """Answer slice after slice; returns why the last one is the last, or "" where all are answered.

    Parameters
    ----------
    answers
        Asked for each slice, and for the one on which it stops.
    start
        On the slice before the first.
    planes
        Neighbouring slices, in the order in which they are reached.
    threshold
        The mask is where the mean is above it.
    """
    if not start.mask.any():
        return "nothing was found on the first slice"
    before = start.mask
    for plane in planes:
        prompts, shrunk = next_prompts(before, start.outside)
        answer = answers(plane, prompts, shrunk.astype(np.float32))
        mask = answer.mean > threshold
        if reason := stop_reason(answer, mask, before, start.doubt):
            return reason
        before = mask
        yield CarriedSlice(plane, answer, mask)
    return ""


def next_prompts(mask: Mask, outside: Iterable[Sequence[float]] = ()) -> tuple[Prompts, Mask]:
    """The prompts of a neighbouring slice, from the mask of this one.

    Parameters
    ----------
    mask
        Of this slice, `(H, W)`; not empty.
    outside
        Points outside the structure; they are kept where they are still outside the mask.

    Returns
    -------
    prompts : Prompts
        The deepest point of each part of the mask, and what is left of the points outside.
    shrunk : ndarray
        The part of the mask that is taken to lie in the structure there as well.
    """
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    shrunk: Mask = depth > max(1.0, _SHRINK_SHARE * float(depth.max()))
    if not shrunk.any():
        shrunk = depth >= depth.max()
    kept = [(float(y), float(x)) for y, x in outside if not mask[round(y), round(x)]]
    return Prompts(positive=inner_points(mask), negative=tuple(kept)), shrunk


def inner_points(mask: Mask) -> tuple[tuple[float, float], ...]:
    """The deepest point of each part of a mask."""
    parts, count = ndimage.label(mask)
    return tuple(deepest_point((parts == number + 1) & mask) for number in range(count))


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
