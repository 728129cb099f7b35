"""The Dice to expect of a mask without a reference, and how much error the least certain images hold."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from napari_latentseg.core.dice_estimate import DiceEstimate
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.percent import percent
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.case_figures import CaseFigures
from napari_latentseg.evaluation.conformal import MIN_CASES, conformal_bound, leave_one_out

__all__ = ["MISSED_DICE", "ClassDice", "ExpectedDice", "WorstFifth"]

MISSED_DICE = 0.1
"""A class is missed where the reference holds it and the Dice is below this: they hardly overlap."""

_FLOOR = 0.02  # added to 1 - expected Dice, so that the bound of a confident image is no narrower than this
_LOGIT_FLOOR = 0.01  # keeps the logit of a soft Dice of 0 or 1 finite
_SLOPE_PULL = 4e-4  # weight of (slope - 1)^2 beside the squared errors of the images
_FIT_STEPS = 100
_LEAST_SLOPE = 1e-4  # below it the curve is flat
_REVIEWED_SHARE = 0.2
_HALVES = 100  # random splits for `WorstFifth`: 200 reviews, whose mean moves by 1 % from seed to seed
_HALVES_SEED = 0


class ClassDice(FrozenModel):
    """Expected Dice of one class.

    Attributes
    ----------
    intercept, slope
        Expected Dice is ``sigmoid(intercept + slope * logit(soft Dice))``.
    factor
        The lower bound is ``1 - factor * (1 - expected Dice + 0.02)``, at least 0.
    cases
        Images that it was fitted on.
    mean_error, correlation, coverage
        Mean absolute error, Spearman's rank correlation with the true Dice, and how often that was at least
        the lower bound; each image judged by a fit on the others alone.
    """

    intercept: float
    slope: float = Field(ge=0)
    factor: float = Field(ge=0)
    cases: int = Field(ge=1)
    mean_error: float = Field(ge=0, le=1)
    correlation: float | None = Field(None, ge=-1, le=1)
    coverage: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _check_finite(self) -> ClassDice:
        if not all(math.isfinite(value) for value in (self.intercept, self.slope, self.factor)):
            raise ValueError("intercept, slope and factor must be finite")
        return self


class WorstFifth(FrozenModel):
    """What is found by reviewing the fifth of the images with the lowest expected Dice.

    Over random halves of the images: the expected Dice is fitted on one half, and the fifth of the other half
    that has the lowest is reviewed. The Dice of an image is the mean over its classes.

    Attributes
    ----------
    images
        How many images there are.
    halves
        How many times they were split; each time both halves are reviewed in turn.
    error_share
        Fraction of all error (1 - Dice) that is in the images reviewed; 0.2 would be chance.
    missed
        Images with a class that is missed (see `MISSED_DICE`).
    missed_share
        Fraction of them that is reviewed; None where none is missed.
    """

    images: int = Field(ge=1)
    halves: int = Field(ge=1)
    error_share: float = Field(ge=0, le=1)
    missed: int = Field(ge=0)
    missed_share: float | None = Field(None, ge=0, le=1)

    def describe(self) -> str:
        """In words for people."""
        text = (
            "reviewing the fifth of the images with the lowest expected Dice finds"
            f" {percent(self.error_share)} of all error"
        )
        if self.missed_share is not None:
            text += (
                f", and {percent(self.missed_share)} of the images with a class that is missed (Dice below"
                f" {MISSED_DICE:g}; {self.missed} of {self.images})"
            )
        return text


class ExpectedDice(FrozenModel):
    """Expected Dice of a result with a lower bound, from how far mean probability and mask agree.

    The Dice of the mask and the mean probability (`napari_latentseg.evaluation.case_figures.soft_dice`) says
    how much the samples agree, and is too high where they share an error. A logistic curve, fitted to
    annotated images, corrects that; the lower bound is conformal [1]_, wider where less is expected.

    Attributes
    ----------
    level
        How often the Dice is at least the lower bound, in (0, 1).
    classes
        By name; a class with too few images is missing.
    worst_fifth
        What reviewing the worst fifth of the images finds; None where that was not computed.
    samples, source
        Number and source of the samples of each image.
    threshold
        Threshold of the mean probability.
    data
        Description of the images.
    dimensions
        2 where the images are single slices, 3 where they are volumes; None where they are of both kinds.
    precisions
        The precisions that it holds for, as in `RunRecord.precision`; empty for any.

    References
    ----------
    .. [1] Lei et al., "Distribution-free predictive inference for regression", JASA 113, 2018.
    """

    level: float = Field(0.9, gt=0, lt=1)
    classes: dict[str, ClassDice]
    worst_fifth: WorstFifth | None = None
    samples: int = Field(ge=1)
    source: str
    threshold: float = Field(gt=0, lt=1)
    data: str
    dimensions: Literal[2, 3] | None = None
    precisions: tuple[str, ...] = ()

    def estimate(self, class_name: str, soft_dice: float) -> DiceEstimate | None:
        """The estimate for a mask; None for a class without a fit, and for an empty mask.

        Parameters
        ----------
        class_name
            Name of the class.
        soft_dice
            From `napari_latentseg.evaluation.case_figures.soft_dice`; 0 for an empty mask, which is right
            where the image does not hold the class, and wrong where it does.
        """
        fit = self.classes.get(class_name)
        if fit is None or soft_dice <= 0:
            return None
        expected = float(_curve(np.array([soft_dice]), fit.intercept, fit.slope)[0])
        lower = float(_lower_bound(np.array([expected]), fit.factor)[0])
        return DiceEstimate(expected=round(expected, 4), lower=round(lower, 4), level=self.level)

    @classmethod
    def fit(
        cls,
        names: Sequence[str],
        figures: Sequence[Sequence[CaseFigures | None]],
        groups: Sequence[Hashable] | None = None,
        **fields: Any,
    ) -> ExpectedDice:
        """Fit to annotated images, and test by leaving each image out.

        Parameters
        ----------
        names
            Names of the K classes.
        figures
            For each image K figures; None where the image does not count for the class.
        groups
            A key of each image; images with the same key are left out together. None: all differ.
        **fields
            The other attributes, except `classes` and `worst_fifth`.

        Raises
        ------
        BadInput
            If every class has too few images.

        Notes
        -----
        Images with an empty mask are not fitted, and rank as the least certain.
        """
        fitted = cls(classes={}, **fields)
        keys = list(range(len(figures))) if groups is None else list(groups)
        classes: dict[str, ClassDice] = {}
        most = 0
        for k, name in enumerate(names):
            rows = [(row[k], key) for row, key in zip(figures, keys, strict=True)]
            filled = [(f, key) for f, key in rows if f is not None and f.size > 0]
            most = max(most, len(filled))
            if len(filled) >= MIN_CASES:
                cases, case_keys = zip(*filled, strict=True)
                classes[name] = _class_dice(cases, case_keys, fitted.level)
        if not classes:
            raise BadInput(
                "cases",
                f"are {most} with a class; an expected Dice needs {MIN_CASES}",
                "give more annotated images",
            )
        columns = [k for k, name in enumerate(names) if name in classes]
        fitted_figures = [[row[k] for k in columns] for row in figures]
        return fitted.replace(classes=classes, worst_fifth=_worst_fifth(fitted_figures, keys))


def _class_dice(figures: Sequence[CaseFigures], keys: Sequence[Hashable], level: float) -> ClassDice:
    """Fit of one class to images whose mask is not empty."""
    soft, dice = np.array([(f.soft_dice, f.dice) for f in figures]).T
    intercept, slope = _fit_curve(soft, dice)
    factor = _factor(_curve(soft, intercept, slope), dice, level)
    cross_validated, coverage = _cross_validate(soft, dice, keys, level)
    return ClassDice(
        intercept=round(intercept, 4),
        slope=round(slope, 4),
        factor=math.ceil(factor * 1e4) / 1e4,  # up, so that rounding never raises the bound
        cases=len(figures),
        mean_error=round(float(np.abs(cross_validated - dice).mean()), 4),
        correlation=_rank_correlation(cross_validated, dice),
        coverage=round(coverage, 4),
    )


def _curve(soft_dice: NDArray[np.float64], intercept: float, slope: float) -> NDArray[np.float64]:
    """The logistic curve; 0 for an empty mask is not its business."""
    # Not scipy.special.expit: its import takes a tenth of a second in every run of a model with this curve.
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * (intercept + slope * _logit(soft_dice))), dtype=np.float64)


def _logit(soft_dice: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.log((soft_dice + _LOGIT_FLOOR) / (1 + _LOGIT_FLOOR - soft_dice)), dtype=np.float64)


def _fit_curve(soft_dice: NDArray[np.float64], dice: NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and slope by least squares of the Dice itself, with a slope of 0 or more.

    Gauss-Newton steps. Not scipy.optimize.least_squares: its 4 ms a fit are a second for `_cross_validate`
    and `_worst_fifth`, which fit hundreds of times.
    """
    x = _logit(soft_dice)
    mean = float(np.clip(dice.mean(), 0.01, 0.99))
    flat = float(np.log(mean / (1 - mean)))
    # the slope is weakly pulled towards 1, so that images that all agree alike do not give an endless one
    intercept, slope = flat - float(x.mean()), 1.0
    damping = 1e-3 * len(x)  # of the steps, where all images lie on the flat ends of the curve
    for _ in range(_FIT_STEPS):
        expected = _curve(soft_dice, intercept, slope)
        gradient = expected * (1 - expected)
        jacobian = np.stack([gradient, gradient * x], axis=1)
        normal = jacobian.T @ jacobian + np.diag([0.0, _SLOPE_PULL])
        target = jacobian.T @ (dice - expected) + np.array([0.0, _SLOPE_PULL * (1 - slope)])
        step = np.linalg.solve(normal + np.eye(2) * damping, target)
        if slope + step[1] <= 0:  # half way to the bound
            step *= -slope / 2 / step[1]
        intercept, slope = intercept + float(step[0]), slope + float(step[1])
        damping /= 2
        if np.abs(step).max() < 1e-8:
            break
    return (intercept, slope) if slope > _LEAST_SLOPE else (flat, 0.0)


