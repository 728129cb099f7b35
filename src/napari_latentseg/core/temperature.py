"""The temperature of mean probabilities: it makes them agree with how often they are right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["NO_TEMPERATURE", "Temperature"]

_CACHED_VALUES = 2**16  # float32 values computed at once: what fits into the cache of a core
_THRESHOLD_STEPS = 10**6  # the sliders of the window keep six digits


class Temperature(FrozenModel):
    """Temperature scaling [1]_ of a mean probability p.

    p becomes ``sigmoid(logit(p) / value + contrast * (2 p - 1) + shift)``. A temperature above 1 moves
    probabilities towards a half, which corrects a model that is too sure; a shift below 0 lowers all of them,
    which corrects one whose masks are too large; a contrast above 0 moves those in the middle away from a
    half and hardly touches those near 0 and 1, which corrects a model that is too cautious in the middle. All
    are the same for all classes, so the order of the classes of a voxel stays as it is, and so does the mask
    at `calibrated_threshold`. 0 stays 0, and 1 stays 1.

    Attributes
    ----------
    value
        The temperature; 1 changes nothing.
    shift
        Added to the logit; 0 adds nothing, and 0.5 stays 0.5.
    contrast
        Added to the logit at a probability of 1, subtracted at 0, and in proportion between; 0 adds nothing.

    References
    ----------
    .. [1] Guo et al., "On calibration of modern neural networks", ICML 2017; with a shift as in Platt,
       "Probabilistic outputs for support vector machines", 1999. The contrast is this project's own.

    Examples
    --------
    >>> temperature = Temperature(value=2)
    >>> temperature.calibrated(np.array([0.0, 0.2, 0.5, 0.9, 1.0], np.float32)).round(3).tolist()
    [0.0, 0.3330000042915344, 0.5, 0.75, 1.0]
    >>> temperature.calibrated_threshold(0.4), round(temperature.raw_threshold(0.449490), 6)
    (0.44949, 0.4)
    >>> Temperature(value=2, contrast=2).calibrated(np.array([0.01, 0.2, 0.5, 0.9])).round(3).tolist()
    [0.014, 0.131, 0.5, 0.937]
    """

    value: float = Field(1.0, gt=0, allow_inf_nan=False)
    shift: float = Field(0.0, allow_inf_nan=False)
    contrast: float = Field(0.0, ge=0, allow_inf_nan=False)

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.value == 1 and self.shift == 0 and self.contrast == 0

    def describe(self) -> str:
        """In words for people.

        Examples
        --------
        >>> Temperature(value=1.5486, shift=-0.561).describe()
        '1.55, log-odds shifted by -0.56'
        >>> Temperature(value=3.2, contrast=3.09).describe()
        '3.20, contrast 3.09'
        """
        parts = [f"{self.value:.2f}"]
        if self.shift:
            parts.append(f"log-odds shifted by {self.shift:.2f}")
        if self.contrast:
            parts.append(f"contrast {self.contrast:.2f}")
        return ", ".join(parts)

    def calibrated(self, mean: Any) -> Any:
        """Mean probabilities at this temperature, of the same shape and type.

        Parameters
        ----------
        mean
            Mean probabilities as the model gives them, in [0, 1], of any shape; NumPy or dask.

        Returns
        -------
        array
            A new one, in [0, 1]; `mean` itself where nothing changes.
        """
        if self.is_identity:
            return mean
        if not isinstance(mean, np.ndarray):
            return mean.map_blocks(self.calibrated, dtype=mean.dtype)
        calibrated = np.array(mean, order="C")
        self.calibrate(calibrated)
        return calibrated

    def calibrate(self, mean: NDArray[np.floating[Any]]) -> None:
        """Bring mean probabilities to this temperature in place; see `calibrated`."""
        if self.is_identity or not mean.size:
            return
        if not mean.flags.c_contiguous:
            mean[...] = self.calibrated(mean)
            return
        values = mean.reshape(-1)
        with np.errstate(divide="ignore", over="ignore"):  # the logits of 0 and 1 are infinite
            for start in range(0, len(values), _CACHED_VALUES):
                part = values[start : start + _CACHED_VALUES]
                logits = np.log(part)
                logits -= np.log1p(-part)
                logits *= -1 / self.value
                logits -= self.shift
                if self.contrast:
                    logits -= self.contrast * (2 * part - 1)
                np.exp(logits, out=logits)
                logits += 1
                np.divide(1, logits, out=part)

    def calibrated_threshold(self, threshold: float) -> float:
        """The threshold that gives the same mask of the calibrated mean.

        Parameters
        ----------
        threshold
            Of the mean as the model gives it, in (0, 1).
        """
        if self.is_identity:
            return threshold
        calibrated = self._calibrated_probability(threshold)
        # up, so that a value that was not above the threshold is never above it afterwards
        return math.ceil(calibrated * _THRESHOLD_STEPS) / _THRESHOLD_STEPS

    def raw_threshold(self, threshold: float) -> float:
        """The threshold for single samples, and for the mean as the model gives it.

        Parameters
        ----------
        threshold
            Of the calibrated mean, in [0, 1].
        """
        if self.is_identity or not 0 < threshold < 1:
            return threshold
        if not self.contrast:
            return _sigmoid((_logit(threshold) - self.shift) * self.value)
        # no closed form, but the calibrated value rises with the raw one: halved until floats are neighbours
        lower, upper = 0.0, 1.0
        while lower < (middle := 0.5 * (lower + upper)) < upper:
            lower, upper = (
                (lower, middle) if self._calibrated_probability(middle) >= threshold else (middle, upper)
            )
        return upper

    def _calibrated_probability(self, p: float) -> float:
        """One probability in (0, 1), calibrated."""
        return _sigmoid(_logit(p) / self.value + self.contrast * (2 * p - 1) + self.shift)


NO_TEMPERATURE = Temperature()
"""Leaves every mean as it is."""


def _logit(probability: float) -> float:
    return math.log(probability) - math.log1p(-probability)


def _sigmoid(logit: float) -> float:
    return 0.5 + 0.5 * math.tanh(0.5 * logit)  # without overflow
