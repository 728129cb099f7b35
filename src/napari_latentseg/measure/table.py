"""Measurements as a pandas table, and as a CSV file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_latentseg.core.percent import percent
from napari_latentseg.errors import BadInput
from napari_latentseg.measure.measurement import INTERVAL_LEVEL, Measurement
from napari_latentseg.measure.spreadsheet_text import escape_formulas, image_key

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_csv_replaceable", "measurement_table", "write_csv"]

_IMAGE_COLUMN = "image"
_CHECK_COLUMN = "table"
"""The last column: a hash of all others, which tells a table that somebody changed."""
_REMEDY = "choose another name, or overwrite it (--overwrite)"


def _centroid(axis: int) -> Callable[[Measurement], float | None]:
    """The coordinate along an axis, counted from the last: -1 is x."""

    def value(row: Measurement) -> float | None:
        return row.centroid[axis] if row.centroid is not None and len(row.centroid) >= -axis else None

    return value


def _intensity(statistic: str) -> Callable[[Measurement], float | None]:
    return lambda row: None if row.intensity is None else float(getattr(row.intensity, statistic))


class _Column(NamedTuple):
    """A column: heading, value of a row, and whether to leave it out if no row has a value."""

    heading: str
    value: Callable[[Measurement], Any]
    is_optional: bool = False


# In the order of the file. The units in the headings are those of the first row.
_COLUMNS = (
    _Column("index", attrgetter("index")),
    _Column("class", attrgetter("name")),
    _Column("label", attrgetter("label")),
    _Column("includes", lambda row: ", ".join(row.includes) or None, is_optional=True),
    _Column("object", attrgetter("object_number")),
    _Column("time", attrgetter("time"), is_optional=True),
    _Column("{size} ({unit})", attrgetter("value")),
    _Column("{size} (ml)", attrgetter("ml"), is_optional=True),
    _Column("mask", attrgetter("mask_state")),
    _Column(
        "model's {size} ({unit})", lambda row: row.model_value if row.is_corrected else None, is_optional=True
    ),
    _Column("mean of samples ({unit})", attrgetter("mean")),
    _Column("std of samples ({unit})", attrgetter("std")),
    _Column("low {level} ({unit})", attrgetter("low")),
    _Column("high {level} ({unit})", attrgetter("high")),
    _Column("interval", attrgetter("interval_source")),
    _Column("interval note", attrgetter("interval_reason")),
    _Column("segmented", lambda row: row.segmented or "all"),
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
    """Measurements as a table, with the units in the headings.

    Parameters
    ----------
    measurements
        Rows of one segmentation, so that all have the same units.

    Returns
    -------
    pandas.DataFrame
        One row for each measurement. The column ``index`` is `Measurement.index`, which napari needs in the
        features of a Labels layer. Missing numbers are NaN, missing text is empty. Columns for time,
        millilitres, centroid and intensity are left out if no row has them. Empty without measurements.
    """
    import pandas as pd  # imported here: it takes 0.3 s, and not every run makes a table

    if not measurements:
        return pd.DataFrame()
    unit = measurements[0].unit
    words = {
        "unit": unit,
        "length": measurements[0].length_unit,
        "size": {"2": "area", "3": "volume"}.get(unit[-1], "size"),
        "level": percent(INTERVAL_LEVEL),
    }
    columns: dict[str, list[Any]] = {}
    for column in _COLUMNS:
        values = [column.value(row) for row in measurements]
        if column.is_optional and all(value is None for value in values):
            continue
        missing = "" if any(isinstance(value, str) for value in values) else math.nan
        columns[column.heading.format(**words)] = [missing if value is None else value for value in values]
    return pd.DataFrame(columns)


def check_csv_replaceable(path: Path, input_sha256: str) -> None:
    """Refuse to replace a file that is not a table of the same image, or that somebody changed.

    Parameters
    ----------
    path
        The file to be written; it need not exist.
    input_sha256
        `RunRecord.input.sha256` of the run.

    Raises
    ------
    BadInput
        If there is such a file, or it cannot be read.
    """
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            headings, *rows = [*csv.reader(file)] or [[]]
    except (OSError, csv.Error) as error:
        raise BadInput(path, "cannot be read as a table", "choose another name") from error
    images = {dict(zip(headings, row, strict=False)).get(_IMAGE_COLUMN) for row in rows}
    if images != {image_key(input_sha256)}:
        raise BadInput(path, "already exists, and is not a table of this image", _REMEDY)
    check = _check([headings[:-1], *(row[:-1] for row in rows)])
    if headings[-1] != _CHECK_COLUMN or any(row[-1] != check for row in rows):
        why = "already exists, and was changed after it was written, or is of an earlier version"
        raise BadInput(path, why, _REMEDY)


def _check(lines: Sequence[Sequence[str]]) -> str:
    """The hash of the cells of a table, headings too; another line ending or quoting does not change it."""
    return image_key(hashlib.sha256(json.dumps(lines).encode()).hexdigest())


def write_csv(path: Path, measurements: Sequence[Measurement], *, input_sha256: str = "") -> None:
    """Write measurements as CSV (RFC 4180, UTF-8), with empty fields for missing values.

    Parameters
    ----------
    path
        The file; an existing one is replaced.
    measurements
        Rows of one segmentation.
    input_sha256
        The hash of the image, for a table that is not a file of a result: two last columns say which image it
        is, and a hash of all the other cells, by which `check_csv_replaceable` knows a table that somebody
        changed. No such columns where empty.
    """
    writer = measurement_table(measurements).drop(columns="index", errors="ignore")
    for heading in ("class", "includes", "interval", "interval note", "segmented"):  # the columns of text
        if heading in writer:
            writer[heading] = [escape_formulas(text) for text in writer[heading]]
    if input_sha256:
        writer[_IMAGE_COLUMN] = image_key(input_sha256)
        writer[_CHECK_COLUMN] = _check(list(csv.reader(io.StringIO(writer.to_csv(index=False)))))
    # opened here, since pandas would compress by the file extension; RFC 4180 ends lines with CR LF
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer.to_csv(file, index=False, lineterminator="\r\n")
