"""Area or volume of each class and its fraction of the scan, as one line of text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation
from napari_latentseg.measure.measurement import display_unit

__all__ = ["ClassExtent", "class_extents"]


@dataclass(frozen=True)
class ClassExtent:
    """Area or volume of one class, and its fraction of the scan.

    Attributes
    ----------
    name
        Name of the class.
    value, unit
        Area or volume of the mask, in ``"mm2"``, ``"mm3"`` (or another unit of length), or in voxels
        (``"pixel"``).
    fraction
        Fraction of the voxels of all segmented planes, in [0, 1].
    low, high
        Smallest and largest fraction over the samples; None with fewer than three samples, or if the samples
        had no post-processing and the mask had.
    samples
        Number of samples.
    """

    name: str
    value: float
    unit: str
    fraction: float
    low: float | None
    high: float | None
    samples: int

    def describe(self) -> str:
        """One line for the user: ``lesion: 1.2 %, 340 mm² (1.0 to 1.4 % in 5 samples)``."""
        line = f"{self.name}: {_percent(self.fraction)} %"
        if self.unit != "pixel":
            line += f", {self.value:.4g} {display_unit(self.unit)}"
        if self.low is not None and self.high is not None:
            line += f" ({_percent(self.low)} to {_percent(self.high)} % in {self.samples} samples)"
        return line


def class_extents(segmentation: Segmentation) -> list[ClassExtent]:
    """Extent of every class of a segmentation, in the order of its classes."""
    voxel_volume, unit = segmentation.geometry.voxel_volume
    record = segmentation.record
    predicted_voxels = max(1, segmentation.predicted_voxel_count)
    # samples without post-processing do not give the spread of a mask with it
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
