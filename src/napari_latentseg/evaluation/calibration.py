"""Whether probabilities are what they say, and intervals for volumes that hold as often as they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput

__all__ = [
    "BIN_COUNT",
    "Coverage",
    "Reliability",
    "ReliabilityAccumulator",
    "VolumeInterval",
    "interval_coverage",
    "min_cases",
]

BIN_COUNT = 20
MIN_SAMPLES = 3


class Reliability(FrozenModel):
    """How often what was given a probability was so, in bins of equal width over [0, 1].

    Attributes
    ----------
    predicted
        Mean of the mean probabilities in each bin; None where the bin is empty.
    observed
        Share of these places that the reference gives to the class; None where the bin is empty.
    counts
        Places in each bin, every class of every image counted.
    ece
        Expected calibration error: the mean over all places of the distance between the two, in [0, 1]. Most
        places are surely background, which makes it small.
    ece_unsure
        The same over the places outside the first and the last bin alone; None where there are none.
    images, samples, source
        How many images, and the ensemble of each.
    data
        Which images, in plain words.
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
            raise ValueError("predicted, observed and counts must have one entry a bin, of three or more")
        return self

    @property
    def edges(self) -> tuple[float, ...]:
        """Of the bins, one more than there are."""
        bins = len(self.counts)
        return tuple(i / bins for i in range(bins + 1))


class ReliabilityAccumulator:
    """The sums behind a `Reliability`, plane after plane; memory does not grow with their number.

    Parameters
    ----------
    bins
        How many.
    """

    def __init__(self, bins: int = BIN_COUNT) -> None:
        self._counts = np.zeros(bins, dtype=np.int64)
        self._positives = np.zeros(bins, dtype=np.int64)
        self._probability_sums = np.zeros(bins)

    def add(self, probability: NDArray[np.float32], reference: NDArray[np.bool_]) -> None:
        """Take in places: mean probabilities in [0, 1], and whether the reference has the class there.

        Raises
        ------
        BadInput
            Where the shapes differ.
        """
        if probability.shape != reference.shape:
            raise BadInput(
                "reference", f"has shape {reference.shape}, the mean {probability.shape}", "bring both to one"
            )
        probabilities = np.asarray(probability, dtype=np.float64).ravel()
        bins = len(self._counts)
        bin_index = np.minimum((probabilities * bins).astype(np.intp), bins - 1)
        self._counts += np.bincount(bin_index, minlength=bins)
        self._positives += np.bincount(bin_index[reference.ravel()], minlength=bins)
        self._probability_sums += np.bincount(bin_index, weights=probabilities, minlength=bins)

    def reliability(self, *, images: int, samples: int, source: str, data: str) -> Reliability:
        """What was counted, as a card holds it.

        Raises
        ------
        BadInput
            Where nothing was.
        """
        if not self._counts.any():
            raise BadInput("reliability", "no place was looked at", "give annotated images")
        weighted_gaps = np.abs(
            self._probability_sums - self._positives
        )  # counts times the distance of the two means
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


class Coverage(FrozenModel):
    """How often an interval held the reference.

    Attributes
    ----------
    fraction
        By class, in [0, 1].
    cases
        By class, how many were looked at: those that have the class in the reference or in any sample.
    """

    fraction: dict[str, float]
    cases: dict[str, int]

    @property
    def overall(self) -> float | None:
        """Over all classes and cases; None where there are none."""
        total = sum(self.cases.values())
        return sum(self.fraction[name] * n for name, n in self.cases.items()) / total if total else None


