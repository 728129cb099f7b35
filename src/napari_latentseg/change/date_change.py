"""All classes of two results of one patient, and what is to be known about their change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.change.registration import Registration
from napari_latentseg.change.size_change import SizeChange, change_of_class
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.measure.interval_basis import CalibratedCard
from napari_latentseg.measure.measure_segmentation import measure
from napari_latentseg.measure.measurement import INTERVAL_LEVEL, Measurement

__all__ = ["CHANGE_CONVENTIONS", "DateChange", "PlacedMask", "change_between", "check_comparable"]

CHANGE_CONVENTIONS = {
    "change": "size at the second date less that at the first, each measured on the grid of its own image",
    "percent": "the change, and the limits of its interval, in % of the size at the first date",
    "interval": "90 % interval of the change, from the 90 % intervals of both sizes, whose errors are taken"
    " to be independent: centre to centre, half widths added as squares (MOVER, Zou & Donner 2008)",
    "doubt": "a change is larger than the measurement uncertainty where its interval leaves out 0: where"
    " nothing has changed, at most about 1 in 10 classes is called changed if the intervals are calibrated",
    "diameter": "longest diameter of the whole class; it has no interval",
}
"""The definition of each figure."""

_PIXEL_NOTE = (
    "Sizes are in pixels, since the images do not state a spacing: they can be compared only if both have the"
    " same magnification."
)


@dataclass(frozen=True, eq=False)
class PlacedMask:
    """The mask of one date on the grid of the other, to be looked at.

    Attributes
    ----------
    labels
        With the labels of the other date; uint8, in the shape of its mask. None where it is not known how the
        two images lie.
    basis
        How it came there, or why it did not, in words.
    registration
        Of the images; None where none was needed.
    """

    labels: NDArray[np.uint8] | None
    basis: str
    registration: Registration | None = None


@dataclass(frozen=True, eq=False)
class DateChange:
    """Two results of one patient, compared; immutable.

    Attributes
    ----------
    changes
        The change of each class.
    classes
        The classes of the first result.
    models
        Names and versions of the models of both dates.
    placed_mask
        The mask of the second date on the grid of the first.
    notes
        What is to be known, in sentences.

    Examples
    --------
    >>> from napari_latentseg import compare_dates, segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> scans = [ultrasound_phantom(shape=(96, 128), seed=seed).scan for seed in (0, 1)]
    >>> compared = compare_dates(*(segment(scan, "breast-ultrasound", samples=3) for scan in scans))
    >>> [change.name for change in compared.changes], compared.models[0] == compared.models[1]
    (['lesion'], True)
    """

    changes: tuple[SizeChange, ...]
    classes: tuple[ClassInfo, ...]
    models: tuple[str, str]
    placed_mask: PlacedMask
    notes: tuple[str, ...] = ()

    @property
    def conventions(self) -> dict[str, str]:
        """The definition of each figure."""
        return CHANGE_CONVENTIONS

    def figures(self) -> dict[str, Any]:
        """All figures without masks, as JSON can hold them."""
        registration = self.placed_mask.registration
        return {
            "classes": [_figures_of(change) for change in self.changes],
            "models": list(self.models),
            "level": INTERVAL_LEVEL,
            "outlines": {
                "shown_together": self.placed_mask.labels is not None,
                "basis": self.placed_mask.basis,
                "correlation": None if registration is None else registration.correlation,
                "overlap": None if registration is None else registration.overlap,
            },
            "notes": list(self.notes),
            "conventions": self.conventions,
        }


def check_comparable(first: Segmentation, second: Segmentation) -> None:
    """Refuse two results whose change says nothing, before anything is measured.

    Raises
    ------
    BadInput
        If their classes differ, both are of one image, or one is a time series.
    """
    if any("t" in result.axes for result in (first, second)):
        raise BadInput("results", "one is a time series", "give results of single points in time")
    names = [[info.name for info in result.classes] for result in (first, second)]
    if set(names[0]) != set(names[1]):
        raise BadInput(
            "results",
            f"have classes that do not match ({', '.join(names[0])}; {', '.join(names[1])})",
            "give two results of one model",
        )
    if first.record.input.sha256 == second.record.input.sha256:
        raise BadInput("results", "both are of the same image", "give results of two dates")


def change_between(
    first: Segmentation,
    second: Segmentation,
    cards: tuple[CalibratedCard | None, CalibratedCard | None],
    placed_mask: PlacedMask,
    notes: Sequence[str] = (),
) -> DateChange:
    """Measure both results, and the change of each class.

    Parameters
    ----------
    first, second
        The results, see `check_comparable`.
    cards
        Of their models; None where they are not known.
    placed_mask
        The mask of one date on the grid of the other.
    notes
        What else is to be known.

    Raises
    ------
    BadInput
        As `check_comparable`, and if only one of them has a physical size.
    """
    check_comparable(first, second)
    measured = [
        {row.name: row for row in measure(result, objects=False, card=card)}
        for result, card in zip((first, second), cards, strict=True)
    ]
    shared = [name for name in measured[0] if name in measured[1]]
    changes = tuple(change_of_class(measured[0][name], measured[1][name]) for name in shared)
    models = tuple(f"{r.record.model.name} {r.record.model.version}" for r in (first, second))
    return DateChange(
        changes,
        tuple(first.mask_classes),
        (models[0], models[1]),
        placed_mask,
        (*_notes(measured, models, shared), *notes),
    )


def _notes(
    measured: Sequence[dict[str, Measurement]], models: Sequence[str], shared: Sequence[str]
) -> list[str]:
    notes = []
    if models[0] != models[1]:
        notes.append(
            f"Two models were compared, {models[0]} and {models[1]}:"
            " a part of the difference may come from the models."
        )
    for number, (rows, other) in enumerate(zip(measured, reversed(measured), strict=True)):
        date = ("first", "second")[number]
        if missing := [name for name in rows if name not in other]:
            notes.append(f"Only found at the {date} date, so not compared: {', '.join(missing)}.")
        if changed := [name for name in shared if rows[name].is_corrected]:
            notes.append(f"At the {date} date the mask was changed by a person: {', '.join(changed)}.")
        if parts := {row.segmented for row in rows.values() if row.segmented}:
            notes.append(f"At the {date} date only {', '.join(sorted(parts))} were segmented.")
    if any(rows[name].unit == "pixel" for rows in measured for name in shared):
        notes.append(_PIXEL_NOTE)
    return notes


def _figures_of(change: SizeChange) -> dict[str, Any]:
    def of_date(row: Measurement) -> dict[str, Any]:
        keys = (
            "value",
            "low",
            "high",
            "interval_source",
            "long_axis",
            "short_axis",
            "mask_state",
            "segmented",
        )
        record = asdict(row)
        return {key: record[key] for key in keys}

    return {
        "name": change.name,
        "unit": change.unit,
        "length_unit": change.first.length_unit,
        "first": of_date(change.first),
        "second": of_date(change.second),
        "change": change.difference,
        "low": change.low,
        "high": change.high,
        "percent": change.percent,
        "percent_low": change.percent_low,
        "percent_high": change.percent_high,
        "interval_is": change.interval_source,
        "interval_reason": change.interval_reason,
        "exceeds_doubt": change.exceeds_doubt,
        "verdict": change.verdict,
        "longest_change": change.long_axis_difference,
    }
