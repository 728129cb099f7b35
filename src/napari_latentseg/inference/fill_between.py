"""The slices between two slices that a person has decided: interpolated, and near the edge by the image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.slice_interpolation import distances_through
from napari_latentseg.inference.appearance import Example, brightness_odds, log_odds, patch_odds
from napari_latentseg.inference.carry_on import Answers, CarriedSlice, Greys, inner_points, window_of
from napari_latentseg.inference.prompt_session import PromptAnswer
from napari_latentseg.inference.prompt_view import whole_view

__all__ = ["fill_between"]

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Logistic regression within the band, on nine training volumes of the hippocampus of which every fifth slice
# was known
_DISTANCE_WEIGHT = 1.18  # of the distance to the interpolated edge, in pixels
_MODEL_WEIGHT = 0.1  # of the model's log odds
_BRIGHTNESS_WEIGHT = 0.67
_PATCH_WEIGHT = 0.67
_BIAS = 0.27  # an interpolated structure is a little too small
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
    edge, the log odds of the model, which is pointed at the interpolated structure, and those of what the
    known slices look like (`appearance`) are added to them.

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
    for plane, distance in zip(range(gap[0] + 1, gap[1]), distances, strict=True):
        interpolated = distance > 0
        if not interpolated.any():  # nothing to point at
            empty = PromptAnswer(np.zeros((1, *distance.shape), np.float32), whole_view(distance.shape))
            yield CarriedSlice(plane, empty, interpolated)
            continue
        image = greys(plane)[window]
        ends = [example for example in examples if example.plane in gap]
        odds = np.zeros(distance.shape, np.float32)
        odds[window] = _BRIGHTNESS_WEIGHT * brightness_odds(image, examples) + _PATCH_WEIGHT * patch_odds(
            image, plane, ends
        )
        answer = answers(plane, Prompts(positive=inner_points(interpolated)), None)
        doubt = float(np.clip(min(plane - gap[0], gap[1] - plane) * scale[0] / _TRUSTED, 1, _MOST_DOUBT))
        blended = replace(answer, samples=_blended(answer.samples, distance / doubt, odds))
        yield CarriedSlice(plane, blended, blended.mean > threshold)


def _blended(samples: Array, distance: Array, odds: Array) -> Array:
    """The samples, with what is known of the place (in trusted pixels) and the look of the structure."""
    known = _BIAS + _DISTANCE_WEIGHT * distance + odds
    blended = 1 / (1 + np.exp(-np.clip(known + _MODEL_WEIGHT * log_odds(samples), -30, 30)))
    decided: Array = np.where(np.abs(distance) > _BAND, distance > 0, blended).astype(np.float32)
    return decided
