"""The Dice to expect of a result, from the calibration in a model card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.dice_estimate import DiceEstimate
from napari_latentseg.core.labels import class_region, labels_from_probabilities
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.evaluation.case_figures import soft_dice
from napari_latentseg.evaluation.expected_dice import ExpectedDice
from napari_latentseg.measure.interval_basis import RunCard, calibration_differences

__all__ = [
    "DiceCard",
    "expected_dice",
    "expected_dice_lines",
    "expected_dice_unavailable_reason",
    "with_expected_dice",
]


class DiceCard(RunCard, Protocol):
    """A card with the calibration of the Dice to expect."""

    @property
    def expected_dice(self) -> ExpectedDice | None:
        """The calibrated Dice; None where the model was not calibrated."""


def expected_dice_unavailable_reason(segmentation: Segmentation, card: DiceCard | None) -> str:
    """Why a result has no expected Dice; empty where it has.

    Parameters
    ----------
    segmentation
        The result.
    card
        Card of its model; None where it is not known.
    """
    if card is None:
        return "the model is not on this machine"
    if card.expected_dice is None:
        return "the model was not calibrated with the 20 images that it needs"
    if segmentation.record.cleanup is not None:
        return "the mask was post-processed"
    return "; ".join(calibration_differences(segmentation, card, card.expected_dice))


def expected_dice(segmentation: Segmentation, card: DiceCard | None) -> dict[str, DiceEstimate]:
    """The Dice to expect of the model's mask, for each class.

    Parameters
    ----------
    segmentation
        The result.
    card
        Card of its model; None where it is not known.

    Returns
    -------
    dict
        By class; empty where nothing can be promised. A class whose mask is empty is missing: an empty mask
        is right where the image does not hold the class, and wrong where it does.
    """
    if card is None or card.expected_dice is None or expected_dice_unavailable_reason(segmentation, card):
        return {}
    fit = card.expected_dice
    mask = labels_from_probabilities(segmentation.mean, fit.threshold, segmentation.classes)
    estimates = {}
    for k, info in enumerate(segmentation.classes):
        soft = soft_dice(segmentation.mean[k], _LazyRegion(mask, k, segmentation.classes))
        if (estimate := fit.estimate(info.name, soft)) is not None:
            estimates[info.name] = estimate
    return estimates


def with_expected_dice(segmentation: Segmentation, card: DiceCard | None) -> Segmentation:
    """The result with the Dice to expect of it in its record, as it is at its present threshold.

    A result on disk is returned as it is, for its mean would be read once more.

    Parameters
    ----------
    segmentation, card
        As for `expected_dice`.
    """
    mean: Any = segmentation.mean
    if not isinstance(mean, np.ndarray):
        return segmentation
    estimates = expected_dice(segmentation, card)
    if estimates == segmentation.record.expected_dice:
        return segmentation
    return replace(segmentation, record=segmentation.record.replace(expected_dice=estimates))


def expected_dice_lines(estimates: dict[str, DiceEstimate]) -> list[str]:
    """The estimates for people, one line each; of a single class without its name.

    Parameters
    ----------
    estimates
        By class, as in `RunRecord.expected_dice`.

    Examples
    --------
    >>> expected_dice_lines({"lesion": DiceEstimate(expected=0.84, lower=0.62)})
    ['Expected Dice about 0.84, at least 0.62 in 9 of 10 images like these']
    """
    if len(estimates) == 1:
        return [f"Expected Dice {estimate.describe()}" for estimate in estimates.values()]
    return [f"{name}: expected Dice {estimate.describe()}" for name, estimate in estimates.items()]


class _LazyRegion:
    """Where a label map holds a class, slice by slice: a mask on disk is never in memory as a whole."""

    def __init__(self, mask: Any, k: int, classes: Sequence[ClassInfo]) -> None:
        self._mask, self._k, self._classes = mask, k, classes
        self.shape: tuple[int, ...] = mask.shape

    def __getitem__(self, index: tuple[int, ...]) -> NDArray[np.bool_]:
        return class_region(np.asarray(self._mask[index]), self._k, self._classes)
