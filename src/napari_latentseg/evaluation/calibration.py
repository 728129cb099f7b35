"""Conformal intervals for areas and volumes, calibrated on annotated images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.percent import percent
from napari_latentseg.errors import BadInput

__all__ = [
    "Coverage",
    "VolumeInterval",
    "interval_coverage",
    "min_cases",
]

MIN_SAMPLES = 3
"""Samples that a spread needs, as for the variance of a result."""


class Coverage(FrozenModel):
    """How often intervals contain the reference.

    Attributes
    ----------
    fraction
        For each class, in [0, 1].
    cases
        For each class the number of cases: those with the class in the reference or in any sample.
    """

    fraction: dict[str, float]
    cases: dict[str, int]

    @property
    def overall(self) -> float | None:
        """Fraction over all classes and cases together; None without cases."""
        total = sum(self.cases.values())
        return sum(self.fraction[name] * n for name, n in self.cases.items()) / total if total else None


class VolumeInterval(FrozenModel):
    """Prediction interval for areas or volumes, by split conformal prediction [1]_.

    With the mean m and the standard deviation s of the samples of a case, the interval of a class is
    ``m + (shift ± factor) (s + floor m)``. It contains the reference in a fraction `level` of the cases that
    it was fitted on, and as often for a new case of the same kind. The unit of area or volume does not
    matter.

    Attributes
    ----------
    level
        How often the interval should contain the reference, in (0, 1).
    floor
        Fraction of the mean added to the standard deviation, so that samples that agree keep an interval.
    factors
        Half width of the interval for each class, in units of ``s + floor m``. A class is missing if it had
        too few cases, or could not be bounded.
    shifts
        Shift of the centre for each class, in the same unit: positive if the model usually finds too little.
    cases
        Number of images that the factors were fitted on.
    samples, source
        Number and source of the samples of each image; with others the spread is different.
    threshold
        Probability threshold of the samples.
    dimensions
        2 for images, 3 for volumes; None in cards of earlier versions, and for a mixture.
    precisions
        The precisions that it was fitted in, or was shown to agree in; empty in cards of earlier versions.
    data
        Description of the images.
    coverage
        For each class, how often the interval contained the reference on other images.
    tested_on
        Number of these images.
    with_parts
        Whether a class was counted with the classes that are its parts; not so in cards of earlier versions.

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
    dimensions: Literal[2, 3] | None = None
    precisions: tuple[str, ...] = ()
    data: str
    coverage: dict[str, float] = Field(default_factory=dict)
    tested_on: int = Field(0, ge=0)
    with_parts: bool = False

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
        """Fit factors and shifts to annotated cases.

        Parameters
        ----------
        names
            Names of the K classes.
        sample_volumes
            Area or volume of each class in each sample, `(cases, n, K)`, in any unit.
        reference
            The same of the reference, in the same unit, `(cases, K)`; NaN where a class is not annotated.
        **fields
            The other attributes, except `factors`, `shifts` and `cases`.

        Raises
        ------
        BadInput
            If there are fewer than `MIN_SAMPLES` samples, or too few cases for every class.

        Notes
        -----
        Cases with a class neither in the reference nor in a sample are left out for this class.

        The residual of a case is ``(reference - m) / (s + floor m)``. Of n sorted residuals, the upper bound
        is the one of rank ``ceil((n + 1) (1 + level) / 2)`` and the lower bound the one of the same rank from
        the other end; a new residual is beyond each with probability ``(1 - level) / 2`` at most. With too
        few cases for that, the bounds are symmetric around 0: the absolute residual of rank ``ceil((n + 1)
        level)``.
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
                # rounded up, so that rounding never excludes a case
                factors[name] = math.ceil(max(high - shift, shift - low) * 1e4) / 1e4
                shifts[name] = shift
        if not factors:
            required = min_cases(fitted.level)
            why = (
                f"are {max_informative} with a class"
                if max_informative < required
                else "have a class that too many of the samples miss entirely"
            )
            needs = f"an interval of {percent(fitted.level)} needs {required}"
            raise BadInput("cases", f"{why}; {needs}", "give more annotated images")
        return fitted.replace(factors=factors, shifts=shifts)

    def interval(self, class_name: str, volumes: NDArray[np.float64]) -> tuple[float, float]:
        """Lower and upper bound of the area or volume of a class, 0 or more.

        Parameters
        ----------
        class_name
            One of `factors`.
        volumes
            Area or volume in each sample, `(n,)`.

        Returns
        -------
        low, high : float
            In the unit of `volumes`.

        Raises
        ------
        BadInput
            If the class has no factor, or there are fewer than `MIN_SAMPLES` samples.
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
        """Bounds of many cases, `(cases, K, 2)`, of volumes `(cases, n, K)`; NaN without a factor."""
        lower_upper = np.full((len(volumes), len(names), 2), np.nan)
        for k, name in enumerate(names):
            if name in self.factors:
                lower_upper[:, k] = [self.interval(name, case_volumes) for case_volumes in volumes[:, :, k]]
        return lower_upper

    def with_coverage(
        self, names: Sequence[str], volumes: NDArray[np.float64], reference: NDArray[np.float64]
    ) -> VolumeInterval:
        """A copy with its coverage on other cases; the arrays are as for `fit`."""
        coverage = interval_coverage(names, self.intervals(names, volumes), volumes, reference)
        rounded_coverage = {name: round(value, 4) for name, value in coverage.fraction.items()}
        return self.replace(coverage=rounded_coverage, tested_on=len(volumes))


