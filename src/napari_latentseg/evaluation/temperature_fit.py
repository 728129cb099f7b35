"""Fitting the temperature of a model's mean probability on annotated images, and testing it on others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.temperature import NO_TEMPERATURE, Temperature
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.mean_histogram import MeanHistogram
from napari_latentseg.evaluation.reliability import Reliability, ReliabilityAccumulator

__all__ = ["MIN_TEMPERATURE_IMAGES", "CalibrationErrors", "HalfTest", "TemperatureFit", "fit_temperature"]

MIN_TEMPERATURE_IMAGES = 5
"""Images that a temperature needs; a retina model has 6 validation images, and its halves agree."""

# Voxels whose mean is nearer to 0 or 1 are left out of the fit. They are most of an image and nearly all
# right, and their few errors would decide: among 1e-6, 1e-4, 1e-3, 0.01 and 0.05 this had the least error on
# the other half of the validation images of breast-ultrasound and retina-vessels (20 random halves).
_LEAST_MEAN = 1e-4
_RANGE = (0.2, 10.0)  # of temperatures that are tried: beyond, a model tells nothing, or is right everywhere
_SHIFT_RANGE = (-4.0, 4.0)
_CONTRAST_RANGE = (0.0, 4.0)  # nuclei has 2.96; of its halves 3.42 and 1.96
# Share by which the log loss of both other halves must fall for a further parameter. With a shift, that of
# hippocampus-mr version 2, whose masks were too large, falls by 5 %; that of retina-vessels by less than 1 %.
_LEAST_GAIN = 0.01
# What is fitted, from few parameters to many: more are used only where they are worth it.
_CHOICES = (("value",), ("value", "shift"), ("value", "contrast"), ("value", "shift", "contrast"))


class CalibrationErrors(FrozenModel):
    """Expected calibration error of mean probabilities, see `Reliability`, before and at a temperature.

    Attributes
    ----------
    ece_before, ece_after
        Over all voxels, in [0, 1].
    ece_unsure_before, ece_unsure_after
        Where the mean lies between the first and the last bin; None where it never does.
    """

    ece_before: float = Field(ge=0, le=1)
    ece_after: float = Field(ge=0, le=1)
    ece_unsure_before: float | None = Field(None, ge=0, le=1)
    ece_unsure_after: float | None = Field(None, ge=0, le=1)

    @classmethod
    def of(cls, before: Reliability, after: Reliability, **fields: Any) -> Self:
        """From two reliabilities of the same voxels.

        Parameters
        ----------
        before, after
            Of the mean as the model gives it, and at a temperature.
        **fields
            The other attributes.
        """
        return cls(
            ece_before=before.ece,
            ece_after=after.ece,
            ece_unsure_before=before.ece_unsure,
            ece_unsure_after=after.ece_unsure,
            **fields,
        )

    def describe(self) -> str:
        """The errors in words, such as ``"0.0149 to 0.0074, where the mean is unsure 0.093 to 0.039"``."""
        text = f"{self.ece_before:.4f} to {self.ece_after:.4f}"
        if self.ece_unsure_before is None or self.ece_unsure_after is None:
            return text
        return f"{text}, where the mean is unsure {self.ece_unsure_before:.3f} to {self.ece_unsure_after:.3f}"


class HalfTest(CalibrationErrors):
    """Calibration error on one half of the images, at the temperature that was fitted on the other half.

    Attributes
    ----------
    images
        Number of images of this half.
    temperature
        As fitted on the other half.
    """

    images: int = Field(ge=1)
    temperature: Temperature


class TemperatureFit(CalibrationErrors):
    """What a temperature was fitted on, and what it gains on images that it was not fitted on.

    The errors are those of all images, each at the temperature that was fitted on the other half.

    Attributes
    ----------
    images, samples, source, data
        As of `Reliability`: the images, all of which the temperature of the card was fitted on.
    halves
        How each half did at the temperature of the other.
    """

    images: int = Field(ge=1)
    samples: int = Field(ge=1)
    source: str
    data: str
    halves: tuple[HalfTest, HalfTest]


def fit_temperature(
    histograms: Sequence[MeanHistogram],
    halves: tuple[NDArray[np.intp], NDArray[np.intp]],
    **fields: Any,
) -> tuple[Temperature, TemperatureFit, Reliability]:
    """Fit a temperature to all images, and test it by halves.

    Parameters
    ----------
    histograms
        Of each image, over all of its classes.
    halves
        Indices of the images of each half.
    **fields
        `samples`, `source` and `data` as of `TemperatureFit`.

    Returns
    -------
    temperature, fit, reliability
        The temperature; how it was tested; and the reliability of all images, each at the temperature that
        was fitted on the other half.

    Raises
    ------
    BadInput
        If there are too few images, or the temperature of a half does not help the other half.

    Notes
    -----
    The negative log likelihood of the voxels of all classes is minimised whose mean is not within 0.0001 of 0
    or 1. A shift and a contrast are fitted too where they lower that of both halves by another 1 %, each at
    the parameters of the other.
    """
    if len(histograms) < MIN_TEMPERATURE_IMAGES or not all(len(half) for half in halves):
        why = f"are {len(histograms)}; a temperature needs {MIN_TEMPERATURE_IMAGES}"
        raise BadInput("cases", why, "give more annotated images")
    first, second = (_total([histograms[i] for i in half]) for half in halves)
    parameters = _worthwhile_parameters(first, second)
    if not parameters:
        raise BadInput(
            "cases", "have two halves whose temperatures do not help each other", "give more annotated images"
        )
    tests, accumulator = [], ReliabilityAccumulator()
    for tested, other, half in ((first, second, halves[0]), (second, first, halves[1])):
        temperature = _fitted(other, parameters)
        tested.add_to(accumulator, temperature)
        tests.append(_half_test(tested, temperature, len(half), fields))
    reliability = accumulator.reliability(images=len(histograms), **fields)
    before = _reliability(first + second, NO_TEMPERATURE, len(histograms), fields)
    fit = TemperatureFit.of(
        before, reliability, images=len(histograms), halves=(tests[0], tests[1]), **fields
    )
    return _fitted(first + second, parameters), fit, reliability


def _total(histograms: Sequence[MeanHistogram]) -> MeanHistogram:
    return reduce(add, histograms)


def _half_test(
    histogram: MeanHistogram, temperature: Temperature, images: int, fields: dict[str, Any]
) -> HalfTest:
    before, after = (_reliability(histogram, one, images, fields) for one in (NO_TEMPERATURE, temperature))
    return HalfTest.of(before, after, images=images, temperature=temperature)


def _reliability(
    histogram: MeanHistogram, temperature: Temperature, images: int, fields: dict[str, Any]
) -> Reliability:
    accumulator = ReliabilityAccumulator()
    histogram.add_to(accumulator, temperature)
    return accumulator.reliability(images=images, **fields)


def _worthwhile_parameters(first: MeanHistogram, second: MeanHistogram) -> tuple[str, ...]:
    """The parameters whose values, fitted on each half, make the other half likelier; empty if none do."""
    best: tuple[str, ...] = ()
    losses = _crossed_log_losses(first, second, best)
    for parameters in _CHOICES:
        tried = _crossed_log_losses(first, second, parameters)
        allowed = 1 if parameters == ("value",) else 1 - _LEAST_GAIN
        if all(new < allowed * old for new, old in zip(tried, losses, strict=True)):
            best, losses = parameters, tried
    return best


def _crossed_log_losses(
    first: MeanHistogram, second: MeanHistogram, parameters: tuple[str, ...]
) -> tuple[float, float]:
    """Log loss of each half, at the temperature that was fitted on the other."""
    return (
        _log_loss(first, _fitted(second, parameters)), _log_loss(second, _fitted(first, parameters)),
    )  # fmt: skip


def _logits(histogram: MeanHistogram) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Logits of the bins that count in the fit, and their shares of voxels and of those of the class."""
    means, counts, positives = histogram.filled()
    counted = (means > _LEAST_MEAN) & (means < 1 - _LEAST_MEAN)
    means, total = means[counted], max(float(counts[counted].sum()), 1.0)
    return np.log(means) - np.log1p(-means), counts[counted] / total, positives[counted] / total


