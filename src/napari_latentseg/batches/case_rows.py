"""The table of cases that a batch writes, as rows to show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_latentseg.batches.batch_folder import BatchFolder
from napari_latentseg.batches.table import read_rows
from napari_latentseg.measure import Measurement
from napari_latentseg.measure.spreadsheet_text import escape_formulas

__all__ = ["CaseRow", "read_case_rows", "table_name"]

_SIZE, _LOW, _HIGH = "_size", "_low", "_high"


@dataclass(frozen=True)
class CaseRow:
    """A case of a batch.

    Attributes
    ----------
    case, path, series
        Its name in the table, and where its image is.
    state
        ``"done"``, also where an earlier run did it, or ``"failed"``; empty before it has ended.
    reason
        Why it failed, or what of its result could not be written.
    seconds
        How long it took; None where that is not known.
    result
        The path of the record of its result; empty without one.
    doubtful_slice
        The slice with the highest uncertainty, counted from 1, behind its time point where there is one
        (``"3/17"``); empty for a 2D image.
    sizes
        Areas or volumes of the classes with their intervals.
    fit, expected_dice
        See `napari_latentseg.batches.case.CaseOutcome`; empty and None in tables of earlier versions.
    """

    case: str
    path: str = ""
    series: str = ""
    state: str = ""
    reason: str = ""
    seconds: float | None = None
    result: str = ""
    doubtful_slice: str = ""
    sizes: tuple[Measurement, ...] = ()
    fit: str = ""
    expected_dice: float | None = None


def table_name(case: str) -> str:
    """The name of a case in the table, where no spreadsheet takes it for a formula."""
    return escape_formulas(case)


def read_case_rows(out: Path) -> list[CaseRow]:
    """The rows of the table in a folder of results, in their order; none where there is no table.

    Parameters
    ----------
    out
        The folder of the results.

    Raises
    ------
    BadInput
        If its `cases.tsv` is not a table of cases.
    """
    return [_case_row(out, row) for row in read_rows(BatchFolder(out).table).values()]


def _case_row(out: Path, row: Mapping[str, str]) -> CaseRow:
    sizes = []
    for name in (column.removesuffix(_SIZE) for column in row if column.endswith(_SIZE)):
        value = _number(row[name + _SIZE])
        if value is not None:
            low, high = (_number(row.get(name + kind, "")) for kind in (_LOW, _HIGH))
            sizes.append(Measurement(name, 0, 0, None, value, row["unit"], "", low=low, high=high))
    return CaseRow(
        case=row["case"], path=row["path"], series=row["series"],
        state="done" if row["state"] == "skipped" else row["state"], reason=row["reason"],
        seconds=_number(row["seconds"]), result=str(out / row["result"]) if row["result"] else "",
        doubtful_slice=row["doubtful_slice"], sizes=tuple(sizes),
        fit=row.get("fit", ""), expected_dice=_number(row.get("expected_dice", "")),
    )  # fmt: skip


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
