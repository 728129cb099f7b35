"""Tables whose rows are read, selected as a whole, and left with Tab."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableView,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_latentseg.widgets._shared.plain_text import plain_text

__all__ = ["TextTable", "show_as_list"]

_ROW_MARGIN = 8  # pixels, above and below a text together


def show_as_list(table: QTableView, name: str) -> None:
    """Make a table a list of rows.

    Parameters
    ----------
    table
        Has its model already.
    name
        What screen readers call it.
    """
    table.setAccessibleName(name)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setTabKeyNavigation(False)  # Tab leaves the table
    table.setWordWrap(False)
    vertical, horizontal = table.verticalHeader(), table.horizontalHeader()
    if vertical is not None and horizontal is not None:
        vertical.hide()
        vertical.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        vertical.setDefaultSectionSize(table.fontMetrics().height() + _ROW_MARGIN)
        horizontal.setStretchLastSection(True)


class TextTable(QTableWidget):
    """Rows of text that are read, selected as a whole, and left with Tab."""

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        show_as_list(self, name)

    def show_texts(
        self, headings: Sequence[str], rows: Sequence[Sequence[str]], tooltips: Sequence[str]
    ) -> None:
        """Replace all rows."""
        self.clear()
        self.setColumnCount(len(headings))
        self.setHorizontalHeaderLabels(headings)
        self.setRowCount(len(rows))
        for i, (row, tooltip) in enumerate(zip(rows, tooltips, strict=True)):
            for j, text in enumerate(row):
                item = QTableWidgetItem(text)
                item.setToolTip(plain_text(tooltip))
                self.setItem(i, j, item)
        self.resizeColumnsToContents()