def _log_loss(histogram: MeanHistogram, temperature: Temperature) -> float:
    """Negative log likelihood of a voxel, averaged over those that count."""
    logits, shares, positives = _logits(histogram)
    weights = np.array([1 / temperature.value, temperature.shift, temperature.contrast])
    scaled = weights @ _terms(logits)
    return float((shares * np.logaddexp(0, scaled) - positives * scaled).sum())


def _terms(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a calibrated logit is the weighted sum of, `(3, n)`: the logit, 1, and 2 p - 1."""
    return np.stack([logits, np.ones_like(logits), np.tanh(logits / 2)])


def _fitted(histogram: MeanHistogram, parameters: tuple[str, ...]) -> Temperature:
    """The temperature of the least log loss; `NO_TEMPERATURE` where no voxel is unsure."""
    from scipy.optimize import minimize
    from scipy.special import expit

    logits, shares, positives = _logits(histogram)
    if not parameters or not len(logits):
        return NO_TEMPERATURE
    terms = _terms(logits)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled = weights @ terms
        value = float((shares * np.logaddexp(0, scaled) - positives * scaled).sum())
        return value, terms @ (shares * expit(scaled) - positives)

    bounds = (
        (1 / _RANGE[1], 1 / _RANGE[0]),
        _SHIFT_RANGE if "shift" in parameters else (0.0, 0.0),
        _CONTRAST_RANGE if "contrast" in parameters else (0.0, 0.0),
    )
    # convex in these weights, so the minimum that is found is the only one
    inverse, shift, contrast = minimize(
        loss, (1.0, 0.0, 0.0), jac=True, bounds=bounds, options={"ftol": 1e-12, "gtol": 1e-8}
    ).x.tolist()
    return Temperature(value=round(1 / inverse, 4), shift=round(shift, 4), contrast=round(contrast, 4))
