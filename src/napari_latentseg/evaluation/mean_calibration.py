"""How reliable mean probabilities are: reliability, Brier score, and errors where the model is sure."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.evaluation.reliability import Reliability, ReliabilityAccumulator

__all__ = ["CalibrationSums", "MeanCalibration", "RiskCoverage", "risk_coverage"]


class RiskCoverage(FrozenModel):
    """The mean error of the images that a model is surest of, for every share of them [1]_.

    Attributes
    ----------
    coverage
        The share of images, from 1/n to 1.
    risk
        The mean of 1 - Dice over these.
    area
        The mean of `risk`: small where the images that the model is sure of are right.
    best_area
        What it would be if the images were ordered by their Dice.
    random_area
        What it would be in random order: the mean of 1 - Dice of all images.

    References
    ----------
    .. [1] Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017.
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float
    best_area: float
    random_area: float


class MeanCalibration(FrozenModel):
    """How reliable the mean probabilities of an evaluation are.

    Attributes
    ----------
    reliability
        The reliability curve with the expected calibration error, over all voxels and where the mean lies
        between the first and the last bin.
    brier
        The mean of (p - y)^2 over all voxels of all classes; 0 is best, 0.25 is what p = 0.5 gives.
    confidence
        Of each image the soft Dice of the mask and the mean probability: 1 where the samples agree
        everywhere, 0 for an empty mask. Of several classes the mean over those in the mask.
    risk_coverage
        With the images in the order of `confidence`.
    """

    reliability: Reliability
    brier: float = Field(ge=0, le=1)
    confidence: tuple[float, ...]
    risk_coverage: RiskCoverage


class CalibrationSums:
    """Sums for a `MeanCalibration`, image by image."""

    def __init__(self) -> None:
        self._reliability = ReliabilityAccumulator()
        self._squares = 0.0
        self._count = 0
        self._confidence: list[float] = []

    def add(self, probability: NDArray[np.float32], reference: NDArray[np.bool_]) -> None:
        """Add the voxels of a class in a plane; see `ReliabilityAccumulator.add`."""
        self._reliability.add(probability, reference)
        difference = np.asarray(probability, dtype=np.float64) - reference
        self._squares += float(np.square(difference).sum())
        self._count += difference.size

    def add_confidence(self, soft_dice_by_class: list[float]) -> None:
        """Add the soft Dice of the classes in an image's mask; none for an empty mask."""
        self._confidence.append(float(np.mean(soft_dice_by_class)) if soft_dice_by_class else 0.0)

    def calibration(self, dsc: list[float], **fields: Any) -> MeanCalibration:
        """The figures of all images.

        Parameters
        ----------
        dsc
            Dice of each image, in the order in which their confidence was added.
        **fields
            As for `ReliabilityAccumulator.reliability`.

        Raises
        ------
        BadInput
            If no voxel was added.
        """
        return MeanCalibration(
            reliability=self._reliability.reliability(**fields),
            brier=self._squares / max(self._count, 1),
            confidence=tuple(self._confidence),
            risk_coverage=risk_coverage(self._confidence, dsc),
        )


def risk_coverage(confidence: list[float], dsc: list[float]) -> RiskCoverage:
    """The mean of 1 - Dice over the images that a model is surest of.

    Parameters
    ----------
    confidence, dsc
        Of each image, one or more.

    Examples
    --------
    >>> curve = risk_coverage([0.9, 0.5, 0.8], [1.0, 0.4, 0.7])
    >>> [round(risk, 2) for risk in curve.risk], round(curve.random_area, 2)
    ([0.0, 0.15, 0.3], 0.3)
    """
    risk = 1 - np.asarray(dsc, dtype=np.float64)
    sizes = np.arange(1, len(risk) + 1)
    by_confidence = np.cumsum(risk[np.argsort(-np.asarray(confidence), kind="stable")]) / sizes
    by_risk = np.cumsum(np.sort(risk)) / sizes
    return RiskCoverage(
        coverage=tuple((sizes / len(risk)).tolist()),
        risk=tuple(by_confidence.tolist()),
        area=float(by_confidence.mean()),
        best_area=float(by_risk.mean()),
        random_area=float(risk.mean()),
    )
