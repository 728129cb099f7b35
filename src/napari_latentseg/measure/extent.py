"""How much of a scan each class covers, in one line for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation
from napari_latentseg.measure.measurement import display_unit

__all__ = ["ClassExtent", "class_extents"]


@dataclass(frozen=True)
class ClassExtent:
    """How much of a scan one class covers.

    Attributes
    ----------
    name
        Of the class.
    value, unit
        Area or volume of the mask, in ``"mm2"``, ``"mm3"``, or elements (``"pixel"``).
    fraction
        Of the planes that hold a result, in [0, 1].
    low, high
        Least and most over the samples, as fractions; None where there are fewer than three, or the mask was
        cut at another threshold than the samples.
    samples
        How many there are.
    """

    name: str
    value: float
    unit: str
    fraction: float
    low: float | None
    high: float | None
    samples: int

    def describe(self) -> str:
        """In one line, for people."""
        line = f"{self.name}: {_percent(self.fraction)} %"
        if self.unit != "pixel":
            line += f", {self.value:.4g} {display_unit(self.unit)}"
        if self.low is not None and self.high is not None:
            line += f" ({_percent(self.low)} to {_percent(self.high)} % in {self.samples} samples)"
        return line


def class_extents(segmentation: Segmentation) -> list[ClassExtent]:
    """The extent of every class of a segmentation."""
    voxel_volume, unit = segmentation.geometry.voxel_volume
    record = segmentation.record
    predicted_voxels = max(1, segmentation.predicted_voxel_count)
    # the spread of masks that were not mended says nothing about one that was
    is_comparable = record.cleanup is None or record.volumes_cleaned
    has_spread = is_comparable and len(segmentation.volumes) >= MIN_SAMPLES_FOR_VARIANCE
    result = []
    for k, info in enumerate(segmentation.classes):
        voxel_count = int(np.count_nonzero(segmentation.mask == info.label))
        sample_fractions = (
            segmentation.volumes[:, k] / voxel_volume / predicted_voxels if has_spread else None
        )
        result.append(
            ClassExtent(
                info.name,
                voxel_count * voxel_volume,
                unit,
                voxel_count / predicted_voxels,
                None if sample_fractions is None else float(sample_fractions.min()),
                None if sample_fractions is None else float(sample_fractions.max()),
                record.samples,
            )
        )
    return result


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g}" if fraction < 0.1 else f"{100 * fraction:.1f}"
