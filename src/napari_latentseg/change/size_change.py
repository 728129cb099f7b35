"""The change of a class between two dates, with the interval of the change."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from napari_latentseg.core.percent import percent
from napari_latentseg.core.units import conversion
from napari_latentseg.errors import BadInput
from napari_latentseg.measure.measurement import (
    CALIBRATED,
    FROM_SAMPLES,
    INTERVAL_LEVEL,
    Measurement,
    display_unit,
    format_value,
)

__all__ = ["LARGER", "UNKNOWN", "WITHIN", "SizeChange", "change_of_class", "difference_interval"]

LARGER = "larger than the measurement uncertainty"
WITHIN = "within the measurement uncertainty"
UNKNOWN = "measurement uncertainty not known"

_CORRECTED_REASON = "a person has changed the mask, and the uncertainty of a drawn mask is not known"
_PART_REASON = "only a part was segmented ({})"


@dataclass(frozen=True)
class SizeChange:
    """The change of one class between two dates.

    Attributes
    ----------
    name
        The class.
    first, second
        Its measurement at the first and the second date, in the unit of the first.
    difference
        Size at the second date less that at the first, in `unit`.
    low, high
        Interval of 90 % of the change, in `unit`; it holds `difference`. None where one of the two sizes has
        no interval.
    interval_source
        ``"calibrated"`` where both sizes have a calibrated interval, else ``"samples"``; empty without one.
    interval_reason
        Why it is not calibrated, or why there is none; empty if it is calibrated.

    Examples
    --------
    >>> from napari_latentseg.change.size_change import change_of_class
    >>> def size(value, low, high):
    ...     interval = {"samples": 5, "low": low, "high": high, "interval_source": "calibrated"}
    ...     return Measurement("lesion", 1, 0, None, value, "mm3", "mm", **interval)
    >>> change = change_of_class(size(1000.0, 900.0, 1100.0), size(1300.0, 1150.0, 1450.0))
    >>> change.difference, round(change.low), round(change.high), change.verdict
    (300.0, 120, 480, 'larger than the measurement uncertainty')
    >>> change.percent
    30.0
    """

    name: str
    first: Measurement
    second: Measurement
    difference: float
    low: float | None = None
    high: float | None = None
    interval_source: str = ""
    interval_reason: str = ""

    @property
    def unit(self) -> str:
        """Of the sizes and their change: ``"mm3"``, ``"mm2"``, ``"pixel"``."""
        return self.first.unit

    @property
    def percent(self) -> float | None:
        """The change in % of the size at the first date; None where that is 0."""
        return self._percent_of_first(self.difference)

    @property
    def percent_low(self) -> float | None:
        """`low` in % of the size at the first date."""
        return None if self.low is None else self._percent_of_first(self.low)

    @property
    def percent_high(self) -> float | None:
        """`high` in % of the size at the first date."""
        return None if self.high is None else self._percent_of_first(self.high)

    @property
    def exceeds_doubt(self) -> bool | None:
        """Whether the interval of the change leaves out 0; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0

    @property
    def verdict(self) -> str:
        """`exceeds_doubt` in words."""
        return {True: LARGER, False: WITHIN, None: UNKNOWN}[self.exceeds_doubt]

    @property
    def long_axis_difference(self) -> float | None:
        """Change of the longest diameter, in `Measurement.length_unit`; None where it was not measured."""
        if self.first.long_axis is None or self.second.long_axis is None:
            return None
        return self.second.long_axis - self.first.long_axis

    @property
    def difference_text(self) -> str:
        """``+0.28 ml``."""
        return f"{self._signed(self.difference)} {self._scale[1]}"

    @property
    def percent_text(self) -> str:
        """``+18 %``; empty where nothing was found at the first date."""
        return "" if self.percent is None else f"{_signed_percent(self.percent)} %"

    @property
    def interval_text(self) -> str:
        """``+0.05 to +0.51 ml``; empty without an interval."""
        if self.low is None or self.high is None:
            return ""
        return f"{self._signed(self.low)} to {self._signed(self.high)} {self._scale[1]}"

    @property
    def percent_interval_text(self) -> str:
        """``+3 to +34 %``; empty without an interval, and where nothing was found at the first date."""
        if self.percent_low is None or self.percent_high is None:
            return ""
        return f"{_signed_percent(self.percent_low)} to {_signed_percent(self.percent_high)} %"

    @property
    def basis_text(self) -> str:
        """What the interval rests on, in a few words."""
        if self.interval_source == CALIBRATED:
            return "both intervals calibrated"
        if self.interval_source == FROM_SAMPLES:
            return f"not calibrated: {self.interval_reason}"
        return f"no interval: {self.interval_reason}"

    @property
    def long_axis_text(self) -> str:
        """``21.4 to 23.0 mm, +1.6 mm``; empty where it was not measured."""
        change = self.long_axis_difference
        if change is None or self.first.long_axis is None or self.second.long_axis is None:
            return ""
        unit = display_unit(self.first.length_unit)
        ends = f"{format_value(self.first.long_axis)} to {format_value(self.second.long_axis)} {unit}"
        return f"{ends}, {_signed(format_value(abs(change)), change)} {unit}"

    def format_size(self, value: float) -> str:
        """A size in `unit`, in the same unit for both dates: ``1.52 ml``."""
        return f"{self._number(value)} {self._scale[1]}"

    def describe(self) -> str:
        """One line for people."""
        ends = f"{self.format_size(self.first.value)} to {self.format_size(self.second.value)}"
        line = f"{self.first.title_with_parts}: {ends}, {self.difference_text}"
        if self.percent_text:
            line += f", {self.percent_text}"
        if self.interval_text:
            line += f" ({percent(INTERVAL_LEVEL)}: {self.interval_text}; {self.basis_text})"
        else:
            line += f" ({self.basis_text})"
        return f"{line}: {self.verdict}"

    @property
    def _scale(self) -> tuple[float, str]:
        """Factor and unit in which both sizes are shown: those of the larger one."""
        larger = max(self.first, self.second, key=lambda row: max(row.value, row.high or 0.0))
        return larger.display_scale

    def _number(self, value: float) -> str:
        factor, unit = self._scale
        return f"{value:.0f}" if unit == "pixels" else format_value(value * factor)

    def _signed(self, value: float) -> str:
        return _signed(self._number(abs(value)), value)

    def _percent_of_first(self, value: float) -> float | None:
        return 100 * value / self.first.value if self.first.value else None