class VolumeInterval(FrozenModel):
    """An interval for areas or volumes, by split conformal prediction.

    In units of ``std + floor * mean`` of its samples, the reference of a case lies between ``shift - factor``
    and ``shift + factor`` from their mean in a share `level` of the cases that these come from; where a new
    case is like these, its interval holds its reference as often. Areas and volumes may be in any unit.

    Attributes
    ----------
    level
        How often an interval is to hold, in (0, 1).
    floor
        Share of the mean that counts as doubt beside the samples' own, which may all err alike.
    factors
        Half of the width, by class. A class that is not there had too few cases, or could not be bounded.
    shifts
        How far the middle lies from the samples' mean, by class: a model may find too much, or too little, as
        a rule. 0 where it is not there.
    cases
        Images that the factors come from.
    samples, source
        The ensemble of each: another number or source of samples spreads otherwise.
    threshold
        At which the samples were cut.
    data
        Which images, in plain words.
    coverage
        By class, how often the intervals held on other images.
    tested_on
        How many these were.

    References
    ----------
    .. [1] Lei et al., "Distribution-free predictive inference for regression", JASA 113, 2018.
    """

    level: float = Field(0.9, gt=0, lt=1)
    floor: float = Field(0.05, gt=0)
    factors: dict[str, float]
    shifts: dict[str, float] = Field(default_factory=dict)
    cases: int = Field(ge=1)
    samples: int = Field(ge=MIN_SAMPLES)
    source: str
    threshold: float = Field(gt=0, lt=1)
    data: str
    coverage: dict[str, float] = Field(default_factory=dict)
    tested_on: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check_finite(self) -> VolumeInterval:
        if not all(math.isfinite(shift) for shift in self.shifts.values()):
            raise ValueError("shifts must be finite")
        if not all(math.isfinite(factor) and factor >= 0 for factor in self.factors.values()):
            raise ValueError("factors must be finite, and 0 or more")
        return self

    @classmethod
    def fit(
        cls,
        names: Sequence[str],
        sample_volumes: NDArray[np.float64],
        reference: NDArray[np.float64],
        **fields: Any,
    ) -> VolumeInterval:
        """Factors from annotated cases.

        Parameters
        ----------
        names
            Of the K classes.
        sample_volumes
            Of the samples, `(cases, n, K)`, in any unit.
        reference
            In the same unit, `(cases, K)`; NaN where a class was not looked for.
        about
            The other fields, all but `factors`, `shifts` and `cases`.

        Raises
        ------
        BadInput
            Where the samples are too few, or no class has cases enough.

        Notes
        -----
        Cases in which a class is neither in the reference nor in a sample tell nothing, and are left out. Of
        n signed distances the greatest allowed is the one in place ``ceil((n + 1) (1 + level) / 2)`` of their
        order, and the least in the same place from the other end; a further case lies beyond either in at
        most ``(1 - level) / 2`` of draws. Where there are too few for that, the middle is the samples' mean,
        and the factor the distance in place ``ceil((n + 1) level)`` without its sign.
        """
        fitted = cls(factors={}, cases=max(1, len(sample_volumes)), **fields)
        centre, width = _centre_and_width(sample_volumes, fitted.floor)
        factors: dict[str, float] = {}
        shifts: dict[str, float] = {}
        max_informative = 0
        for k, name in enumerate(names):
            informative = _informative_cases(sample_volumes[:, :, k], reference[:, k])
            max_informative = max(max_informative, int(informative.sum()))
            residuals = _standardized(
                reference[informative, k] - centre[informative, k], width[informative, k]
            )
            low, high = _residual_bounds(residuals, fitted.level)
            if math.isfinite(high - low):
                shift = round((low + high) / 2, 4)
                # up, never below the distances themselves
                factors[name] = math.ceil(max(high - shift, shift - low) * 1e4) / 1e4
                shifts[name] = shift
        if not factors:
            required = min_cases(fitted.level)
            why = f"has {max_informative}" if max_informative < required else "misses too many outright"
            raise BadInput(
                "cases",
                f"{why}; an interval of {fitted.level:.0%} needs {required}",
                "give more annotated images",
            )
        return fitted.replace(factors=factors, shifts=shifts)

    def interval(self, class_name: str, volumes: NDArray[np.float64]) -> tuple[float, float]:
        """The lowest and the highest area or volume of a class; not below 0.

        Parameters
        ----------
        class_name
            One of `factors`.
        volumes
            Of the samples, `(n,)`.

        Raises
        ------
        BadInput
            Where the class has no factor, or the samples are fewer than three.
        """
        if class_name not in self.factors:
            calibrated_classes = ", ".join(self.factors)
            raise BadInput(
                "class", f"{class_name!r} has no calibrated interval", f"use one of {calibrated_classes}"
            )
        sample_volumes = np.asarray(volumes, dtype=np.float64)[None, :, None]
        centre, width = _centre_and_width(sample_volumes, self.floor)
        scale = float(width[0, 0])
        interval_centre = float(centre[0, 0]) + scale * self.shifts.get(class_name, 0.0)
        half_width = scale * self.factors[class_name]
        return max(0.0, interval_centre - half_width), max(0.0, interval_centre + half_width)

    def intervals(self, names: Sequence[str], volumes: NDArray[np.float64]) -> NDArray[np.float64]:
        """The intervals of many cases, `(cases, K, 2)`, of volumes `(cases, n, K)`; NaN without a factor."""
        lower_upper = np.full((len(volumes), len(names), 2), np.nan)
        for k, name in enumerate(names):
            if name in self.factors:
                lower_upper[:, k] = [self.interval(name, case_volumes) for case_volumes in volumes[:, :, k]]
        return lower_upper

    def with_coverage(
        self, names: Sequence[str], volumes: NDArray[np.float64], reference: NDArray[np.float64]
    ) -> VolumeInterval:
        """The same, with how often it holds on other cases; the arrays as in `fit`."""
        coverage = interval_coverage(names, self.intervals(names, volumes), volumes, reference)
        rounded_coverage = {name: round(value, 4) for name, value in coverage.fraction.items()}
        return self.replace(coverage=rounded_coverage, tested_on=len(volumes))


