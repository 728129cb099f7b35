"""How much of a scan each class covers, in one line for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_latentseg.measure.measurement import plain_unit
from napari_latentseg.segmentation import MINIMUM_FOR_VARIANCE, Segmentation

__all__ = ["Extent", "extents"]


@dataclass(frozen=True)
class Extent:
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

    def text(self) -> str:
        """In one line, for people."""
        line = f"{self.name}: {_percent(self.fraction)} %"
        if self.unit != "pixel":
            line += f", {self.value:.4g} {plain_unit(self.unit)}"
        if self.low is not None and self.high is not None:
            line += f" ({_percent(self.low)} to {_percent(self.high)} % in {self.samples} samples)"
        return line


def extents(found: Segmentation) -> list[Extent]:
    """The extent of every class of a segmentation."""
    size, unit = found.geometry.element_size
    record = found.record
    total = max(1, found.elements_done)
    # the spread of masks that were not mended says nothing about one that was
    alike = record.cleanup is None or record.volumes_cleaned
    spread = alike and len(found.volumes) >= MINIMUM_FOR_VARIANCE
    result = []
    for k, info in enumerate(found.classes):
        count = int(np.count_nonzero(found.mask == info.label))
        samples = found.volumes[:, k] / size / total if spread else None
        result.append(
            Extent(
                info.name,
                count * size,
                unit,
                count / total,
                None if samples is None else float(samples.min()),
                None if samples is None else float(samples.max()),
                record.samples,
            )
        )
    return result


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2g}" if fraction < 0.1 else f"{100 * fraction:.1f}"
