"""The slices between two slices that a person has decided: interpolated, and near the edge by the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.slice_interpolation import distances_through
from napari_latentseg.inference.appearance import (
    Example,
    brightness_odds,
    chain_odds,
    log_odds,
    patch_odds,
)
from napari_latentseg.inference.carry_on import Answers, CarriedSlice, Greys, window_of
from napari_latentseg.inference.prompt_session import PromptAnswer
from napari_latentseg.inference.prompt_view import whole_view

__all__ = ["fill_between"]

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Logistic regression within the band, on nine training volumes of the hippocampus of which every fifth slice
# was known. Each left out in turn: Dice 0.8912; without the model 0.8899, without what is carried from slice
# to slice 0.8893, interpolated alone 0.862.
_DISTANCE_WEIGHT = 0.8  # of the distance to the interpolated edge, in pixels
_MODEL_WEIGHT = 0.11  # of the model's log odds
_BRIGHTNESS_WEIGHT = 0.37
_PATCH_WEIGHT = 0.33
_CHAIN_WEIGHT = 0.42
_BIAS = 0.53  # an interpolated structure is a little too small
_BAND = 4.0  # pixels to both sides of the interpolated edge in which the image decides
_TRUSTED = 2.5  # pixels from a known slice; farther from one, the interpolated edge counts less ...
_MOST_DOUBT = 4.0  # ... but at least a fourth
_MARGIN = 20  # pixels around the structure that are looked at: the band, and the reach of the patches


def fill_between(
    answers: Answers,
    greys: Greys,
    masks: Mapping[int, Mask],
    gap: tuple[int, int],
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    threshold: float = 0.5,
) -> Iterator[CarriedSlice]:
    """The structure on each slice between two, in their order.

    The signed distances to its edge are interpolated (`distances_through`). In a band around the interpolated
    edge, the log odds of what the known slices look like (`appearance`) are added to them, and those of the
    model, which is given a box around what was found so far.

    Parameters
    ----------
    answers
        Asked for each slice between.
    greys
        Gives slices.
    masks
        Of the slices that a person has decided, `(H, W)`, by their number.
    gap
        The two between which it is filled, the lower one first.
    spacing
        Of slices, rows and columns.
    threshold
        The mask is where the mean is above it.
    """
    scale = [s / min(spacing[1:]) for s in spacing]
    distances = distances_through(masks, gap, scale[1:])
    window = window_of(masks[gap[0]] | masks[gap[1]] | (distances > 0).any(axis=0), _MARGIN)
    near = sorted(masks, key=lambda plane: min(abs(plane - end) for end in gap))[:4]
    examples = [
        Example(plane, greys(plane)[window], masks[plane][window]) for plane in near if masks[plane].any()
    ]
    ends = [example for example in examples if example.plane in gap]
    images = [greys(plane)[window] for plane in range(gap[0], gap[1] + 1)]
    chain = chain_odds(images, masks[gap[0]][window], masks[gap[1]][window])
    for plane, distance in zip(range(gap[0] + 1, gap[1]), distances, strict=True):
        if not (distance > 0).any():  # nothing to point at
            empty = PromptAnswer(np.zeros((1, *distance.shape), np.float32), whole_view(distance.shape))
            yield CarriedSlice(plane, empty, distance > 0)
            continue
        at = plane - gap[0]
        odds = np.zeros(distance.shape, np.float32)
        odds[window] = (
            _BRIGHTNESS_WEIGHT * brightness_odds(images[at], examples)
            + _PATCH_WEIGHT * patch_odds(images[at], plane, ends)
            + _CHAIN_WEIGHT * chain[at - 1]
        )
        doubt = float(np.clip(min(at, gap[1] - plane) * scale[0] / _TRUSTED, 1, _MOST_DOUBT))
        known = _known_odds(distance / doubt, odds)
        found = known > 0
        answer = answers(plane, _box_around(found if found.any() else distance > 0), None)
        blended = replace(answer, samples=_blended(answer.samples, known))
        yield CarriedSlice(plane, blended, blended.mean > threshold)


def _box_around(mask: Mask) -> Prompts:
    """A box around a mask that is not empty, as a person draws one: half a pixel larger."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left, bottom, right = rows[0] - 0.5, columns[0] - 0.5, rows[-1] + 1.0, columns[-1] + 1.0
    return Prompts(boxes=((float(top), float(left), float(bottom), float(right)),))


def _known_odds(distance: Array, odds: Array) -> Array:
    """Log odds from the place (in trusted pixels) and the look; beyond the band the place alone decides."""
    known = _BIAS + _DISTANCE_WEIGHT * distance + odds
    decided: Array = np.where(np.abs(distance) > _BAND, np.copysign(np.inf, distance), known)
    return decided


def _blended(samples: Array, known: Array) -> Array:
    """The samples, with what is known without the model."""
    odds = np.clip(known + _MODEL_WEIGHT * log_odds(samples), -30, 30)
    blended: Array = np.where(np.isinf(known), known > 0, 1 / (1 + np.exp(-odds))).astype(np.float32)
    return blended