def interval_coverage(
    names: Sequence[str],
    bounds: NDArray[np.float64],
    volumes: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> Coverage:
    """How often intervals hold the reference.

    Parameters
    ----------
    names
        Of the K classes.
    bounds
        `(cases, K, 2)`, lowest and highest; NaN where there is no interval.
    volumes, reference
        As in `VolumeInterval.fit`.
    """
    fraction: dict[str, float] = {}
    cases: dict[str, int] = {}
    for k, name in enumerate(names):
        informative = _informative_cases(volumes[:, :, k], reference[:, k]) & ~np.isnan(bounds[:, k]).any(
            axis=1
        )
        if informative.any():
            low, high = bounds[informative, k].T
            # a reference on the bound is inside, whatever the last bit says
            slack = 1e-9 * np.maximum(high, 1)
            reference_volumes = reference[informative, k]
            cases[name] = int(informative.sum())
            fraction[name] = float(
                np.mean((reference_volumes >= low - slack) & (reference_volumes <= high + slack))
            )
    return Coverage(fraction=fraction, cases=cases)


def min_cases(level: float) -> int:
    """How many cases an interval of this level needs: with fewer it would be infinite."""
    return math.ceil(level / (1 - level) - 1e-9)


def _informative_cases(volumes: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The cases that tell something of a class: of volumes `(cases, n)` and reference `(cases,)`."""
    informative: NDArray[np.bool_] = ~np.isnan(reference) & ((reference > 0) | (volumes > 0).any(axis=1))
    return informative


def _centre_and_width(
    volumes: NDArray[np.float64], floor: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean, and the unit that distances are measured in, `(cases, K)` each."""
    if volumes.shape[1] < MIN_SAMPLES:
        raise BadInput("samples", f"are {volumes.shape[1]}, too few to differ", f"draw {MIN_SAMPLES} or more")
    centre = volumes.mean(axis=1)
    return centre, volumes.std(axis=1, ddof=1) + floor * centre


def _standardized(residuals: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(residuals, width, out=np.copysign(np.inf, residuals), where=width > 0)


def _residual_bounds(residuals: NDArray[np.float64], level: float) -> tuple[float, float]:
    """The least and the greatest signed distance that an interval must hold; infinite with too few."""
    ordered, n = np.sort(residuals), len(residuals)
    rank = math.ceil((n + 1) * (1 + level) / 2 - 1e-9)
    if 1 <= rank <= n:
        return float(ordered[n - rank]), float(ordered[rank - 1])
    ordered, rank = np.sort(np.abs(residuals)), math.ceil((n + 1) * level - 1e-9)
    bound = float(ordered[rank - 1]) if 1 <= rank <= n else math.inf
    return -bound, bound
