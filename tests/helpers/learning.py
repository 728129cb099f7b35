"""Tests that teach a network have two forms of the same: a short one, and a full one that takes minutes.

The short one sees that the loss falls and that Dice beats the start; what a network can learn in the end is
seen by the full one, which is marked `slow`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from torch import Tensor

__all__ = ["dice_to_nearest", "falls", "short_and_full"]

short_and_full: Any = pytest.mark.parametrize(
    "full",
    [
        pytest.param(False, id="short", marks=pytest.mark.learns),
        pytest.param(True, id="full", marks=[pytest.mark.learns, pytest.mark.slow]),
    ],
)
"""Gives a test the argument `full`."""


def falls(losses: list[float]) -> bool:
    """Whether the last third of the losses lies below the first on the mean; one step alone says little."""
    part = max(1, len(losses) // 3)
    return sum(losses[-part:]) < sum(losses[:part])


def dice_to_nearest(samples: Iterable[Tensor], outlines: Iterable[Tensor]) -> float:
    """The mean Dice of samples, each compared with the outline that it is most like.

    Parameters
    ----------
    samples
        Probabilities in [0, 1], of any shape.
    outlines
        Masks of that shape, one for each reader.
    """
    masks = [outline > 0.5 for outline in outlines]
    scores = []
    for sample in samples:
        found = sample > 0.5
        scores.append(max(float(2 * (found & mask).sum() / (found.sum() + mask.sum())) for mask in masks))
    return sum(scores) / len(scores)
