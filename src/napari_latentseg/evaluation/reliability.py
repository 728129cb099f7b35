"""Reliability of probabilities: how often a voxel with some probability belongs to the class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput

__all__ = ["BIN_COUNT", "Reliability", "ReliabilityAccumulator"]

BIN_COUNT = 20
"""Bins of a reliability curve; 0.05 wide, which an A4 page shows well and small data sets still fill."""


class Reliability(FrozenModel):
    """Reliability of probabilities: how often voxels with some mean probability belong to the class.

    The mean probabilities are sorted into bins of equal width over [0, 1].

    Attributes
    ----------
    predicted
        Mean probability in each bin; None if the bin is empty.
    observed
        Fraction of the voxels of each bin that belong to the class in the reference; None if the bin is
        empty.
    counts
        Number of voxels in each bin, over all classes of all images.
    ece
        Expected calibration error [1]_ in [0, 1]: ``|predicted - observed|``, averaged over all voxels. It is
        small in most images, since most voxels are clearly background.
    ece_unsure
        The same without the first and the last bin; None if the others are empty.
    images, samples, source
        Number of images, and number and source of the samples of each.
    data
        Description of the images.

    References
    ----------
    .. [1] Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    """

    predicted: tuple[float | None, ...]
    observed: tuple[float | None, ...]
    counts: tuple[int, ...]
    ece: float = Field(ge=0, le=1)
    ece_unsure: float | None = Field(None, ge=0, le=1)
    images: int = Field(ge=1)
    samples: int = Field(ge=1)
    source: str
    data: str

    @model_validator(mode="after")
    def _check_bin_lengths(self) -> Reliability:
        if not len(self.counts) == len(self.predicted) == len(self.observed) > 2:
            raise ValueError(
                "predicted, observed and counts must have one entry for each bin, and three bins or more"
            )
        return self

    @property
    def bin_edges(self) -> tuple[float, ...]:
        """Edges of the bins, from 0 to 1; one more than there are bins."""
        bins = len(self.counts)
        return tuple(i / bins for i in range(bins + 1))

    @property
    def uncertain_range(self) -> tuple[float, float]:
        """The mean probabilities that `ece_unsure` counts: all but the first and the last bin."""
        edges = self.bin_edges
        return edges[1], edges[-2]


class ReliabilityAccumulator:
    """Sums for a `Reliability`, added plane by plane; memory does not grow with the number of planes.

    Parameters
    ----------
    bins
        Number of bins.
    """

    def __init__(self, bins: int = BIN_COUNT) -> None:
        self._counts = np.zeros(bins, dtype=np.int64)
        self._positives = np.zeros(bins, dtype=np.int64)
        self._probability_sums = np.zeros(bins)

    def add(self, probability: NDArray[np.float32], reference: NDArray[np.bool_]) -> None:
        """Add the voxels of a plane or volume.

        Parameters
        ----------
        probability
            Mean probabilities of a class, in [0, 1].
        reference
            Whether each voxel belongs to the class, in the same shape.

        Raises
        ------
        BadInput
            If the shapes differ.
        """
        if probability.shape != reference.shape:
            raise BadInput(
                "reference",
                f"has shape {reference.shape}, the mean {probability.shape}",
                "give both the same shape",
            )
        probabilities = np.asarray(probability, dtype=np.float64).ravel()
        bins = len(self._counts)
        bin_index = self._bin_index(probabilities)
        self._counts += np.bincount(bin_index, minlength=bins)
        self._positives += np.bincount(bin_index[reference.ravel()], minlength=bins)
        self._probability_sums += np.bincount(bin_index, weights=probabilities, minlength=bins)

    def add_counts(
        self, probability: NDArray[np.float64], counts: NDArray[np.float64], positives: NDArray[np.float64]
    ) -> None:
        """Add voxels that were counted already.

        Parameters
        ----------
        probability
            Some probabilities in [0, 1], one-dimensional.
        counts, positives
            For each, how many voxels have it, and how many of these belong to the class.
        """
        bins, bin_index = len(self._counts), self._bin_index(probability)
        self._counts += np.bincount(bin_index, weights=counts, minlength=bins).astype(np.int64)
        self._positives += np.bincount(bin_index, weights=positives, minlength=bins).astype(np.int64)
        self._probability_sums += np.bincount(bin_index, weights=probability * counts, minlength=bins)

    def _bin_index(self, probabilities: NDArray[np.float64]) -> NDArray[np.intp]:
        bins = len(self._counts)
        return np.minimum((probabilities * bins).astype(np.intp), bins - 1)

    def reliability(self, *, images: int, samples: int, source: str, data: str) -> Reliability:
        """The reliability of all voxels so far, for a model card.

        Parameters
        ----------
        images, samples, source, data
            See `Reliability`.

        Raises
        ------
        BadInput
            If no voxel was added.
        """
        if not self._counts.any():
            raise BadInput("reliability", "there is no voxel", "give annotated images")
        # |predicted - observed| of each bin, times its count
        weighted_gaps = np.abs(self._probability_sums - self._positives)
        inner_bins = slice(1, -1)
        inner_count = int(self._counts[inner_bins].sum())
        return Reliability(
            predicted=_bin_means(self._probability_sums, self._counts),
            observed=_bin_means(self._positives, self._counts),
            counts=tuple(self._counts.tolist()),
            ece=round(float(weighted_gaps.sum() / self._counts.sum()), 6),
            ece_unsure=round(float(weighted_gaps[inner_bins].sum() / inner_count), 6)
            if inner_count
            else None,
            images=images,
            samples=samples,
            source=source,
            data=data,
        )


def _bin_means(sums: NDArray[Any], counts: NDArray[np.int64]) -> tuple[float | None, ...]:
    return tuple(round(float(s / n), 6) if n else None for s, n in zip(sums, counts, strict=True))
