"""Measurements as columns, and as a CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_latentseg.measure.measurement import LEVEL, Measurement

__all__ = ["table_of", "write_csv"]

_NONE = math.nan
_AXES = "zyx"
# what a spreadsheet would take for a formula, were a class called so
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def table_of(measurements: Sequence[Measurement]) -> dict[str, list[Any]]:
    """Measurements as columns of equal length, with their units in the headings.

    Parameters
    ----------
    measurements
        Of one segmentation, so that all have the same units.

    Returns
    -------
    dict
        Numbers and text by heading, as the features of a Labels layer take them: ``index`` comes first, and
        is the label for a class as a whole (see `Measurement.index`). What is not known is NaN, or an empty
        text. Columns of time, of millilitres and of the image's values are there where they say something.
    """
    if not measurements:
        return {}
    first = measurements[0]
    unit, length = first.unit, first.length_unit
    kind = {"2": "area", "3": "volume"}.get(unit[-1], "size")
    level = f"{LEVEL:.0%}".replace("%", " %")
    columns: dict[str, list[Any]] = {
        "index": [m.index for m in measurements],
        "class": [m.name for m in measurements],
        "label": [m.label for m in measurements],
        "object": [m.object for m in measurements],
    }
    if any(m.time is not None for m in measurements):
        columns["time"] = [_NONE if m.time is None else m.time for m in measurements]
    columns[f"{kind} ({unit})"] = [m.value for m in measurements]
    if first.ml is not None:
        columns[f"{kind} (ml)"] = [_number(m.ml) for m in measurements]
    columns |= {
        f"mean of samples ({unit})": [_number(m.mean) for m in measurements],
        f"std of samples ({unit})": [_number(m.std) for m in measurements],
        f"low {level} ({unit})": [_number(m.low) for m in measurements],
        f"high {level} ({unit})": [_number(m.high) for m in measurements],
        "interval": [m.interval_is for m in measurements],
        "samples": [m.samples for m in measurements],
        "mean probability": [_number(m.probability) for m in measurements],
    }
    axes = max((len(m.centroid) for m in measurements if m.centroid is not None), default=0)
    for place, axis in enumerate(_AXES[len(_AXES) - axes :]):
        values = [None if m.centroid is None else m.centroid[place] for m in measurements]
        columns[f"centroid {axis} ({length})"] = [_number(v) for v in values]
    columns[f"longest diameter ({length})"] = [_number(m.longest) for m in measurements]
    columns[f"across it ({length})"] = [_number(m.across) for m in measurements]
    if any(m.intensity is not None for m in measurements):
        for name in ("mean", "std", "least", "most"):
            values = [None if m.intensity is None else getattr(m.intensity, name) for m in measurements]
            columns[f"intensity {name}"] = [_number(v) for v in values]
    return columns


def write_csv(path: Path, measurements: Sequence[Measurement]) -> None:
    """Write `table_of` as CSV: a line a row, empty where something is not known.

    Parameters
    ----------
    path
        The file to be.
    measurements
        Of one segmentation.
    """
    columns = table_of(measurements)
    columns.pop("index", None)
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(_cell(name) for name in columns)
        for row in zip(*columns.values(), strict=True):
            table.writerow(_cell(value) for value in row)


def _number(value: float | None) -> float:
    return _NONE if value is None else value


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if isinstance(value, float) and math.isnan(value) else value
