"""The cases of a list that a person wrote: a table with the columns case, path and perhaps series."""

from __future__ import annotations

import re
from pathlib import Path

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import is_archive_address, parse_address
from napari_latentseg.io.registry import find_reader
from napari_latentseg.io.result_names import check_case_code
from napari_latentseg.utils.paths import is_there, written_path
from napari_latentseg.utils.written_tables import read_table

__all__ = ["listed_cases"]

_REMEDY = "write a table with the columns case,path or case,path,series"
_SERIES_UID = re.compile(r"[0-9a-f]{8}")


def listed_cases(table: Path, scans: Path | None = None) -> list[BatchCase]:
    """The cases of a CSV file, in the order of its rows.

    Parameters
    ----------
    table
        With the headings ``case``, ``path`` and, where it is needed, ``series``; separated by commas,
        semicolons or tabs, as spreadsheets save them.
    scans
        A folder in which paths are looked for that are not found from the folder of the table.

    Returns
    -------
    list of BatchCase
        A path or series that cannot be used is the problem of its case alone.

    Raises
    ------
    BadInput
        If the file cannot be read, has other columns or no rows, or a case has no name that files can have.
    """
    rows = read_table(table, _REMEDY)
    headings = [name.strip().lower() for name in rows[0]] if rows else []
    missing = [name for name in ("case", "path") if name not in headings]
    if missing:
        raise BadInput(table, f"has no column {' and no column '.join(missing)}", _REMEDY)
    repeated = [name for name in ("case", "path", "series") if headings.count(name) > 1]
    if repeated:
        raise BadInput(table, f"has two columns {repeated[0]}", "delete one of them")
    cases: list[BatchCase] = []
    for number, row in enumerate(rows[1:], 2):
        values = dict(zip(headings, (value.strip() for value in row), strict=False))
        if any(values.values()):
            cases.append(_case(table, number, values, scans))
    if not cases:
        raise BadInput(table, "has no rows", _REMEDY)
    return cases


def _case(table: Path, number: int, values: dict[str, str], scans: Path | None) -> BatchCase:
    """The case of one row."""
    name = values.get("case", "")
    try:
        check_case_code(name)
    except BadInput as error:
        raise BadInput(f"{table}, row {number}", f"the case {error.why}", error.remedy) from error
    text, series_text = values.get("path", ""), values.get("series", "")
    is_in_archive = is_archive_address(text)
    path = Path(text) if is_in_archive else table.absolute().parent / written_path(text)
    problem: BadInput | None = None
    if is_in_archive:
        problem = _address_problem(text, f"{table}, row {number}")
    elif not text:
        problem = BadInput(f"{table}, row {number}", f"the case {name} has no path", "write one")
    elif not is_there(path):
        from_scans = scans / text if scans is not None else path
        if is_there(from_scans):
            path = from_scans
        else:
            problem = BadInput(path, "no such file or folder", f"check row {number} of {table.name}")
    if not is_in_archive and problem is None:
        problem = _image_problem(path)
    series: int | str | None = None
    if _SERIES_UID.fullmatch(series_text) or (series_text.isdecimal() and int(series_text) > 0):
        series = int(series_text) if len(series_text) < 8 else series_text
    elif series_text:
        why = f"the series of {name} is {series_text[:20]!r}"
        problem = BadInput(f"{table}, row {number}", why, "write its number from 1, as `info` lists them")
    return BatchCase(name, path, series, is_code=True, problem=problem)


def _image_problem(path: Path) -> BadInput | None:
    """Why no format reads a file or folder; None if one may."""
    try:
        find_reader(path)
    except BadInput as error:
        return error
    return None


def _address_problem(text: str, where: str) -> BadInput | None:
    """Why the address of an archive cannot be used; None if it can."""
    try:
        parse_address(text)
    except BadInput as error:
        return BadInput(where, f"{error.what} {error.why}", error.remedy)
    return None
