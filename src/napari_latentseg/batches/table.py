"""The table of a batch: one row a case, complete at any moment for whoever reads it."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from napari_latentseg.batches.batch_folder import BatchFolder
from napari_latentseg.batches.case import BatchCase, CaseOutcome
from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import is_archive_address, parse_address
from napari_latentseg.measure.spreadsheet_text import escape_formulas
from napari_latentseg.utils.path_lock import path_lock
from napari_latentseg.utils.written_tables import read_table

__all__ = ["COLUMNS", "BatchTable", "read_rows"]

COLUMNS = ("case", "path", "series", "state", "reason", "seconds", "result", "doubtful_slice", "unit")
"""The columns that every table has; each class has three more, NAME_size, NAME_low and NAME_high."""

_LATER_COLUMNS = ("fit", "expected_dice")  # missing in tables of earlier versions

_SIZES = ("size", "low", "high")
# The table is written as a whole: at most this share of the time goes into it, whatever its length.
_MAX_SHARE_OF_TIME = 0.05
_MERGE_EVERY_S = 10.0  # the parts of a batch share a lock for it, perhaps over a network

Row = Mapping[str, str]


class BatchTable:
    """Grows as cases end.

    Parameters
    ----------
    folder
        The folder of the batch, which is in use by this process.
    cases
        Of this part.
    class_names
        Of the model, in the order of the columns.
    has_paths
        Whether the table names the files, which may be called after patients.
    """

    def __init__(
        self,
        folder: BatchFolder,
        cases: Iterable[BatchCase],
        class_names: Sequence[str],
        *,
        has_paths: bool = True,
    ) -> None:
        self._folder, self._has_paths = folder, has_paths
        self._cases = {case.name: case for case in cases}
        sizes = [f"{name}_{kind}" for name in class_names for kind in _SIZES]
        self._columns = [*COLUMNS[:-1], *sizes, *_LATER_COLUMNS, COLUMNS[-1]]
        # rows of an earlier run stay until their cases end in this one
        earlier = read_rows(folder.table) | read_rows(folder.part_table)
        own = {escape_formulas(name) for name in self._cases}
        self._rows: dict[str, Row] = {
            name: row for name, row in earlier.items() if folder.parts == 1 or name in own
        }
        self._due_at = 0.0
        self._merge_due_at = time.monotonic() + _MERGE_EVERY_S

    def add(self, outcome: CaseOutcome) -> None:
        """Add or replace the row of a case, and write the table if it is time for that.

        Raises
        ------
        BadInput
            If the table cannot be written; the old one is whole.
        """
        row = self._row(outcome)
        self._rows.pop(row["case"], None)
        self._rows[row["case"]] = row
        if time.monotonic() >= self._due_at:
            self._write(is_last=False)

    def close(self) -> None:
        """Write what is not written yet."""
        self._write(is_last=True)

    def _row(self, outcome: CaseOutcome) -> Row:
        case = self._cases[outcome.case]
        row = dict.fromkeys(self._columns, "")
        row |= {
            "case": outcome.case,
            "path": _path_text(case.path) if self._has_paths else "",
            "series": "" if case.series is None else str(case.series),
            "state": outcome.state,
            "reason": outcome.reason,
            "seconds": f"{outcome.seconds:.2f}",
            "result": outcome.result,
            "doubtful_slice": outcome.doubtful_slice,
            "fit": outcome.fit,
            "expected_dice": "" if outcome.expected_dice is None else f"{outcome.expected_dice:.3f}",
            "unit": outcome.sizes[0].unit if outcome.sizes else "",
        }
        for size in outcome.sizes:
            for kind in _SIZES:
                value = getattr(size, kind)
                row[f"{size.name}_{kind}"] = "" if value is None else f"{value:.9g}"
        return {name: escape_formulas(_one_line(text)) for name, text in row.items()}

    def _write(self, *, is_last: bool) -> None:
        started_at = time.monotonic()
        if self._folder.parts == 1:
            self._folder.replace(self._folder.table, self._text(self._rows))
            if not self._folder.part_table.exists():  # says that the folder holds a batch
                self._folder.replace(self._folder.part_table, self._text({}))
        else:
            self._folder.replace(self._folder.part_table, self._text(self._rows))
            if is_last or started_at >= self._merge_due_at:
                try:
                    self._merge()
                except BadInput:  # another part holds the lock for long: the next time will do
                    if is_last:
                        raise
                self._merge_due_at = time.monotonic() + _MERGE_EVERY_S
        ended_at = time.monotonic()
        self._due_at = ended_at + (ended_at - started_at) / _MAX_SHARE_OF_TIME

    def _merge(self) -> None:
        """Put the tables of the parts into the one of all cases."""
        try:
            with path_lock(self._folder.table_lock(), self._folder.table, keeps_file=True):
                rows = read_rows(self._folder.table)
                for table in self._folder.part_tables:
                    rows |= read_rows(table)
                self._folder.replace(self._folder.table, self._text(dict(sorted(rows.items()))))
        except OSError as error:
            raise BadInput(
                self._folder.table, f"cannot be locked ({error.strerror})", "choose another folder"
            ) from error

    def _text(self, rows: Mapping[str, Row]) -> str:
        """The table as text; columns of classes that an earlier run had stay."""
        further = dict.fromkeys(name for row in rows.values() for name in row if name not in self._columns)
        columns = [*self._columns[:-1], *further, self._columns[-1]]
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, delimiter="\t", lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows.values())
        return text.getvalue()


def read_rows(path: Path) -> dict[str, Row]:
    """The rows of a table of cases by the name of the case; none where there is no such table.

    Raises
    ------
    BadInput
        If the file is not a table of cases.
    """
    if not path.exists():
        return {}
    headings, *rows = read_table(path, "choose another folder") or [[]]
    if not set(COLUMNS) <= set(headings):
        raise BadInput(path, "is not a table of cases", "rename it, or choose another folder")
    found: dict[str, Row] = {}
    for values in rows:
        if any(values):
            row = dict.fromkeys(headings, "") | dict(zip(headings, values, strict=False))
            found[row["case"]] = {name: value for name, value in row.items() if name}
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split()) if any(mark in text for mark in "\t\r\n") else text


def _path_text(path: Path) -> str:
    """A path, or the address of an archive as a person writes it; empty for one that holds a password."""
    if not is_archive_address(path):
        return str(path)
    try:
        return parse_address(path).text
    except BadInput:
        return ""