def _factor(expected: NDArray[np.float64], dice: NDArray[np.float64], level: float) -> float:
    return conformal_bound((1 - dice) / (1 - expected + _FLOOR), level)


def _lower_bound(expected: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    return np.clip(1 - factor * (1 - expected + _FLOOR), 0.0, expected)


def _cross_validate(
    soft: NDArray[np.float64], dice: NDArray[np.float64], keys: Sequence[Hashable], level: float
) -> tuple[NDArray[np.float64], float]:
    """Expected Dice of each image by a fit on the others, and how often their lower bound held."""
    predicted = np.zeros(len(dice))
    held = np.zeros(len(dice), dtype=bool)
    for others, left_out in leave_one_out(keys):
        curve = _fit_curve(soft[others], dice[others])
        factor = _factor(_curve(soft[others], *curve), dice[others], level)
        predicted[left_out] = _curve(soft[left_out], *curve)
        held[left_out] = dice[left_out] >= _lower_bound(predicted[left_out], factor) - 1e-9
    return predicted, float(held.mean())


def _rank_correlation(predicted: NDArray[np.float64], dice: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation; None where all values are equal."""
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(predicted), rankdata(dice)])
    if (ranks.std(axis=1) == 0).any():
        return None
    return round(float(np.clip(np.corrcoef(ranks)[0, 1], -1, 1)), 4)


def _worst_fifth(
    figures: Sequence[Sequence[CaseFigures | None]], keys: Sequence[Hashable]
) -> WorstFifth | None:
    """Review the worst fifth of one half by a fit on the other, both ways, for many random halves."""
    counted = [i for i, case in enumerate(figures) if any(f is not None for f in case)]
    error = np.array([np.mean([1 - f.dice for f in figures[i] if f is not None]) for i in counted])
    is_missed = np.array(
        [any(f is not None and f.is_present and f.dice < MISSED_DICE for f in figures[i]) for i in counted]
    )
    cases = [figures[i] for i in counted]
    group_of = {key: number for number, key in enumerate(dict.fromkeys(keys[i] for i in counted))}
    groups = np.array([group_of[keys[i]] for i in counted])
    if len(group_of) < MIN_CASES:
        return None
    rng = np.random.default_rng(_HALVES_SEED)
    all_error = found_error = 0.0
    all_missed = found_missed = 0
    for _ in range(_HALVES):
        first_half = np.isin(groups, rng.permutation(len(group_of))[: len(group_of) // 2])
        for tested in (np.flatnonzero(first_half), np.flatnonzero(~first_half)):
            fitted_on = np.setdiff1d(np.arange(len(cases)), tested)
            expected = _mean_expected([cases[i] for i in fitted_on], [cases[i] for i in tested])
            reviewed = tested[np.argsort(expected, kind="stable")[: round(len(tested) * _REVIEWED_SHARE)]]
            all_error, found_error = all_error + error[tested].sum(), found_error + error[reviewed].sum()
            all_missed += int(is_missed[tested].sum())
            found_missed += int(is_missed[reviewed].sum())
    return WorstFifth(
        images=len(cases),
        halves=_HALVES,
        error_share=round(float(found_error / all_error), 4) if all_error else 0.0,
        missed=int(is_missed.sum()),
        missed_share=round(found_missed / all_missed, 4) if all_missed else None,
    )


def _mean_expected(
    fitted_on: Sequence[Sequence[CaseFigures | None]], tested: Sequence[Sequence[CaseFigures | None]]
) -> NDArray[np.float64]:
    """Mean over the classes of the expected Dice of each tested image; an empty mask counts as 0."""
    expected = np.full((len(tested), len(tested[0])), np.nan)
    for k in range(expected.shape[1]):
        known = [row[k] for row in fitted_on]
        pairs = np.array([(f.soft_dice, f.dice) for f in known if f is not None and f.size > 0])
        if not len(pairs):
            continue
        columns = [row[k] for row in tested]
        soft = np.array([np.nan if f is None else f.soft_dice for f in columns])
        is_empty = np.array([f is not None and f.size == 0 for f in columns])
        expected[:, k] = np.where(is_empty, 0.0, _curve(soft, *_fit_curve(*pairs.T)))
    return np.array([np.mean(row[~np.isnan(row)]) if (~np.isnan(row)).any() else 1.0 for row in expected])
