"""One row of the table of measurements: a class, or one of its objects."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_latentseg.core.percent import percent
from napari_latentseg.core.record import MaskState
from napari_latentseg.core.units import MM_PER_UNIT
from napari_latentseg.utils.counts import count_text

__all__ = [
    "CALIBRATED",
    "FROM_SAMPLES",
    "INTERVAL_LEVEL",
    "Intensity",
    "Measurement",
    "display_unit",
    "format_value",
]

INTERVAL_LEVEL = 0.9
"""Level of the intervals of sizes: 90 %."""

CALIBRATED, FROM_SAMPLES = "calibrated", "samples"

_MM3_PER_ML = 1000.0  # mm3
_MIN_DISPLAY_ML = 0.1  # below this, mm3 are easier to read
_ROUNDING_ERROR = 1e-12  # what a difference of two equal sizes may be
_MIN_FIXED_POINT = 1e-6  # more zeros after the point are not counted at a glance
_SMALL = 0.09995  # smaller numbers end where their digits end: 0.05, and not 0.0500
_MAX_OBJECTS_PER_CLASS = 100_000  # so that `Measurement.index` is unique


@dataclass(frozen=True)
class Intensity:
    """Mean, standard deviation, minimum and maximum of the image in a region, in the units of the image."""

    mean: float
    std: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Measurement:
    """Size, position and intensity of a class or an object, and the uncertainty of its size.

    Attributes
    ----------
    name, label
        Name of the class, and its value in the label map.
    object_number
        1 for the largest object of its class, 2 for the next; 0 for the class as a whole.
    time
        Index of the time point, from 0; None without a time axis.
    value, unit
        Area or volume of the mask, in ``"mm2"``, ``"mm3"`` (or another unit of length), or in voxels
        (``"pixel"``).
    samples
        Number of samples behind the next five; 0 with fewer than three samples.
    mean, std
        Mean and standard deviation (n - 1) of the area or volume over the samples; None without samples. Of a
        sample, an object gets the voxels of its class inside it, or nearer to it than to any other object.
    low, high
        Interval of 90 %, in `unit`, see `napari_latentseg.measure.size_interval`; it holds the value of the
        model's mask. None without samples.
    interval_source
        ``"calibrated"``: on validation images, such an interval contained the volume of the reference in 90 %
        of the cases. ``"samples"``: it contains nine of ten further samples; how far all samples are from the
        truth, it cannot tell. ``""`` without an interval.
    probability
        Mean of the mean probability inside, in [0, 1]; None if the mask is empty.
    centroid
        Mean position of the voxels in world coordinates, in array order without time; in the patient (mm,
        LPS) if the scan has that frame. None if the mask is empty.
    long_axis, short_axis
        Longest diameter, and longest diameter perpendicular to it, of the convex hull, in `length_unit`; see
        `napari_latentseg.measure.diameters`. None if the mask is empty.
    length_unit
        ``"mm"``, another unit of length, or ``"pixel"``.
    box
        Bounding box: first index and one past the last, along every axis of the array.
    intensity
        Intensities inside; None without an image.
    mask_state
        Whose mask `value` is of, see `napari_latentseg.core.record.MaskState`.
    interval_reason
        Why the interval is not calibrated, or why there is none; empty if it is calibrated.
    fraction
        Fraction of the voxels that were segmented, in [0, 1]; None for objects and for points in time.
    segmented
        What was segmented where that is not everything, such as ``"29 of 40 slices"``: the size is that in
        this part alone.
    model_value
        Area or volume of the class in the model's mask, which differs from `value` where a person has
        corrected the mask; None for objects, and for classes that the model does not have.
    includes
        Names of the classes that are parts of this one, as a tumour of its organ; all numbers count their
        voxels, too.

    Examples
    --------
    >>> from napari_latentseg import segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> result = segment(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound", samples=3)
    >>> from napari_latentseg.measure import measure
    >>> measure(result, objects=False)[0].unit
    'mm2'
    """

    name: str
    label: int
    object_number: int
    time: int | None
    value: float
    unit: str
    length_unit: str
    samples: int = 0
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    high: float | None = None
    interval_source: str = ""
    probability: float | None = None
    centroid: tuple[float, ...] | None = None
    long_axis: float | None = None
    short_axis: float | None = None
    box: tuple[tuple[int, int], ...] | None = None
    intensity: Intensity | None = None
    mask_state: MaskState = "model"
    interval_reason: str = ""
    fraction: float | None = None
    segmented: str = ""
    model_value: float | None = None
    includes: tuple[str, ...] = ()

    @property
    def index(self) -> int:
        """A unique number: the label of a class; for an object a number larger than any label."""
        return self.label * _MAX_OBJECTS_PER_CLASS + self.object_number if self.object_number else self.label

    @property
    def title(self) -> str:
        """Name to show: ``"lesion"``, ``"lesion 2"``, ``"lesion 2, time 4"`` (counted from 1)."""
        name = f"{self.name} {self.object_number}" if self.object_number else self.name
        return name if self.time is None else f"{name}, time {self.time + 1}"

    @property
    def title_with_parts(self) -> str:
        """`title`, and the parts that are counted: ``"liver with tumour"``."""
        return f"{self.title} with {', '.join(self.includes)}" if self.includes else self.title

    @property
    def ml(self) -> float | None:
        """Volume in millilitres; None for areas, and without a unit of length."""
        if not self.unit.endswith("3") or self.unit[:-1] not in MM_PER_UNIT:
            return None
        return self.value * MM_PER_UNIT[self.unit[:-1]] ** 3 / _MM3_PER_ML

    def describe(self) -> str:
        """One line for people: ``lesion: 1.5 ml, 0.56 % of the image (90 %: 1.4 to 1.6, calibrated)``.

        Where a person has changed the mask: ``lesion: model 1.5 ml, yours 1.6 ml (model's 90 %: ...)``.
        """
        where = f" in {self.segmented}" if self.segmented else ""
        size = self.size_text if self.value else "nothing found"
        if self.is_corrected and self.model_value is not None:
            size = f"model {self.format_size(self.model_value)}, yours {self.size_text}"
        line = f"{self.title_with_parts}: {size}{where}"
        if self.fraction is not None and self.value:
            line += f", {_percent(self.fraction)} of {'that' if self.segmented else 'the image'}"
        if interval := self.interval_text:
            line += f" ({interval})"
        if self.object_number and self.long_axis is not None and self.short_axis is not None:
            unit = display_unit(self.length_unit)
            line += f", {format_value(self.long_axis)} × {format_value(self.short_axis)} {unit}"
        return line

    @property
    def is_corrected(self) -> bool:
        """Whether `value` is of a mask that a person has changed, and `model_value` of the model's own."""
        if self.model_value is None:
            return False
        return self.mask_state == "corrected" or self.value != self.model_value

    @property
    def size_text(self) -> str:
        """Area or volume with its unit, with three digits: ``1.52 ml``, ``703 pixels``."""
        return self.format_size(self.value)

    def format_size(self, value: float) -> str:
        """An area or volume in `unit` as `size_text` shows one, such as `model_value`."""
        number, unit = self._format_number(value), self.display_scale[1]
        return f"{number} pixel" if (number, unit) == ("1", "pixels") else f"{number} {unit}"

    @property
    def interval_text(self) -> str:
        """``90 %: 1.44 to 1.61, calibrated`` in the unit of `size_text`; empty without an interval."""
        if self.low is None or self.high is None:
            return ""
        samples = count_text(self.samples, "sample")
        if self.interval_source != CALIBRATED and not (self.value or self.high):
            return f"in none of {samples}"
        origin = CALIBRATED if self.interval_source == CALIBRATED else f"of {samples}"
        # nothing found: the line has no other number that would have the unit
        unit = "" if self.value else f" {self.display_scale[1]}"
        level = percent(INTERVAL_LEVEL)
        whose = "model's " if self.is_corrected else ""
        return f"{whose}{level}: {self.range_text}{unit}, {origin}"

    @property
    def range_text(self) -> str:
        """``1.44 to 1.61`` in the unit of `size_text`; empty without an interval."""
        if self.low is None or self.high is None:
            return ""
        return f"{self._format_number(self.low)} to {self._format_number(self.high)}"

    def _format_number(self, value: float) -> str:
        factor, unit = self.display_scale
        return f"{value:.0f}" if unit == "pixels" else format_value(value * factor)

    @property
    def display_scale(self) -> tuple[float, str]:
        """Factor and unit in which `value` is shown: ml for volumes that are not tiny."""
        ml = self.ml
        if ml is not None and max(ml, (self.high or 0.0) * self._ml_per_unit) >= _MIN_DISPLAY_ML:
            return self._ml_per_unit, "ml"
        return 1.0, display_unit(self.unit)

    @property
    def _ml_per_unit(self) -> float:
        return MM_PER_UNIT[self.unit[:-1]] ** 3 / _MM3_PER_ML


def _percent(fraction: float) -> str:
    """A fraction in [0, 1] with two digits or more: ``0.56 %``, ``19.1 %``."""
    percent = 100 * fraction
    return f"{percent:.1f} %" if percent >= 10 else f"{percent:.2g} %"


def format_value(value: float) -> str:
    """A number with three digits, and all of those before the point: ``1.52``, ``23.1``, ``1520``, ``0``.

    Examples
    --------
    >>> [format_value(value) for value in (1520.4, 23.08, 9.996, 0.00152, 4.2e-5, 1.234e-7, 0)]
    ['1520', '23.1', '10.0', '0.00152', '0.000042', '1.23e-07', '0']
    """
    magnitude = abs(value)
    if magnitude < _ROUNDING_ERROR:
        return "0"
    if magnitude < _MIN_FIXED_POINT:
        return f"{value:.3g}"
    rounded = float(f"{magnitude:.3g}")  # 9.996 is shown as 10.0
    decimals = max(0, 2 - math.floor(math.log10(rounded)))
    text = f"{value:.{decimals}f}"
    return text if magnitude >= _SMALL else text.rstrip("0")


def display_unit(unit: str) -> str:
    """A unit as it is shown: ``mm²``, ``µm``, ``pixels``."""
    if unit == "pixel":
        return "pixels"
    return unit.replace("um", "µm").replace("2", "²").replace("3", "³")
