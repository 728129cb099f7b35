"""A table that grows over cases: a CSV file, one row for each class of a run and on request each object."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from napari_latentseg.core.percent import percent
from napari_latentseg.core.record import RunRecord
from napari_latentseg.errors import BadInput
from napari_latentseg.measure.measurement import INTERVAL_LEVEL, Measurement
from napari_latentseg.measure.spreadsheet_text import escape_formulas, image_key
from napari_latentseg.utils.atomic import atomic_path, check_writable_folder, ensure_writable_folder
from napari_latentseg.utils.path_lock import path_lock

__all__ = ["CASE_COLUMNS", "append_to_table", "check_case_table", "is_case_table"]

_LEVEL = percent(INTERVAL_LEVEL)
CASE_COLUMNS = (
    "case", "image", "model", "version", "run", "mask", "class", "label", "object", "time", "segmented",
    "size", "unit", "ml", "mean of samples", "std of samples", f"low {_LEVEL}", f"high {_LEVEL}", "interval",
    "samples", "threshold", "complete",
)  # fmt: skip
"""The headings of the table. A unit is a column, since the cases may differ in it.

"object" is empty in the row of a whole class, and 1, 2, 3 in those of its objects, the largest first.
"""

_CASE, _IMAGE, _OBJECT = (CASE_COLUMNS.index(name) for name in ("case", "image", "object"))
# of one run; the time alone is not enough, since records of earlier versions have it in seconds
_KEY = tuple(CASE_COLUMNS.index(name) for name in ("case", "image", "model", "version", "run"))
# tables of earlier versions had whole classes alone, and no column for objects
_EARLIER_COLUMNS = tuple(name for name in CASE_COLUMNS if name != "object")
_ENCODING = "utf-8-sig"  # Excel takes UTF-8 without the mark for another encoding


def check_case_table(path: Path, case: str = "", input_sha256: str = "") -> None:
    """Refuse a file that is not a table of cases, or that has this case with another image.

    Parameters
    ----------
    path
        The table; it need not exist.
    case, input_sha256
        The case, and the hash of its image; not compared where empty.

    Raises
    ------
    BadInput
        If the file cannot be read or written, has other columns, or has a row of this case with another
        image.
    """
    if path.suffix.lower() != ".csv":
        raise BadInput(path, "is not a file name for a table", "use the extension .csv")
    check_writable_folder(path.absolute().parent)
    rows = _read_rows(path)
    if case and input_sha256:
        _check_same_image(path, rows, case, input_sha256)


def is_case_table(path: Path) -> bool:
    """Whether a file is a table of cases, which a table of one result must not replace."""
    try:
        return path.is_file() and bool(_read_rows(path))
    except BadInput:
        return False


def append_to_table(
    path: Path,
    record: RunRecord,
    measurements: Sequence[Measurement],
    case: str,
    *,
    objects: bool = False,
    overwrite: bool = False,
) -> Path:
    """Add the classes of a result to a table of cases; what the table has of the same run is replaced.

    A table of an earlier version, without the column of objects, gets that column.

    Parameters
    ----------
    path
        A CSV file; made where it does not exist.
    record
        The record of the run.
    measurements
        From `napari_latentseg.measure.measure`.
    case
        The code of the case.
    objects
        Also add a row for each object that was measured.
    overwrite
        Replace rows of this case that are of another image.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        As `check_case_table`. The table is as it was then.
    """
    path = Path(path)
    check_case_table(path)
    folder = ensure_writable_folder(path.absolute().parent)
    try:
        with path_lock(folder / f".{path.name}.lock", path):
            rows = _read_rows(path)
            if not overwrite:
                _check_same_image(path, rows, case, record.input.sha256)
            image, name = image_key(record.input.sha256), escape_formulas(case)
            model = escape_formulas(record.model.name), escape_formulas(record.model.version)
            key = [name, image, *model, record.time]
            kept = [row for row in rows if [row[k] for k in _KEY] != key]
            if overwrite:
                kept = [row for row in kept if row[_CASE] != name or row[_IMAGE] == image]
            new = [_row(record, m, name) for m in measurements if objects or not m.object_number]
            with (
                atomic_path(path) as temporary,
                temporary.open("w", encoding=_ENCODING, newline="") as file,
            ):
                csv.writer(file).writerows([CASE_COLUMNS, *kept, *new])
    except OSError as error:
        raise BadInput(
            path, f"cannot be written ({error.strerror})", "close it in other programs, or choose another"
        ) from error
    return path


def _read_rows(path: Path) -> list[list[str]]:
    """The rows without the headings; none where there is no file."""
    if not path.exists():
        return []
    try:
        with path.open(encoding=_ENCODING, newline="") as file:
            headings, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(path, "cannot be read as a table of cases", "choose another file") from error
    rows = [row for row in rows if row]
    has_objects = tuple(headings) == CASE_COLUMNS
    is_table = has_objects or tuple(headings) == _EARLIER_COLUMNS
    if not is_table or any(len(row) != len(headings) for row in rows):
        raise BadInput(
            path, "already exists, and has other columns than a table of cases", "choose another file"
        )
    return rows if has_objects else [[*row[:_OBJECT], "", *row[_OBJECT:]] for row in rows]


def _check_same_image(path: Path, rows: Sequence[Sequence[str]], case: str, input_sha256: str) -> None:
    name, image = escape_formulas(case), image_key(input_sha256)
    if any(row[_CASE] == name and row[_IMAGE] != image for row in rows):
        raise BadInput(
            path,
            f"has the case {case!r} with another image",
            "choose another case code, or overwrite it (--overwrite)",
        )


def _row(record: RunRecord, row: Measurement, case: str) -> list[str]:
    numbers = (row.mean, row.std, row.low, row.high)
    return [
        case,
        image_key(record.input.sha256),
        escape_formulas(record.model.name),
        escape_formulas(record.model.version),
        record.time,
        row.mask_state,
        escape_formulas(row.name),
        str(row.label),
        str(row.object_number or ""),
        "" if row.time is None else str(row.time + 1),
        row.segmented or "all",
        _number(row.value),
        row.unit,
        _number(row.ml),
        *(_number(value) for value in numbers),
        row.interval_source,
        str(record.samples),
        _number(record.threshold),
        "yes" if record.complete else "no",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"
