"""A window with a table of the objects of a mask."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QDialog, QTableWidget, QTableWidgetItem, QVBoxLayout

from napari_latentseg.measure.measurement import display_unit, format_value
from napari_latentseg.widgets._shared.plain_text import PlainLabel, show_info
from napari_latentseg.widgets.review.navigate import navigate_to

if TYPE_CHECKING:
    import pandas as pd
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QWidget

    from napari_latentseg.measure import Measurement
    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["ObjectsTable"]

_WIDTH, _HEIGHT = 720, 320  # pixels; half of a laptop's screen


class ObjectsTable(QDialog):
    """The objects of a mask with their measurements; a click on a row shows the object.

    Parameters
    ----------
    table
        From `napari_latentseg.measure.measurement_table`, one row for each object.
    measurements
        The measurements of its rows.
    viewer
        Where a click goes to.
    measured
        The result that was measured.
    parent
        Qt parent.

    Attributes
    ----------
    measured
        As given.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        measurements: Sequence[Measurement],
        viewer: ViewerModel,
        measured: RunResult,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"Objects of {measured.image.name}")
        self.setObjectName("objects")
        self._measurements, self._viewer, self.measured = measurements, viewer, measured
        note = "Click a row to show the object." if len(table) else "The mask is empty: there is no object."
        self.note = PlainLabel(f"{note} Click a heading to sort.")
        self.table = _Table(len(table), len(table.columns))
        self.table.setHorizontalHeaderLabels([_heading(str(column)) for column in table.columns])
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        for row, values in enumerate(table.itertuples(index=False)):
            for column, value in enumerate(values):
                self.table.setItem(row, column, _Cell(value, row))
        self.table.resizeColumnsToContents()
        self.table.sortItems(0, Qt.SortOrder.AscendingOrder)  # the largest object of each class first
        self.table.setSortingEnabled(True)
        self.table.cellClicked.connect(self._go_to)
        layout = QVBoxLayout(self)
        layout.addWidget(self.note)
        layout.addWidget(self.table, 1)
        self.resize(_WIDTH, _HEIGHT)

    def _go_to(self, row: int, column: int) -> None:
        item = self.table.item(row, column)
        box = self._measurements[item.number].box if isinstance(item, _Cell) else None
        image = self.measured.image
        if self.measured.has_other_data:
            show_info(f"{image.name} has changed since its objects were measured.")
        elif box is not None and image in self._viewer.layers:
            index = tuple((start + stop - 1) // 2 for start, stop in box[:-2])
            navigate_to(self._viewer, image, index, box)


class _Table(QTableWidget):
    """A table in which going to a row with the keys is a click on it."""

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        before = self.currentRow()
        super().keyPressEvent(event)
        if self.currentRow() != before:
            self.cellClicked.emit(self.currentRow(), self.currentColumn())


class _Cell(QTableWidgetItem):
    """A value of the table, which sorts by its number, if it has one; `number` is the row before sorting."""

    def __init__(self, value: Any, number: int) -> None:
        super().__init__(_cell_text(value))
        self.value, self.number = value, number

    def __lt__(self, other: QTableWidgetItem) -> bool:
        if isinstance(other, _Cell) and not isinstance(self.value, str):
            return bool(_sort_key(self.value) < _sort_key(other.value))
        return super().__lt__(other)


def _sort_key(value: Any) -> Any:
    """A number to sort by: what was not measured is less than all, and not equal to any."""
    return -math.inf if isinstance(value, float) and math.isnan(value) else value


def _heading(column: str) -> str:
    """A heading of the table of measurements, with units as they are written on the screen."""
    if column == "index":
        return "#"
    return re.sub(r"\((\w+)\)", lambda match: f"({display_unit(match[1])})", column)


def _cell_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return "" if math.isnan(value) else format_value(value)
    return str(value)