def difference_interval(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    """Interval of the difference of two sizes, from an interval of the same level of each.

    The variance of each size is recovered from the limits of its interval, as in MOVER [1]_: with a centre m
    and limits l and u, the lower limit of the difference is
    ``m2 - m1 - sqrt((m2 - l2)**2 + (u1 - m1)**2)``, the upper one accordingly. The estimate m is the centre
    of the interval and not the size of the mask, which is off to one side where a model usually finds too
    little or too much: both dates are off to the same side, which is no change.

    The errors of both sizes are taken to be independent. Errors of one model on one patient are partly
    alike, so that fewer than 1 in 10 unchanged sizes will be called changed (docs/benchmarks.md).

    Parameters
    ----------
    first, second
        Lower and upper limit of each size.

    Returns
    -------
    low, high : float
        Of the second size less the first.

    References
    ----------
    .. [1] Zou & Donner, "Construction of confidence limits about effect measures: a general approach",
       Statistics in Medicine 27, 2008, eq. 3, for independent estimates.

    Examples
    --------
    >>> [round(end, 2) for end in difference_interval((90.0, 110.0), (100.0, 140.0))]
    [-2.36, 42.36]
    """
    centres = [(low + high) / 2 for low, high in (first, second)]
    half_widths = [(high - low) / 2 for low, high in (first, second)]
    difference, half_width = centres[1] - centres[0], math.hypot(*half_widths)
    return difference - half_width, difference + half_width


def change_of_class(first: Measurement, second: Measurement) -> SizeChange:
    """The change of a class between two dates.

    Parameters
    ----------
    first, second
        The class as measured at each date.

    Raises
    ------
    BadInput
        If one is a volume and the other an area, or only one has a physical size.
    """
    second = _in_unit_of(second, first)
    difference = second.value - first.value
    change = SizeChange(first.name, first, second, difference)
    missing = [_why_no_interval(row) for row in (first, second)]
    if any(missing):
        return replace(change, interval_reason=_by_date(missing))
    limits = difference_interval(_interval(first), _interval(second))
    reasons = [_why_not_calibrated(row) for row in (first, second)]
    return replace(
        change,
        low=min(limits[0], difference),
        high=max(limits[1], difference),
        interval_source=FROM_SAMPLES if any(reasons) else CALIBRATED,
        interval_reason=_by_date(reasons),
    )


def _in_unit_of(row: Measurement, other: Measurement) -> Measurement:
    if row.unit == other.unit and row.length_unit == other.length_unit:
        return row
    power = 1 if other.unit == "pixel" else int(other.unit[-1])
    if row.unit == "pixel" or other.unit == "pixel" or row.unit[-1] != other.unit[-1]:
        raise BadInput(
            "results",
            f"give sizes in {display_unit(other.unit)} and in {display_unit(row.unit)}",
            "segment both images with their spacing, and the same kind of image",
        )
    factor = conversion(row.unit[:-1], other.unit[:-1])
    lengths = conversion(row.length_unit or row.unit[:-1], other.length_unit or other.unit[:-1])
    assert factor is not None  # both are units of length
    assert lengths is not None
    size = factor**power

    def scaled(value: float | None, by: float) -> float | None:
        return None if value is None else value * by

    return replace(
        row, value=row.value * size, unit=other.unit, length_unit=other.length_unit,
        model_value=scaled(row.model_value, size), mean=scaled(row.mean, size), std=scaled(row.std, size),
        low=scaled(row.low, size), high=scaled(row.high, size),
        long_axis=scaled(row.long_axis, lengths), short_axis=scaled(row.short_axis, lengths),
    )  # fmt: skip


def _interval(row: Measurement) -> tuple[float, float]:
    """The interval of a size, which holds the size: that of a mask that a person has changed, too."""
    assert row.low is not None
    assert row.high is not None
    return min(row.low, row.value), max(row.high, row.value)


def _why_no_interval(row: Measurement) -> str:
    if row.segmented:  # what is outside may have changed as well
        return _PART_REASON.format(row.segmented)
    return "" if row.low is not None and row.high is not None else row.interval_reason or "no samples"


def _why_not_calibrated(row: Measurement) -> str:
    if row.is_corrected:
        return _CORRECTED_REASON
    return "" if row.interval_source == CALIBRATED else row.interval_reason or "the model was not calibrated"


def _by_date(reasons: list[str]) -> str:
    """The reasons of both dates in one line."""
    if reasons[0] == reasons[1]:
        return reasons[0]
    dates = ("first date", "second date")
    return "; ".join(f"{date}: {reason}" for date, reason in zip(dates, reasons, strict=True) if reason)


def _signed(number: str, value: float) -> str:
    if not any(digit in number for digit in "123456789"):
        return number
    return f"{'+' if value > 0 else '-'}{number}"


def _signed_percent(value: float) -> str:
    size = abs(value)
    return _signed(f"{size:.0f}" if size >= 10 else f"{size:.1f}", value)
