"""The table of the cases of a batch: sorted by any column, with the failed ones alone on request."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSortFilterProxyModel, Qt, Signal
from qtpy.QtWidgets import QTableView, QWidget

from napari_latentseg.batches.case_rows import CaseRow
from napari_latentseg.measure import Measurement
from napari_latentseg.widgets._shared.plain_text import plain_text
from napari_latentseg.widgets._shared.text_table import show_as_list

__all__ = ["CaseTable"]

_SORT_ROLE = Qt.ItemDataRole.UserRole
_STATES = {"": "waiting"}
_IMAGE = "Image"
_LAST_COLUMNS = ("Most doubtful slice", "Seconds", "Reason")


class _CaseModel(QAbstractTableModel):
    """The rows, with a column for each class."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[CaseRow] = []
        self._positions: dict[str, int] = {}
        self.classes: list[str] = []
        self.image_names: dict[str, str] = {}

    @property
    def headings(self) -> tuple[str, ...]:
        image = (_IMAGE,) if self.image_names else ()
        return ("Case", *image, "State", *self.classes, *_LAST_COLUMNS)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.headings)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return self.headings[section] if orientation == Qt.Orientation.Horizontal else section + 1

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        row = self.rows[index.row()]
        if self.headings[index.column()] == _IMAGE:
            text = value = self.image_names.get(row.case, "")
        else:
            text, value = _cell(row, self.headings, self.classes, index.column())
        if role == Qt.ItemDataRole.DisplayRole:
            return text
        if role == _SORT_ROLE:
            return value
        if role == Qt.ItemDataRole.ToolTipRole:
            return plain_text(row.reason or text)
        return None

    def set_image_names(self, names: dict[str, str]) -> None:
        """Show the names of the images of cases that are named after a hash; no column without any."""
        if names != self.image_names:
            self.beginResetModel()
            self.image_names = names
            self.endResetModel()

    def set_rows(self, rows: Iterable[CaseRow]) -> None:
        """Replace all rows."""
        self.beginResetModel()
        self.rows = list(rows)
        self._positions = {row.case: i for i, row in enumerate(self.rows)}
        self.classes = list(dict.fromkeys(size.name for row in self.rows for size in row.sizes))
        self.endResetModel()

    def update_rows(self, rows: Iterable[CaseRow]) -> None:
        """Add new rows, and replace those of the same cases."""
        rows = list(rows)
        if any(size.name not in self.classes for row in rows for size in row.sizes):  # a new column
            known = {row.case: row for row in self.rows} | {row.case: row for row in rows}
            self.set_rows(known.values())
            return
        new_rows = [row for row in rows if row.case not in self._positions]
        for row in rows:
            position = self._positions.get(row.case)
            if position is not None:
                self.rows[position] = row
                self.dataChanged.emit(self.index(position, 0), self.index(position, len(self.headings) - 1))
        if new_rows:
            first = len(self.rows)
            self.beginInsertRows(QModelIndex(), first, first + len(new_rows) - 1)
            self.rows.extend(new_rows)
            self._positions |= {row.case: first + i for i, row in enumerate(new_rows)}
            self.endInsertRows()


class _CaseFilter(QSortFilterProxyModel):
    """Sorts by numbers where there are some, and shows the cases of one state alone."""

    def __init__(self, model: _CaseModel, parent: QObject) -> None:
        super().__init__(parent)
        self._model = model
        self._state = ""
        self.setSourceModel(model)
        self.setSortRole(_SORT_ROLE)

    def show_state(self, state: str) -> None:
        """Show the cases of one state; all for an empty text."""
        self._state = state
        self.invalidateFilter()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        return not self._state or self._model.rows[row].state == self._state

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        return bool(left.data(_SORT_ROLE) < right.data(_SORT_ROLE))


class CaseTable(QTableView):
    """The cases with their state, sizes, most doubtful slice, seconds and reason of failure.

    Signals
    -------
    case_chosen
        The `CaseRow` on which the user double-clicked or pressed Enter.
    """

    case_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cases = _CaseModel(self)
        self.filter = _CaseFilter(self.cases, self)
        self.setModel(self.filter)
        show_as_list(self, "Cases")
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # as the cases come
        self.activated.connect(lambda index: self.case_chosen.emit(self._row(index)))
        self.cases.modelReset.connect(self._fit_columns)
        self.cases.rowsInserted.connect(self._widen_columns)
        self.cases.dataChanged.connect(self._widen_columns)

    def _row(self, index: QModelIndex) -> CaseRow:
        return self.cases.rows[self.filter.mapToSource(index).row()]

    @property
    def selected_case(self) -> CaseRow | None:
        """The selected row."""
        index = self.currentIndex()
        return self._row(index) if index.isValid() else None

    def _fit_columns(self) -> None:
        """Fit the columns to the rows on screen; the last takes the space that is left."""
        for column in range(self.cases.columnCount() - 1):
            self.resizeColumnToContents(column)

    def _widen_columns(self, *_: Any) -> None:
        """Make room for the texts of new rows: an interval that is cut off could be read as another one."""
        for column in range(self.cases.columnCount() - 1):
            if self.sizeHintForColumn(column) > self.columnWidth(column):
                self.resizeColumnToContents(column)


def _cell(row: CaseRow, headings: tuple[str, ...], classes: list[str], column: int) -> tuple[str, Any]:
    """The text of a cell, and the value by which it is sorted."""
    heading, first_class = headings[column], headings.index("State") + 1
    if first_class <= column < first_class + len(classes):
        size = next((size for size in row.sizes if size.name == heading), None)
        return ("", -math.inf) if size is None else (_size_text(size), size.value)
    match heading:
        case "Case":
            return row.case, row.case
        case "State":
            return _STATES.get(row.state, row.state), row.state
        case "Most doubtful slice":
            number = row.doubtful_slice
            return number, int(number) if number.isdecimal() else -1
        case "Seconds":
            return ("", -1.0) if row.seconds is None else (f"{row.seconds:.1f}", row.seconds)
    reason = _without_path(row.reason)
    return reason, reason


def _without_path(reason: str) -> str:
    """A reason without the path in front of it, which fills the column; the tooltip has the whole."""
    what, _, why = reason.partition(": ")
    return why if why and ("/" in what or "\\" in what) else reason


def _size_text(size: Measurement) -> str:
    return f"{size.size_text} ({size.range_text})" if size.range_text else size.size_text
