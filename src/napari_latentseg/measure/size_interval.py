"""The size of a class or an object with its interval; the one place where intervals are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import class_descendants
from napari_latentseg.core.hints import effective_samples
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure.interval_basis import CalibratedCard, IntervalBasis, interval_basis
from napari_latentseg.measure.measurement import CALIBRATED, FROM_SAMPLES, INTERVAL_LEVEL

__all__ = ["SizeStatistics", "size_interval"]

_OBJECT_REASON = "calibrated for whole classes, not for single objects"


def size_interval(
    samples: NDArray[np.float64],
    estimate: float,
    basis: IntervalBasis,
    class_name: str,
    weights: NDArray[np.float64] | None = None,
) -> tuple[float, float, str]:
    """The interval of 90 % of an area or volume.

    A calibrated interval is that of the model card. Any other is Student's prediction interval for one
    further sample, widened to what the calibrated interval would be where the card has one: samples of one
    model err alike, so that their spread alone is far too narrow, and an interval must not become narrower by
    ceasing to be calibrated. Every interval is widened to the estimate where that lies outside, which keeps
    its coverage.

    Parameters
    ----------
    samples
        Area or volume in each of n samples, `(n,)`, three or more.
    estimate
        Area or volume of the model's mask, in the same unit.
    basis
        What the interval rests on; not ``"none"``.
    class_name
        The class, as in the model card.
    weights
        Of the samples, `(n,)`, with a sum of 1; None where all count alike. n is then their effective number.

    Returns
    -------
    low, high : float
        In the unit of the samples, 0 or more.
    kind : str
        ``"calibrated"`` or ``"samples"``.

    Examples
    --------
    >>> basis = IntervalBasis("samples", ("the model was not calibrated",), None, 3)
    >>> low, high, kind = size_interval(np.array([9.0, 10.0, 11.0]), 14.0, basis, "lesion")
    >>> round(low, 1), round(high, 1), kind
    (6.6, 14.0, 'samples')
    """
    bounds = [estimate]
    calibrated = basis.interval
    has_factor = calibrated is not None and class_name in calibrated.factors
    if calibrated is not None and has_factor:
        bounds += calibrated.interval(class_name, samples if weights is None else _repeated(samples, weights))
    kind = CALIBRATED if basis.kind == CALIBRATED and has_factor else FROM_SAMPLES
    if kind == FROM_SAMPLES:
        # prediction interval for one further sample of a normal distribution with unknown mean and variance
        n, mean, std = _statistics(samples, weights)
        half_width = _student_quantile(n) * std * math.sqrt(1 + 1 / n)
        bounds += [mean - half_width, mean + half_width]
    return max(0.0, min(bounds)), max(bounds), kind


@dataclass(frozen=True)
class SizeStatistics:
    """Fraction, interval and what was segmented, for the rows of a segmentation.

    Attributes
    ----------
    segmentation
        The segmentation.
    basis
        What its intervals rest on.
    region_text
        What was segmented, see `SegmentedRegion.describe`.
    """

    segmentation: Segmentation
    basis: IntervalBasis
    region_text: str

    @classmethod
    def of(cls, segmentation: Segmentation, card: CalibratedCard | None) -> SizeStatistics:
        """Of a segmentation, and the card of its model where that is known."""
        region_text = segmentation.segmented_region.describe()
        return cls(segmentation, interval_basis(segmentation, card), region_text)

    def class_fields(
        self,
        name: str,
        label: int,
        volumes: NDArray[np.float64],
        voxel_count: int,
        model_voxel_count: int,
        *,
        has_time: bool = False,
    ) -> dict[str, Any]:
        """Fields of a `Measurement` of a class, by name.

        Parameters
        ----------
        name, label
            The class; one that the model does not have gets no interval.
        volumes
            Area or volume of each class of the model with its parts in each sample, `(n, K)`; n = 0 if they
            are not known.
        voxel_count, model_voxel_count
            Voxels of the class with its parts in the mask that is measured, and in the model's mask.
        has_time
            Whether the row is of one point in time, whose fraction of all of them says little.
        """
        fields: dict[str, Any] = {
            "segmented": self.region_text,
            "mask_state": self.segmentation.record.mask_state,
        }
        if not has_time:
            fields["fraction"] = voxel_count / max(1, self.segmentation.predicted_voxel_count)
        labels = [info.label for info in self.segmentation.classes]
        if label not in labels:
            return fields
        model_value = model_voxel_count * self.segmentation.geometry.voxel_volume[0]
        samples = volumes[:, labels.index(label)]
        parts = self.parts_of(label)
        interval = self.basis.interval
        is_without_parts = parts and (interval is None or not interval.with_parts)
        reason = "the class was calibrated without its parts" if is_without_parts else ""
        fields |= {"model_value": model_value, "includes": parts}
        return fields | self._sample_fields(name, samples, model_value, reason)

    def parts_of(self, label: int) -> tuple[str, ...]:
        """Names of the classes that are parts of the class with a label."""
        classes = self.segmentation.classes
        for info, parts in zip(classes, class_descendants(classes), strict=True):
            if info.label == label:
                return tuple(classes[i].name for i in sorted(parts))
        return ()

    def object_fields(self, name: str, samples: NDArray[np.float64], value: float) -> dict[str, Any]:
        """Fields of a `Measurement` of an object of a class, by name; `value` is its area or volume."""
        return {"segmented": self.region_text} | self._sample_fields(name, samples, value, _OBJECT_REASON)

    def _sample_fields(
        self, name: str, samples: NDArray[np.float64], estimate: float, reason: str
    ) -> dict[str, Any]:
        """Mean, standard deviation and interval of the samples; not calibrated where a reason is given."""
        basis = self.basis
        if basis.kind == "none":
            return {"interval_reason": basis.reason}
        if not len(samples):
            return {}
        calibrated_classes = basis.interval.factors if basis.interval is not None else {}
        if basis.kind == CALIBRATED and not reason and name not in calibrated_classes:
            reason = "the class was not calibrated"
        if basis.kind == CALIBRATED and reason:
            basis = IntervalBasis("samples", (reason,), basis.interval, basis.samples)
        hints = self.segmentation.record.hints
        weights = None if hints is None else np.array(hints.weights)
        low, high, kind = size_interval(samples, estimate, basis, name, weights)
        # a few samples that differ much give an interval that reaches beyond the image
        whole = self.segmentation.predicted_voxel_count * self.segmentation.geometry.voxel_volume[0]
        high = max(estimate, min(high, whole))
        _, mean, std = _statistics(samples, weights)
        return {
            "samples": len(samples),
            "mean": mean,
            "std": std,
            "low": low,
            "high": high,
            "interval_source": kind,
            "interval_reason": basis.reason,
        }


def _statistics(
    samples: NDArray[np.float64], weights: NDArray[np.float64] | None
) -> tuple[float, float, float]:
    """The number of samples, their mean and their standard deviation, weighted where weights are given."""
    if weights is None:
        return len(samples), float(samples.mean()), float(samples.std(ddof=1))
    n, mean = effective_samples(weights.tolist()), float(weights @ samples)
    variance = float(weights @ (samples - mean) ** 2)
    return (
        n,
        mean,
        math.sqrt(variance * n / max(n - 1, 0.5)),
    )  # below n = 1.5 there is no interval


def _repeated(samples: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """As many copies of each sample as its weight says, which have the same spread.

    About 100 in all, and of many samples ten for each, so that none of equal weight is left out.
    """
    return np.repeat(samples, np.rint(max(100, 10 * len(samples)) * weights).astype(int))


def _student_quantile(n: float) -> float:
    """Two-sided quantile of Student's t with n - 1 degrees of freedom at `INTERVAL_LEVEL`."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + INTERVAL_LEVEL) / 2))
