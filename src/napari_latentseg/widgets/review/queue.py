"""The review queue as a table: regions in the order of their uncertainty, with their review status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QSize, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView, QWidget

from napari_latentseg.review import MEASURES
from napari_latentseg.widgets._shared.text import SLICE_NUMBER_NOTE

if TYPE_CHECKING:
    from napari_latentseg.review import Finding

__all__ = ["REVIEW_MARKS", "QueueView"]

REVIEW_MARKS = {"": "new", "seen": "seen", "approved": "approved", "corrected": "corrected"}
"""Status of a region -> text in the table."""

_COLUMNS = ("#", "status", "slice", "class", "reason", "score")
_STATUS_COLUMN, _SLICE_COLUMN, _CLASS_COLUMN = 1, 2, 3
_COLUMN_TOOLTIPS = {
    "status": "new, seen, corrected (its slice differs from the model's mask), or approved",
    "slice": SLICE_NUMBER_NOTE,
    "reason": "What is uncertain: presence (whether the class is there at all), boundary (where its edge is)"
    " or volume (how large it is)",
    "score": "Uncertainty by the measure chosen under Sort by",
}
_APPROVED_COLOR = "#2fa35b"  # readable on the dark and the light theme

_SWATCH_SIZE = 9  # pixels: the colour of a class whose name is cut
_MIN_HEIGHT = 120  # pixels: four rows, so that all controls fit in a 768 pixel high window


class _QueueModel(QAbstractTableModel):
    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.findings: Sequence[Finding] = ()
        self.marks: dict[Any, str] = {}
        self.colors: Mapping[str, str] = {}

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return len(self.findings)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return len(_COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _COLUMNS[section]
        if role == Qt.ItemDataRole.ToolTipRole and orientation == Qt.Orientation.Horizontal:
            return _COLUMN_TOOLTIPS.get(_COLUMNS[section])
        return None

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        finding = self.findings[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            mark = REVIEW_MARKS[self.marks.get(finding.identity, "")]
            slices = ", ".join(str(n + 1) for n in finding.index) or "-"
            name = (
                f"{finding.name} {finding.object_number}" if finding.object_number else finding.name or "all"
            )
            cells = (index.row() + 1, mark, slices, name, finding.reason, f"{finding.uncertainty:#.3g}")
            return str(cells[index.column()])
        if role == Qt.ItemDataRole.DecorationRole and index.column() == _CLASS_COLUMN:
            return QColor(self.colors[finding.name]) if finding.name in self.colors else None
        if role == Qt.ItemDataRole.ForegroundRole and index.column() == _STATUS_COLUMN:
            is_approved = self.marks.get(finding.identity) == "approved"
            return QColor(_APPROVED_COLOR) if is_approved else None
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() in (0, 2, 5):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.ToolTipRole:
            return f"{finding.name}, {finding.reason}; {MEASURES[finding.measure].title}"
        return None

    def fill(self, findings: Sequence[Finding], colors: Mapping[str, str]) -> None:
        self.beginResetModel()
        self.findings, self.colors = findings, colors
        self.endResetModel()

    def refresh_marks(self) -> None:
        if self.findings:
            last = self.index(len(self.findings) - 1, _STATUS_COLUMN)
            self.dataChanged.emit(self.index(0, _STATUS_COLUMN), last)


class QueueView(QTableView):
    """The table of the queue, and its current row.

    Signals
    -------
    row_chosen
        The row that was clicked or moved to.
    """

    row_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = _QueueModel(self)
        self.setModel(self._model)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setIconSize(QSize(_SWATCH_SIZE, _SWATCH_SIZE))
        self.setWordWrap(False)
        row_header, column_header = self.verticalHeader(), self.horizontalHeader()
        assert row_header is not None
        assert column_header is not None
        row_header.hide()
        row_header.setDefaultSectionSize(22)
        column_header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        # a long class name is cut, and never pushes the status out of sight
        column_header.setSectionResizeMode(_CLASS_COLUMN, QHeaderView.ResizeMode.Stretch)
        column_header.setMinimumSectionSize(24)
        column_header.setHighlightSections(False)  # bold headings take the room of the class
        self.setMinimumHeight(_MIN_HEIGHT)
        self.clicked.connect(lambda index: self.row_chosen.emit(index.row()))

    def sizeHint(self) -> QSize:
        """The minimum height; the layout gives the table what the other controls leave."""
        return QSize(super().sizeHint().width(), _MIN_HEIGHT)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Arrows move in the table; letters are left to the shortcuts of the window."""
        if event is None:
            return
        if event.text() and event.modifiers() in (
            Qt.KeyboardModifier.NoModifier,
            Qt.KeyboardModifier.ShiftModifier,
        ):
            event.ignore()
            return
        before = self.row
        super().keyPressEvent(event)
        if self.row != before:
            self.row_chosen.emit(self.row)

    @property
    def row(self) -> int:
        """The current row; -1 where none is selected."""
        return self.currentIndex().row()

    @property
    def findings(self) -> Sequence[Finding]:
        """The regions in the table."""
        return self._model.findings

    @property
    def marks(self) -> dict[Any, str]:
        """The status of each region, by `Finding.identity`."""
        return self._model.marks

    def fill(self, findings: Sequence[Finding], colors: Mapping[str, str] | None = None) -> None:
        """List other regions, with the colours of their classes; the selected one stays selected."""
        self.setColumnHidden(_SLICE_COLUMN, all(finding.index == () for finding in findings))
        previous_region = self.findings[self.row].identity if 0 <= self.row < len(self.findings) else None
        self._model.fill(findings, colors or {})
        for row, finding in enumerate(findings):
            if finding.identity == previous_region:
                self.select(row)

    def select(self, row: int) -> None:
        """Select a row, and scroll to it."""
        index = self._model.index(row, 0)
        self.setCurrentIndex(index)
        self.scrollTo(index)

    def show_marks(self, marks: dict[Any, str]) -> None:
        """Show other status texts, by `Finding.identity`."""
        self._model.marks = marks
        self._model.refresh_marks()
