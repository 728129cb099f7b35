"""The change between two dates as rows of a table, and what it means in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from napari_latentseg.change.date_change import DateChange
from napari_latentseg.change.size_change import SizeChange
from napari_latentseg.core.percent import percent
from napari_latentseg.measure.measurement import INTERVAL_LEVEL, Measurement
from napari_latentseg.measure.spreadsheet_text import escape_formulas
from napari_latentseg.report.evaluation_text import Cell

__all__ = ["CHANGE_HEAD", "change_csv", "change_rows", "change_texts"]

_LEVEL = percent(INTERVAL_LEVEL)

CHANGE_HEAD = ("", "First date", "Second date", "Change", "In %", f"{_LEVEL} interval of the change", "")
"""The head of `change_rows`."""


def change_rows(change: DateChange) -> list[list[str | Cell]]:
    """A row for each class: its sizes, their change, the interval and the verdict."""
    rows = []
    for i, row in enumerate(change.changes):
        key = f"classes.{i}"
        interval = "; ".join(filter(None, (row.interval_text, row.percent_interval_text)))
        rows.append(
            [
                row.first.title_with_parts,
                _size_text(row, row.first),
                _size_text(row, row.second),
                row.difference_text,
                Cell(f"{key}.percent", row.percent_text) if row.percent_text else "",
                interval or "-",
                row.verdict,
            ]
        )
    return rows


def change_texts(change: DateChange) -> list[str]:
    """What the figures rest on, and what is to be known."""
    texts = []
    for text, names in _grouped((row.basis_text, row.name) for row in change.changes):
        texts.append(f"{', '.join(names)}: {text}.")
    for row in change.changes:
        if row.long_axis_text:
            texts.append(f"{row.name}, longest diameter: {row.long_axis_text} (it has no interval).")
    return [*texts, *change.notes]


def _size_text(change: SizeChange, row: Measurement) -> str:
    text = change.format_size(row.value)
    if row.low is not None and row.high is not None:
        ends = (change.format_size(end) for end in (row.low, row.high))
        text += f" ({' to '.join(ends)})"
    return f"{text} in {row.segmented}" if row.segmented else text


def _grouped(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, Sequence[str]]]:
    groups: dict[str, list[str]] = {}
    for text, name in pairs:
        groups.setdefault(text, []).append(name)
    return list(groups.items())


def change_csv(change: DateChange) -> str:
    """The figures of each class as CSV, with a header line; empty cells for what is not known."""
    stream = io.StringIO()
    columns = (
        "class", "unit", "first", "first_low", "first_high", "second", "second_low", "second_high", "change",
        "low", "high", "percent", "percent_low", "percent_high", "interval_is", "interval_reason", "verdict",
        "first_longest", "second_longest", "length_unit",
    )  # fmt: skip
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in change.changes:
        writer.writerow(
            [
                escape_formulas(row.name), row.unit, row.first.value, row.first.low, row.first.high,
                row.second.value, row.second.low, row.second.high, row.difference, row.low, row.high,
                row.percent, row.percent_low, row.percent_high, row.interval_source,
                escape_formulas(row.interval_reason), row.verdict, row.first.long_axis, row.second.long_axis,
                row.first.length_unit,
            ]
        )  # fmt: skip
    return stream.getvalue()
