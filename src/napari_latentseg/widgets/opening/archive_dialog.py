"""The window that finds series in an archive by DICOMweb and opens them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import napari.viewer
from npe2 import PluginManager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg import api
from napari_latentseg.io.dicomweb.address import parse_address
from napari_latentseg.io.dicomweb.query import MAX_SERIES
from napari_latentseg.widgets._shared.dialogs import show_dialog
from napari_latentseg.widgets._shared.dock_widget import open_widget
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.task_line import enable
from napari_latentseg.widgets._shared.text_table import show_as_list
from napari_latentseg.widgets.opening.archive_server import ArchiveServerField, archive_task_line
from napari_latentseg.widgets.opening.readers import open_in_thread

if TYPE_CHECKING:
    from napari import Viewer

    from napari_latentseg.io.dicomweb.query import ArchiveSeries

__all__ = ["ArchiveDialog", "open_from_archive"]

_COLUMNS = ("Patient", "Name", "Date", "Modality", "Images", "Description")
_WIDTH, _HEIGHT = 720, 480  # pixels; a laptop of 1366 x 768 shows the viewer beside it


class ArchiveDialog(QDialog):
    """Finds series in an archive and opens them; does not block the viewer.

    The archive is asked when the person presses Search or Open, and not before.

    Parameters
    ----------
    viewer
        The viewer in which series are opened.
    parent
        Its window.
    """

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("archive")
        self.setWindowTitle("Open from archive")
        self.viewer = viewer
        self._found: list[ArchiveSeries] = []
        self._searched: tuple[str, dict[str, str | None]] = ("", {})
        self._make_fields()
        self._lay_out()
        self._connect()
        self._refresh()

    def _make_fields(self) -> None:
        self.server = ArchiveServerField()
        self.patient = _line("Patient ID", "* stands for any text")
        self.name = _line("Name", "Family name first: Doe*, or Doe Jane")
        self.date = _line("Date", "A day, or a range of days", "2026-11-02, or 2026-11-01..2026-11-30")
        self.modality = _line("Modality", "Such as MR or CT", "MR")
        self.search = QPushButton("Search")
        self.search.setDefault(True)
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        show_as_list(self.table, "Series")
        self.task = archive_task_line("The archive is contacted only when you press Search")
        self.status, self.cancel = self.task.status, self.task.cancel
        self.open_button = QPushButton("Open")
        self.list_button = QPushButton("List in Cases")
        self.batch_button = QPushButton("Segment all…")
        self.close_button = QPushButton("Close")

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Archive", self.server)
        for left, right in ((self.patient, self.name), (self.date, self.modality)):
            row = QHBoxLayout()
            row.addWidget(left, 1)
            row.addWidget(PlainLabel(right.accessibleName()))
            row.addWidget(right, 1)
            form.addRow(left.accessibleName(), row)
        buttons = QHBoxLayout()
        buttons.addWidget(self.search)
        buttons.addStretch(1)
        buttons.addWidget(self.list_button)
        buttons.addWidget(self.batch_button)
        for button in (self.open_button, self.cancel, self.close_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.task)
        layout.addLayout(buttons)
        self.resize(_WIDTH, _HEIGHT)

    def _connect(self) -> None:
        self.server.changed.connect(self._refresh)
        self.search.clicked.connect(self._search)
        self.table.itemSelectionChanged.connect(self._refresh)
        self.table.itemDoubleClicked.connect(lambda _: self._open())
        self.open_button.clicked.connect(self._open)
        self.list_button.clicked.connect(self._list_in_cases)
        self.batch_button.clicked.connect(self._segment_all)
        self.task.changed.connect(self._refresh)
        self.close_button.clicked.connect(self.close)

    @property
    def _selected(self) -> ArchiveSeries | None:
        row = self.table.currentRow() if self.table.selectedItems() else -1
        return self._found[row] if row >= 0 else None

    def _refresh(self) -> None:
        """Enable what can be used, and say of the rest why it cannot."""
        busy = self.task.busy_reason
        enable(self.search, busy or self.server.problem)
        no_row = "" if self._selected is not None else "Choose a series of the list first"
        enable(self.open_button, busy or no_row)
        nothing = busy or ("" if self._found else "Search first: the list is empty")
        enable(self.list_button, nothing)
        enable(self.batch_button, nothing)
        if not nothing:
            self.list_button.setToolTip(
                "Use this search as a list in Cases, with a folder for results and decisions"
            )
            self.batch_button.setToolTip("Use this search in Segment a folder")

    def _search(self) -> None:
        address = self.server.address
        fields = {"patient": self.patient, "name": self.name, "date": self.date, "modality": self.modality}
        filters = {key: field.text().strip() or None for key, field in fields.items()}
        self.table.setRowCount(0)
        self._found, self._searched = [], (address, filters)
        self.task.start(
            "Searching the archive", lambda: api.find_in_archive(address, **filters), self._show_found
        )

    def _show_found(self, found: list[ArchiveSeries]) -> None:
        self._found = found
        self.table.setRowCount(len(found))
        for row, series in enumerate(found):
            images = "?" if series.images is None else str(series.images)
            texts = (series.patient_id, series.patient_name, series.date, series.modality, images)
            for column, text in enumerate((*texts, series.description)):
                self.table.setItem(row, column, QTableWidgetItem(text))
        self.table.resizeColumnsToContents()
        self.task.finish(_count(len(found)))
        if len(found) == 1:
            self.table.selectRow(0)

    @property
    def search_address(self) -> str:
        """The address that stands for what was searched for last."""
        address, filters = self._searched
        return parse_address(address).matching(**filters).text

    def _list_in_cases(self) -> None:
        _, widget = self.viewer.window.add_plugin_dock_widget("napari-latentseg", "Cases", tabify=True)
        widget.source.setText(self.search_address)
        open_widget(self.viewer, "Cases")
        widget.results.setFocus()
        self.task.finish("The search is in Cases: give a folder for the results there, and press Enter")

    def _segment_all(self) -> None:
        PluginManager.instance().commands.execute("napari-latentseg.segment_folder", args=(self.viewer,))
        dialog = self.viewer.window._qt_window.findChild(QDialog, "batch")
        if dialog is not None:
            dialog.images.setText(self.search_address)

    def _open(self) -> None:
        series = self._selected
        if series is None or self.task.busy_reason:
            return

        def opened(folder: Any) -> None:
            self.task.finish("Retrieved; it opens in the viewer")
            open_in_thread(self.viewer, folder)

        self.task.start("Retrieving", lambda: api.retrieve_from_archive(series.address), opened)


def _count(number: int) -> str:
    if number >= MAX_SERIES:
        return f"The first {number:,} series; narrow the search"
    return f"{number} series" if number else "No series matches"


def _line(name: str, tip: str, placeholder: str = "") -> QLineEdit:
    line = QLineEdit()
    line.setAccessibleName(name)
    line.setToolTip(tip)
    line.setPlaceholderText(placeholder)
    return line


def open_from_archive(viewer: napari.viewer.Viewer) -> None:
    """Show the window that opens series of an archive; napari calls this from its menu."""
    show_dialog(viewer, ArchiveDialog, ArchiveDialog)
