"""Choosing the size at which a model of tiles works on the images of another camera.

A photograph has no known spacing, so it is scaled by its longer side. Another camera with a wider field of
view then shows the target smaller than the model has learnt it: on vessels of another camera the base gains
Dice at 1.4 times its size, before anything is taught (docs/benchmarks.md). The images of a camera have one
size in pixels, by which they are told apart, so the model's own images keep the size that they had.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from napari_latentseg.data.cases import Case
from napari_latentseg.data.preprocess import SIDE_TOLERANCE, Preprocess
from napari_latentseg.data.slices import Slice
from napari_latentseg.finetuning.cases import read_slices
from napari_latentseg.finetuning.threshold_choice import THRESHOLDS, dice_by_threshold
from napari_latentseg.finetuning.unknown_classes import encode_for_validation
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.patches import Patch
from napari_latentseg.utils.device import Compute

__all__ = ["best_factor", "choose_scale", "new_longer_side", "patches_at", "scale_note"]

FACTORS = (0.7, 1.0, 1.4)
"""Candidates, of the model's `long_side`. Twice the pixels take twice the time to segment, so no more."""

_MOST_CASES = 4
# Positions along each side of a case, spread over all of it: around the target alone a model looks better
# than it is, and all sizes look alike. 4 x 9 x 3 patches take some ten seconds of one core.
_POSITIONS_PER_SIDE = 3
# Of Dice, by which another size is better than the model's own: below it the difference may be chance (two
# sets of four images of one camera, drive, gained 0.005 and 0.019), and a larger size takes longer.
_LEAST_GAIN = 0.01
_MOST_OF_TIME = 0.2  # of the fine-tuning, as for encoding: on a slow machine the steps are worth more


def choose_scale(
    card: ModelCard,
    method: Method,
    spec: FineTuneSpec,
    cases: Sequence[Case],
    compute: Compute,
    seed: int,
    *,
    minutes: float = math.inf,
    resumed: Sequence[tuple[int, int]] | None = None,
) -> ModelCard:
    """The card of the model that is taught: its own, or with another size for the images taught.

    Parameters
    ----------
    card, method, spec, compute
        The model before it is taught.
    cases
        From `napari_latentseg.finetuning.cases.collect_cases`.
    seed
        Draws the positions that are compared.
    minutes
        For the whole fine-tuning. Where the comparison would take too much of them, the size stays.
    resumed
        What was chosen before a stop, where the fine-tuning is resumed.

    Returns
    -------
    ModelCard
        With one more pair in `Preprocess.long_side_of` where that size is clearly better. The threshold is
        free in the comparison, since it is chosen later.
    """
    if resumed is not None:
        return card.replace(preprocess=card.preprocess.replace(long_side_of=resumed))
    side = new_longer_side(card, cases)
    if side is None:
        return card
    begun = time.perf_counter()
    chosen = [case for case in cases if _is_alike(_longer_side(case, card), side)]
    scores: dict[float, float] = {}
    centres: dict[int, list[tuple[float, float]]] = {}
    rng = np.random.default_rng([seed, 2])
    for factor in sorted(FACTORS, key=lambda factor: factor != 1):  # the model's own first
        patches: list[Patch] = []
        for number, case in enumerate(chosen[:_MOST_CASES], start=1):
            scaled = card.replace(preprocess=_with_size(card.preprocess, side, factor))
            slices = [s for s in read_slices(case, scaled, number) if s.has_foreground]
            if not slices:
                continue
            if number not in centres:
                centres[number] = _spread_positions(rng)
            patches += patches_at(slices[0], centres[number], card.preprocess.size, factor / max(FACTORS))
        if not patches:
            return card
        encoded = encode_for_validation(method, spec, patches, compute)
        scores[factor] = float(dice_by_threshold(encoded, spec, method, compute, THRESHOLDS).max())
        if (time.perf_counter() - begun) * len(FACTORS) / len(scores) > _MOST_OF_TIME * 60 * minutes:
            return card
    return card.replace(preprocess=_with_size(card.preprocess, side, best_factor(scores)))


def scale_note(base: ModelCard, taught: ModelCard) -> str:
    """What a person should know of the size that was chosen; empty where it is the model's own."""
    new = set(taught.preprocess.long_side_of) - set(base.preprocess.long_side_of)
    return "; ".join(
        f"images of {side} pixels are scaled to {scaled} in place of {base.preprocess.long_side},"
        " at which the model finds more"
        for side, scaled in sorted(new)
    )


