"""One row of a table: a class as a whole, or one of its objects."""

from __future__ import annotations

from dataclasses import dataclass

from napari_latentseg.core.units import MM_PER_UNIT

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
"""How much of what is possible an interval is to hold."""

CALIBRATED, FROM_SAMPLES = "calibrated", "samples"

_MM3_PER_ML = 1000.0  # mm3
_MIN_DISPLAY_ML = 0.1  # below this, mm3 are easier to read
_MAX_OBJECTS_PER_CLASS = 100_000


@dataclass(frozen=True)
class Intensity:
    """The image's values inside: mean, standard deviation, least and most, as the image has them."""

    mean: float
    std: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Measurement:
    """How large a class or an object is, how sure that is, and where and how bright it is.

    Attributes
    ----------
    name, label
        Of the class.
    object_number
        1 for the largest object of its class, 2 for the next; 0 for the class as a whole.
    time
        Which point in time, from 0; None where the scan has no such axis.
    value, unit
        Area or volume of the mask, in ``"mm2"``, ``"mm3"`` (or another unit of length), or in elements
        (``"pixel"``).
    samples
        How many the next five come from; 0 where there are none to tell.
    mean, std
        Of the samples' areas or volumes, `std` with n - 1; None where there are fewer than three samples.
        The share of a sample that belongs to an object is what of its class lies in the object, or nearer to
        it than to any other.
    low, high
        The interval of 90 %, in `unit`; None where there are fewer than three samples.
    interval_source
        ``"calibrated"``: it held the volume of the reference as often as it says, on images that were kept
        apart for that. ``"samples"``: nine of ten further samples would lie in it (Student's prediction
        interval); how far all of them may be from the truth, it cannot tell. Empty without an interval.
    probability
        Mean of the mean probability inside, in [0, 1]; None where the mask holds nothing.
    centroid
        Mean position of the elements in the world, in the order of the array's axes without time: of the
        patient, in mm, where the frame is LPS.
    long_axis, short_axis
        The longest diameter and the longest at a right angle to it, in `length_unit`, of the convex hull; see
        `napari_latentseg.measure.diameters`.
    length_unit
        ``"mm"``, another unit of length, or ``"pixel"``.
    box
        First element and one past the last along every axis of the array.
    intensity
        Where an image was given.
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

    @property
    def index(self) -> int:
        """A number of its own: the label for a class as a whole, and none that a mask holds for an object."""
        return self.label * _MAX_OBJECTS_PER_CLASS + self.object_number if self.object_number else self.label

    @property
    def title(self) -> str:
        """What to call it: ``"lesion"``, ``"lesion 2"``, ``"lesion 2, time 4"`` (which counts from 1)."""
        name = f"{self.name} {self.object_number}" if self.object_number else self.name
        return name if self.time is None else f"{name}, time {self.time + 1}"

    @property
    def ml(self) -> float | None:
        """The volume in millilitres; None for areas, and where there is no unit of length."""
        if not self.unit.endswith("3") or self.unit[:-1] not in MM_PER_UNIT:
            return None
        return self.value * MM_PER_UNIT[self.unit[:-1]] ** 3 / _MM3_PER_ML

    def describe(self) -> str:
        """In one line, for people: ``anterior: 1.52 ml (90 %: 1.44 to 1.61, calibrated)``."""
        line = f"{self.title}: {self.size_text}"
        if interval := self.interval_text:
            line += f" ({interval})"
        if self.object_number and self.long_axis is not None and self.short_axis is not None:
            unit = display_unit(self.length_unit)
            line += f", {format_value(self.long_axis)} × {format_value(self.short_axis)} {unit}"
        return line

    @property
    def size_text(self) -> str:
        """The area or volume with its unit, in three digits."""
        factor, unit = self._display_scale
        return f"{format_value(self.value * factor)} {unit}"

    @property
    def interval_text(self) -> str:
        """``90 %: 1.44 to 1.61, calibrated`` in the unit of `size_text`; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        factor, _ = self._display_scale
        origin = CALIBRATED if self.interval_source == CALIBRATED else f"of {self.samples} samples"
        low, high = (format_value(bound * factor) for bound in (self.low, self.high))
        return f"{INTERVAL_LEVEL:.0%}: {low} to {high}, {origin}".replace("%", " %")

    @property
    def _display_scale(self) -> tuple[float, str]:
        """What `value` is multiplied by to be shown, and the unit that it then has."""
        ml = self.ml
        if ml is not None and max(ml, (self.high or 0.0) * self._ml_per_unit) >= _MIN_DISPLAY_ML:
            return self._ml_per_unit, "ml"
        return 1.0, display_unit(self.unit)

    @property
    def _ml_per_unit(self) -> float:
        return MM_PER_UNIT[self.unit[:-1]] ** 3 / _MM3_PER_ML


def format_value(value: float) -> str:
    """Three digits, but never fewer than there are before the point: ``1.52``, ``23.1``, ``1520``, ``0``."""
    magnitude = abs(value)
    if magnitude < 5e-5:
        return "0"
    digits = next(
        (d for d, lower_limit in enumerate((99.95, 9.995, 0.9995, 0.09995)) if magnitude >= lower_limit), 4
    )
    return f"{value:.{digits}f}"


def display_unit(unit: str) -> str:
    """A unit as people write it: ``mm²``, ``µm``, ``pixels``."""
    if unit == "pixel":
        return "pixels"
    return unit.replace("um", "µm").replace("2", "²").replace("3", "³")