def interval_coverage(
    names: Sequence[str],
    bounds: NDArray[np.float64],
    volumes: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> Coverage:
    """How often intervals contain the reference.

    Parameters
    ----------
    names
        Names of the K classes.
    bounds
        Lower and upper bounds, `(cases, K, 2)`; NaN without an interval.
    volumes, reference
        As for `VolumeInterval.fit`.
    """
    fraction: dict[str, float] = {}
    cases: dict[str, int] = {}
    for k, name in enumerate(names):
        informative = _informative_cases(volumes[:, :, k], reference[:, k]) & ~np.isnan(bounds[:, k]).any(
            axis=1
        )
        if informative.any():
            low, high = bounds[informative, k].T
            # a reference equal to the bound counts as inside, whatever rounding does
            slack = 1e-9 * np.maximum(high, 1)
            reference_volumes = reference[informative, k]
            cases[name] = int(informative.sum())
            fraction[name] = float(
                np.mean((reference_volumes >= low - slack) & (reference_volumes <= high + slack))
            )
    return Coverage(fraction=fraction, cases=cases)


def min_cases(level: float) -> int:
    """How many cases an interval of this level needs; with fewer it would be infinite.

    Examples
    --------
    >>> min_cases(0.9), min_cases(0.95)
    (9, 19)
    """
    # smallest n with ceil((n + 1) level) <= n; 1e-9 against rounding, as in `_residual_bounds`
    return math.ceil(level / (1 - level) - 1e-9)


def _informative_cases(volumes: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The cases that have a class at all: of volumes `(cases, n)` and reference `(cases,)`."""
    informative: NDArray[np.bool_] = ~np.isnan(reference) & ((reference > 0) | (volumes > 0).any(axis=1))
    return informative


def _centre_and_width(
    volumes: NDArray[np.float64], floor: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the samples, and the unit of residuals ``std + floor * mean``, `(cases, K)` each."""
    if volumes.shape[1] < MIN_SAMPLES:
        raise BadInput(
            "samples", f"are {volumes.shape[1]}, too few for a spread", f"draw {MIN_SAMPLES} or more"
        )
    centre = volumes.mean(axis=1)
    return centre, volumes.std(axis=1, ddof=1) + floor * centre


def _standardized(residuals: NDArray[np.float64], width: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(residuals, width, out=np.copysign(np.inf, residuals), where=width > 0)


def _residual_bounds(residuals: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Lower and upper bound of the residuals, see `VolumeInterval.fit`; infinite with too few cases."""
    ordered, n = np.sort(residuals), len(residuals)
    rank = math.ceil((n + 1) * (1 + level) / 2 - 1e-9)
    if 1 <= rank <= n:
        return float(ordered[n - rank]), float(ordered[rank - 1])
    ordered, rank = np.sort(np.abs(residuals)), math.ceil((n + 1) * level - 1e-9)
    bound = float(ordered[rank - 1]) if 1 <= rank <= n else math.inf
    return -bound, bound
