"""The table of a list of cases, those to look at first on top; filtered by text and state."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSortFilterProxyModel, Qt, Signal
from qtpy.QtWidgets import QTableView, QWidget

from napari_latentseg.caselist.decisions import STATES
from napari_latentseg.caselist.listed_case import ListedCase
from napari_latentseg.widgets._shared.plain_text import plain_text
from napari_latentseg.widgets._shared.text_table import show_as_list

__all__ = ["CaseListTable"]

_SORT_ROLE = Qt.ItemDataRole.UserRole
_COLUMNS = {
    "Case": "The name of the case",
    "State": "new, segmented, in review, approved, rejected or second reading",
    "Doubt": "From 0 to 1. For a calibrated model: 1 minus the expected Dice. Otherwise: the width of the"
    " 90 % interval of the size, relative to the size",
    "Reader": "The last reader who worked on it",
    "Size": "Size of the model's mask, with its 90 % interval",
    "Fit": "Whether the model was made for the image",
    "Minutes": "Time that readers have spent",
    "Rating": "1 (unusable) to 4 (no change needed)",
    "Comment": "The latest comment of any reader",
}
_FIT_TEXTS = {"fits": "fits", "unusual": "unusual", "foreign": "does not fit"}
_MARGIN = 12  # pixels, on both sides of a text
_MAX_COLUMN_WIDTH = 130  # pixels, so that a long name leaves room for state and doubt


class _ListModel(QAbstractTableModel):
    """The rows, those to look at first on top."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.rows: list[ListedCase] = []

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if orientation == Qt.Orientation.Vertical:
            return section + 1 if role == Qt.ItemDataRole.DisplayRole else None
        if role == Qt.ItemDataRole.DisplayRole:
            return list(_COLUMNS)[section]
        return list(_COLUMNS.values())[section] if role == Qt.ItemDataRole.ToolTipRole else None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return _cell(row, index.column())[0]
        if role == _SORT_ROLE:
            return _cell(row, index.column())[1]
        if role == Qt.ItemDataRole.ToolTipRole:
            return plain_text(row.problem or _cell(row, index.column())[0])
        return None

    def set_rows(self, rows: Iterable[ListedCase]) -> None:
        """Replace all rows."""
        self.beginResetModel()
        self.rows = list(rows)
        self.endResetModel()


class _ListFilter(QSortFilterProxyModel):
    """Shows the cases of one state whose name, reader or comment holds a text."""

    def __init__(self, model: _ListModel, parent: QObject) -> None:
        super().__init__(parent)
        self._model = model
        self.text, self.state = "", ""
        self.setSourceModel(model)
        self.setSortRole(_SORT_ROLE)

    def show_only(self, text: str, state: str) -> None:
        """Show the cases that hold a text, and are in a state; all of them for empty ones."""
        self.text, self.state = text.strip().lower(), state
        self.invalidateFilter()

    def filterAcceptsRow(self, row: int, parent: QModelIndex) -> bool:
        case = self._model.rows[row]
        if self.state == "undecided":
            if case.is_decided:
                return False
        elif self.state and case.state != self.state:
            return False
        return not self.text or any(
            self.text in part.lower() for part in (case.name, *case.readers, case.comment)
        )

    def lessThan(self, left: QModelIndex, right: QModelIndex) -> bool:
        return bool(left.data(_SORT_ROLE) < right.data(_SORT_ROLE))


class CaseListTable(QTableView):
    """The cases of a list.

    Signals
    -------
    case_chosen
        The `ListedCase` on which the reader pressed Enter or double-clicked.
    """

    case_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.cases = _ListModel(self)
        self.filter = _ListFilter(self.cases, self)
        self.setModel(self.filter)
        show_as_list(self, "Cases")
        self.setSortingEnabled(True)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)  # as the list comes
        self.activated.connect(lambda index: self.case_chosen.emit(self._row(index)))

    def show_rows(self, rows: Iterable[ListedCase]) -> None:
        """Show other rows; the selected case stays selected."""
        selected, is_first = self.selected_case, not self.cases.rows
        self.cases.set_rows(rows)
        if is_first:
            self._fit_columns()
        self.select(selected.name if selected is not None else "")

    def select(self, name: str) -> None:
        """Select a case; the first where it is not shown."""
        row = next((i for i, shown in enumerate(self.shown_names()) if shown == name), 0)
        if self.filter.rowCount():
            self.setCurrentIndex(self.filter.index(row, 0))

    def shown_names(self) -> list[str]:
        """The names of the cases that are shown, from the first to the last."""
        return [
            self.cases.rows[self.filter.mapToSource(self.filter.index(row, 0)).row()].name
            for row in range(self.filter.rowCount())
        ]

    @property
    def selected_case(self) -> ListedCase | None:
        """The selected row."""
        index = self.currentIndex()
        return self._row(index) if index.isValid() else None

    def _row(self, index: QModelIndex) -> ListedCase:
        return self.cases.rows[self.filter.mapToSource(index).row()]

    def _fit_columns(self) -> None:
        """Fit the columns to the rows on screen; the last takes the space that is left."""
        for column in range(self.cases.columnCount() - 1):
            self.resizeColumnToContents(column)
            self.setColumnWidth(column, min(self.columnWidth(column), _MAX_COLUMN_WIDTH))
        longest_state = self.fontMetrics().horizontalAdvance(max(STATES, key=len))
        self.setColumnWidth(list(_COLUMNS).index("State"), longest_state + _MARGIN)


def _cell(row: ListedCase, column: int) -> tuple[str, Any]:
    """The text of a cell, and the value by which it is sorted."""
    match list(_COLUMNS)[column]:
        case "Case":
            return row.name, row.name
        case "State":
            return row.state, row.state
        case "Doubt":
            return row.describe_doubt(), -1.0 if row.doubt is None else row.doubt
        case "Reader":
            return row.reader, row.reader
        case "Size":
            return row.describe_sizes(), row.sizes[0].value if row.sizes else -math.inf
        case "Fit":
            return _FIT_TEXTS.get(row.fit, ""), row.fit
        case "Minutes":
            return (f"{row.seconds / 60:.1f}" if row.seconds else ""), row.seconds
        case "Rating":
            return str(row.rating or ""), row.rating or 0
    text = row.problem or row.comment
    return text, text
