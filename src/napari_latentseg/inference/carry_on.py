"""Carrying an answer on through a volume: the mask of one slice points at the structure in the next.

The model's log odds are added to what else is known there: how far a pixel lies inside the mask of the slice
before, whether it looks like the structure on the slice that a person has decided (`appearance`), and what
the model answers on the slices across that one (`crossing_slices`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.slice_interpolation import inside_distance
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.appearance import (
    LARGEST_ODDS,
    Example,
    brightness_odds,
    log_odds,
    patch_odds,
)
from napari_latentseg.inference.crossing_slices import Across
from napari_latentseg.inference.prompt_session import PromptAnswer
from napari_latentseg.methods.simulated_prompts import deepest_point

__all__ = [
    "Answers",
    "CarriedOn",
    "CarriedSlice",
    "Greys",
    "Start",
    "carry_on",
    "connected_to",
    "doubt_inside",
    "inner_points",
    "next_prompts",
    "stop_reason",
    "window_of",
]

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Answers = Callable[[int, Prompts, "Array | None"], PromptAnswer]
"""Gives the answer on a slice: its number, the prompts, and the probability of the answer before them."""

Greys = Callable[[int], Array]
"""Gives a slice as a grey image, `(H, W)` in [0, 1]."""

# chosen by hand on three training volumes of the hippocampus
_DISTANCE_WEIGHT = 0.7  # of the distance to the edge on the slice before, in pixels
_MODEL_WEIGHT = 0.3  # of the model's log odds
_BRIGHTNESS_WEIGHT = 0.5
_PATCH_WEIGHT = 0.75
# Dice after one slice is decided, on two other training volumes (8 objects; from the mask of the middle
# slice, and from the answer to a click there): 0.640 without slices across, 0.657 with 0.2, 0.651 with 0.4.
_ACROSS_WEIGHT = 0.2
_REACH = 3.0  # pixels by which a structure grows from one slice to the next, at most
_MARGIN = 14  # pixels around the mask before that are looked at
_LEAST_LIKENESS = 0.35  # times that of the best slice so far; below it the answer is another structure
_REGROWTH = 1.3  # times the smallest area so far: a structure that had nearly ended does not grow again ...
_NEARLY_ENDED = 0.5  # ... where that was less than this share of its largest area
_SHRINK_SHARE = 0.25  # of the depth of the mask: the rest lies inside the structure in the next slice too
_LEAST_VOXELS = 4  # of an answer; fewer are no structure, and have no inside to point at
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
    plane
        The slice that a person has decided.
    mask
        The structure there, `(H, W)`.
    doubt
        `doubt_inside` of the model there.
    outside
        Points of the person on that slice that are not part of it; they stay where they are still outside.
    across
        What the slices across say; None where they say nothing.
    """

    plane: int
    mask: Mask
    doubt: float
    outside: tuple[Sequence[float], ...] = ()
    across: Across | None = None


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
    answers: Answers, greys: Greys, start: Start, planes: Iterable[int], threshold: float
) -> Generator[CarriedSlice, None, str]:
    """Answer slice after slice; returns why the last one is the last, or "" where all are answered.

    Parameters
    ----------
    answers
        Asked for each slice, and for the one on which it stops.
    greys
        Gives slices.
    start
        On the slice before the first.
    planes
        Neighbouring slices, in the order in which they are reached.
    threshold
        The mask is where the mean is above it.
    """
    if not start.mask.any():
        return "nothing was found on the first slice"
    window = window_of(start.mask, _MARGIN)
    decided = Example(start.plane, greys(start.plane)[window], start.mask[window])
    before, last, best, areas = start.mask, start.plane, 0.0, [int(start.mask.sum())]
    for plane in planes:
        prompts, shrunk = next_prompts(before, start.outside)
        answer = answers(plane, prompts, shrunk.astype(np.float32))
        window = window_of(before, _MARGIN)
        example = Example(last, greys(last)[window], before[window])
        image = greys(plane)[window]
        look = np.full(before.shape, -LARGEST_ODDS, np.float32)
        look[window] = _BRIGHTNESS_WEIGHT * brightness_odds(image, [decided])
        look[window] += _PATCH_WEIGHT * patch_odds(image, plane, [example])
        if start.across is not None:
            look += _ACROSS_WEIGHT * start.across.on(plane, before.shape)
        likeness = look + _MODEL_WEIGHT * log_odds(answer.mean)
        blended = replace(answer, samples=_blended(answer.samples, inside_distance(before), look))
        mask = connected_to(blended.mean > threshold, before)
        areas.append(int(mask.sum()))
        reason = stop_reason(answer, mask, before, start.doubt, threshold)
        reason = reason or _end_reason(_mean(likeness[mask]), best, areas)
        if reason:
            return reason
        before, last, best = mask, plane, max(best, _mean(likeness[mask]))
        yield CarriedSlice(plane, blended, mask)
    return ""


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else 0.0


def _end_reason(likeness: float, best: float, areas: Sequence[int]) -> str:
    """Why the answer is taken for another structure; empty where it is not."""
    if likeness < _LEAST_LIKENESS * best:
        return "what is answered there looks different"
    least = min(areas[:-1])
    if least < _NEARLY_ENDED * max(areas) and areas[-1] > _REGROWTH * least:
        return "it had nearly ended, and would grow again"
    return ""


def _blended(samples: Array, distance: Array, look: Array) -> Array:
    """The samples, combined with what is known of the place and the look of the structure."""
    odds = _DISTANCE_WEIGHT * distance + _MODEL_WEIGHT * log_odds(samples) + look
    blended = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
    reached: Array = np.where(distance > -_REACH, blended, 0).astype(np.float32)
    return reached


def connected_to(mask: Mask, before: Mask) -> Mask:
    """The parts of a mask that overlap the one of the slice before."""
    parts, count = ndimage.label(mask)
    if count < 2:
        return mask
    kept: Mask = np.isin(parts, np.setdiff1d(parts[before & mask], [0]))
    return kept


def window_of(mask: Mask, margin: int) -> tuple[slice, slice]:
    """The rectangle around a mask that is not empty, with a margin."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    return slice(top, int(rows[-1]) + margin + 1), slice(left, int(columns[-1]) + margin + 1)


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


def stop_reason(
    answer: PromptAnswer, mask: Mask, before: Mask, first_doubt: float, threshold: float = 0.5
) -> str:
    """Why the answer of a slice is not carried on; empty where it is.

    Parameters
    ----------
    answer, mask
        Of this slice: what the model says, and what is made of it.
    before
        The mask of the slice that pointed at it.
    first_doubt
        `doubt_inside` of the slice that a person pointed at.
    threshold
        The model's mask is where its mean is above it.
    """
    if min(mask.sum(), (answer.mean > threshold).sum()) < _LEAST_VOXELS:
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
