"""How often a class is right at each mean probability, in bins narrow enough to calibrate the mean with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.temperature import Temperature
from napari_latentseg.evaluation.reliability import ReliabilityAccumulator

__all__ = ["MeanHistogram"]

_LIMIT = 20.0  # of the logit, where float32 has no number between a probability and 1 any more
_BIN_WIDTH = 0.05  # of the logit: 0.0125 of a probability at most
_INNER_BINS = round(2 * _LIMIT / _BIN_WIDTH)


class MeanHistogram:
    """Voxels by the logit of their mean probability; the first and the last bin are those of exactly 0 and 1.

    A voxel's probability at a temperature is that of the mean of its bin, so nothing has to be segmented
    again where a temperature is tried.

    Attributes
    ----------
    counts, positives
        Of each bin, how many voxels there are, and how many of them belong to the class.
    sums
        The sum of their mean probabilities.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_INNER_BINS + 2)
        self.positives = np.zeros(_INNER_BINS + 2)
        self.sums = np.zeros(_INNER_BINS + 2)

    def __add__(self, other: MeanHistogram) -> MeanHistogram:
        total = MeanHistogram()
        total.counts = self.counts + other.counts
        total.positives = self.positives + other.positives
        total.sums = self.sums + other.sums
        return total

    def add(self, probability: NDArray[np.floating[Any]], is_class: NDArray[np.bool_]) -> None:
        """Add voxels.

        Parameters
        ----------
        probability
            Mean probabilities of a class as the model gives them, in [0, 1].
        is_class
            Whether each voxel belongs to the class, in the same shape.
        """
        p = np.asarray(probability, dtype=np.float64).ravel()
        with np.errstate(divide="ignore"):
            logits = np.log(p) - np.log1p(-p)
        inner = np.clip((logits + _LIMIT) / _BIN_WIDTH, 0, _INNER_BINS - 1).astype(np.intp) + 1
        bins = np.where(p == 0, 0, np.where(p == 1, _INNER_BINS + 1, inner))
        self.counts += np.bincount(bins, minlength=len(self.counts))
        self.positives += np.bincount(bins[np.asarray(is_class).ravel()], minlength=len(self.counts))
        self.sums += np.bincount(bins, weights=p, minlength=len(self.counts))

    def filled(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Mean probability, number of voxels and number of those of the class, of the bins with voxels."""
        has_voxels = self.counts > 0
        counts = self.counts[has_voxels]
        means = np.clip(self.sums[has_voxels] / counts, 0, 1)
        return means, counts, self.positives[has_voxels]

    def calibrated_sum(self, temperature: Temperature) -> float:
        """The sum of the mean probabilities at a temperature."""
        means, counts, _ = self.filled()
        return float((temperature.calibrated(means) * counts).sum())

    def add_to(self, accumulator: ReliabilityAccumulator, temperature: Temperature) -> None:
        """Add the voxels to a reliability, at a temperature."""
        means, counts, positives = self.filled()
        accumulator.add_counts(temperature.calibrated(means), counts, positives)
