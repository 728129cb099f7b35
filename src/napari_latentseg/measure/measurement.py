"""One row of the table of measurements: a class, or one of its objects."""

from __future__ import annotations

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
        line = f"{self.title}: {size}{where}"
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
        origin = (
            CALIBRATED if self.interval_source == CALIBRATED else f"of {count_text(self.samples, 'sample')}"
        )
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
    """A number with three digits, and all of those before the point: ``1.52``, ``23.1``, ``1520``, ``0``."""
    magnitude = abs(value)
    if magnitude < 5e-5:
        return "0"
    # the limits are powers of ten less the rounding: 9.996 is shown as 10.0
    digits = next(
        (d for d, lower_limit in enumerate((99.95, 9.995, 0.9995, 0.09995)) if magnitude >= lower_limit), 4
    )
    return f"{value:.{digits}f}"


def display_unit(unit: str) -> str:
    """A unit as it is shown: ``mm²``, ``µm``, ``pixels``."""
    if unit == "pixel":
        return "pixels"
    return unit.replace("um", "µm").replace("2", "²").replace("3", "³")
