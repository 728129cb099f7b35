"""The window that stores DICOM files, as Export writes them, in an archive by DICOMweb."""

from __future__ import annotations

from pathlib import Path

import napari.viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QListWidget,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg import api
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.dialogs import show_dialog
from napari_latentseg.widgets._shared.task_line import enable
from napari_latentseg.widgets.opening.archive_server import ArchiveServerField, archive_task_line

__all__ = ["StoreDialog", "store_in_archive"]

_WIDTH, _HEIGHT = 560, 360  # pixels


class StoreDialog(QDialog):
    """Stores files in an archive; does not block the viewer.

    Parameters
    ----------
    parent
        The window.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("store")
        self.setWindowTitle("Store in archive")
        self.files: list[Path] = []
        self.server = ArchiveServerField()
        self.list = QListWidget()
        self.list.setAccessibleName("Files")
        self.list.setToolTip("DICOM files: Export a result as DICOM-SEG, with patient and study kept")
        self.choose = QPushButton("Choose files...")
        self.task = archive_task_line("Export a result as DICOM-SEG first, without De-identify")
        self.store = QPushButton("Store")
        self.close_button = QPushButton("Close")
        self._lay_out()
        self.server.changed.connect(self._refresh)
        self.task.changed.connect(self._refresh)
        self.choose.clicked.connect(self._choose)
        self.store.clicked.connect(self._store)
        self.close_button.clicked.connect(self.close)
        self._refresh()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Archive", self.server)
        buttons = QHBoxLayout()
        buttons.addWidget(self.choose)
        buttons.addStretch(1)
        for button in (self.store, self.task.cancel, self.close_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.task)
        layout.addLayout(buttons)
        self.resize(_WIDTH, _HEIGHT)

    def show_files(self, files: list[Path]) -> None:
        """Show the files that will be stored."""
        self.files = files
        self.list.clear()
        self.list.addItems([file.name for file in files])
        self._refresh()

    def _choose(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Store in archive", "", "DICOM (*.dcm)")
        if names:
            self.show_files([Path(name) for name in names])

    def _refresh(self) -> None:
        """Enable what can be used, and say of the rest why it cannot."""
        busy = self.task.busy_reason
        enable(self.choose, busy)
        no_files = "" if self.files else "Choose the files first"
        enable(self.store, busy or no_files or self.server.problem)

    def _store(self) -> None:
        files, address = list(self.files), self.server.address

        def stored(count: int) -> None:
            self.task.finish(f"Stored {count_text(count, 'file')}")

        self.task.start(
            "Storing", lambda: api.store_in_archive(files, address), stored,
            noun="file", when_cancelled="Cancelled; what was sent before stays in the archive",
        )  # fmt: skip


def store_in_archive(viewer: napari.viewer.Viewer) -> None:
    """Show the window that stores files in an archive; napari calls this from its menu."""
    show_dialog(viewer, StoreDialog, lambda _, window: StoreDialog(window))
