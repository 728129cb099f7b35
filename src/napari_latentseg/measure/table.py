"""Measurements as a table, and as a CSV file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_latentseg.measure.measurement import INTERVAL_LEVEL, Measurement

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["measurement_table", "write_csv"]

# what a spreadsheet would take for a formula, were a class called so
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")


def _centroid(axis: int) -> Callable[[Measurement], float | None]:
    """The coordinate along an axis, counted from the last one: -1 is x."""

    def value(row: Measurement) -> float | None:
        return row.centroid[axis] if row.centroid is not None and len(row.centroid) >= -axis else None

    return value


def _intensity(statistic: str) -> Callable[[Measurement], float | None]:
    return lambda row: None if row.intensity is None else float(getattr(row.intensity, statistic))


class _Column(NamedTuple):
    """One column: its heading, the value of a row, and whether it is left out where no row has a value."""

    heading: str
    value: Callable[[Measurement], Any]
    is_optional: bool = False


# The order of the columns in the file. Headings are filled in with the units of the first row.
_COLUMNS = (
    _Column("index", attrgetter("index")),
    _Column("class", attrgetter("name")),
    _Column("label", attrgetter("label")),
    _Column("object", attrgetter("object_number")),
    _Column("time", attrgetter("time"), is_optional=True),
    _Column("{size} ({unit})", attrgetter("value")),
    _Column("{size} (ml)", attrgetter("ml"), is_optional=True),
    _Column("mean of samples ({unit})", attrgetter("mean")),
    _Column("std of samples ({unit})", attrgetter("std")),
    _Column("low {level} ({unit})", attrgetter("low")),
    _Column("high {level} ({unit})", attrgetter("high")),
    _Column("interval", attrgetter("interval_source")),
    _Column("samples", attrgetter("samples")),
    _Column("mean probability", attrgetter("probability")),
    _Column("centroid z ({length})", _centroid(-3), is_optional=True),
    _Column("centroid y ({length})", _centroid(-2), is_optional=True),
    _Column("centroid x ({length})", _centroid(-1), is_optional=True),
    _Column("longest diameter ({length})", attrgetter("long_axis")),
    _Column("short axis ({length})", attrgetter("short_axis")),
    _Column("intensity mean", _intensity("mean"), is_optional=True),
    _Column("intensity std", _intensity("std"), is_optional=True),
    _Column("intensity min", _intensity("minimum"), is_optional=True),
    _Column("intensity max", _intensity("maximum"), is_optional=True),
)


def measurement_table(measurements: Sequence[Measurement]) -> pd.DataFrame:
    """Measurements as a table, a row for each, with their units in the headings.

    Parameters
    ----------
    measurements
        Of one segmentation, so that all have the same units.

    Returns
    -------
    pandas.DataFrame
        Numbers and text by heading, as the features of a Labels layer take them: ``index`` comes first, and
        is the label for a class as a whole (see `Measurement.index`). What is not known is NaN, or an empty
        text. Columns of time, of millilitres, of the centroid and of the image's values are there where they
        say something. Without measurements it is empty.
    """
    import pandas as pd  # here, since it takes a third of a second, and a run without a table needs none

    if not measurements:
        return pd.DataFrame()
    unit = measurements[0].unit
    words = {
        "unit": unit,
        "length": measurements[0].length_unit,
        "size": {"2": "area", "3": "volume"}.get(unit[-1], "size"),
        "level": f"{INTERVAL_LEVEL:.0%}".replace("%", " %"),
    }
    columns: dict[str, list[Any]] = {}
    for column in _COLUMNS:
        values = [column.value(row) for row in measurements]
        if column.is_optional and all(value is None for value in values):
            continue
        columns[column.heading.format(**words)] = [math.nan if v is None else v for v in values]
    return pd.DataFrame(columns)


def write_csv(path: Path, measurements: Sequence[Measurement]) -> None:
    """Write `measurement_table` as CSV: a line a row, empty where something is not known.

    Parameters
    ----------
    path
        The file to be.
    measurements
        Of one segmentation.
    """
    writer = measurement_table(measurements).drop(columns="index", errors="ignore")
    for heading in ("class", "interval"):  # the columns of text
        if heading in writer:
            writer[heading] = [_no_formula(text) for text in writer[heading]]
    # Opened here, for pandas would compress by the name's ending. Lines end as RFC 4180 has it.
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer.to_csv(file, index=False, lineterminator="\r\n")


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_PREFIXES) else text