def best_factor(scores: dict[float, float]) -> float:
    """The factor to use, from the Dice of each; 1 is among them.

    Examples
    --------
    >>> best_factor({0.7: 0.6, 1.0: 0.72, 1.4: 0.74})
    1.4
    >>> best_factor({0.7: 0.6, 1.0: 0.72, 1.4: 0.728})
    1.0
    """
    best = max(scores, key=lambda factor: scores[factor])
    return best if scores[best] > scores[1.0] + _LEAST_GAIN else 1.0


def new_longer_side(card: ModelCard, cases: Sequence[Case]) -> int | None:
    """The longer side in pixels of most of the cases, where the model knows no images of that size.

    None where slices are not scaled by it, where fewer than half of the cases have one size, or where it is
    not known which sizes the model has seen.
    """
    preprocess = card.preprocess
    if preprocess.mode != "tiles" or card.fit is None or not cases:
        return None
    smallest, largest = card.fit.headers.sides
    sides = [_longer_side(case, card) for case in cases]
    ((side, _),) = Counter(side for side in sides if side).most_common(1) or [(0, 0)]
    if 2 * sum(_is_alike(other, side) for other in sides) < len(cases) or not side:
        return None
    is_known = smallest * (1 - SIDE_TOLERANCE) <= side <= largest * (1 + SIDE_TOLERANCE)
    return None if is_known or preprocess.long_side_for(side) != preprocess.long_side else side


def _longer_side(case: Case, card: ModelCard) -> int:
    """In pixels; 0 where slices are scaled by a spacing that is known."""
    planes = card.preprocess.planes(case.read_scan())
    is_scaled_by_spacing = card.preprocess.spacing is not None and planes.spacing is not None
    return 0 if is_scaled_by_spacing else max(planes.full_plane_shape)


def _is_alike(side: int, other: int) -> bool:
    return abs(side - other) <= SIDE_TOLERANCE * other


def _with_size(preprocess: Preprocess, side: int, factor: float) -> Preprocess:
    if factor == 1.0:
        return preprocess
    assert preprocess.long_side is not None
    pair = (side, round(factor * preprocess.long_side))
    return preprocess.replace(long_side_of=(*preprocess.long_side_of, pair))


def _spread_positions(rng: np.random.Generator) -> list[tuple[float, float]]:
    """One position in each part of a slice, as fractions of its height and width."""
    corners = np.indices((_POSITIONS_PER_SIDE, _POSITIONS_PER_SIDE)).reshape(2, -1).T
    positions = (corners + rng.random(corners.shape)) / _POSITIONS_PER_SIDE
    return [(float(row), float(column)) for row, column in positions]


def patches_at(
    annotated: Slice, centres: Sequence[tuple[float, float]], size: int, scale: float
) -> list[Patch]:
    """Patches of a slice around some positions, of which the same part of the image is scored at any size.

    Parameters
    ----------
    annotated
        At working size.
    centres
        As fractions of its height and width.
    size
        Side of a patch in pixels; a slice that is smaller is mirrored beyond its edge.
    scale
        Of the slice, as a fraction of the largest that it is compared with. What lies outside of the patch
        at the largest is unknown in the masks.
    """
    image, mask = annotated.to_float()
    height, width = image.shape[-2:]
    patches = []
    for row, column in centres:
        rows, known_rows = _window(row, height, size, scale)
        columns, known_columns = _window(column, width, size, scale)
        is_known = torch.zeros(size, size)
        is_known[known_rows[:, None], known_columns[None]] = 1
        unknown = 1 - is_known
        if annotated.unknown is not None:
            unknown = torch.maximum(unknown, annotated.unknown[rows[:, None], columns[None]].float())
        part = Patch(
            image[:, rows[:, None], columns[None]],
            mask[:, rows[:, None], columns[None]],
            annotated.annotated,
            annotated.case,
            unknown,
        )
        patches.append(replace(part, image=part.image.contiguous(), mask=part.mask.contiguous()))
    return patches


def _window(centre: float, length: int, size: int, scale: float) -> tuple[Tensor, Tensor]:
    """Which pixels along an axis a patch has, mirrored beyond the edge, and which of the patch are scored."""
    start = _start(centre, length, size)
    pixels = torch.arange(start, start + size)
    mirrored = torch.where(pixels < length, pixels, 2 * (length - 1) - pixels).clamp(0, length - 1)
    largest_length = length / scale
    first = _start(centre, round(largest_length), size) * scale
    positions = pixels + 0.5
    is_scored = (positions >= first) & (positions < first + size * scale) & (pixels < length)
    return mirrored, is_scored.nonzero()[:, 0]


def _start(centre: float, length: int, size: int) -> int:
    """Where a patch begins that is centred as far as the edges allow."""
    return max(0, min(round(centre * length - size / 2), length - size))
