"""Parts of both windows of archives: the field for the address, and the status line."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.saved_servers import forget_server, save_server, saved_servers, server_text
from napari_latentseg.widgets._shared.task_line import TaskLine
from napari_latentseg.widgets._shared.threads import run_in_thread

__all__ = ["ArchiveServerField", "archive_task_line"]


def archive_task_line(status: str) -> TaskLine:
    """A status line for work with an archive, with its first text."""
    return TaskLine(
        status,
        waiting="Wait until the archive has answered, or press Cancel",
        failed="The archive could not be used",
    )


class ArchiveServerField(QWidget):
    """An editable list of servers, and a button that remembers or forgets the one shown.

    Attributes
    ----------
    changed
        Emitted when the address has changed, or the remembered ones were read.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._saved: set[str] = set()
        self.box = QComboBox()
        self.box.setEditable(True)
        self.box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.box.setMinimumContentsLength(24)
        self.box.setAccessibleName("Archive")
        line = self.box.lineEdit()
        assert line is not None
        self.line = line
        self.line.setPlaceholderText("dicomweb://host:port/dicom-web")
        self.line.setToolTip(
            "dicomweb:// is HTTPS, dicomweb+http:// is without encryption. User, password and token come"
            " from the environment or the system's keyring (docs/archive.md)"
        )
        self.remember = QPushButton("Remember")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box, 1)
        layout.addWidget(self.remember)
        self.setFocusProxy(self.box)
        self.box.editTextChanged.connect(self._refresh)
        self.remember.clicked.connect(self._remember_or_forget)
        self._refresh()
        run_in_thread(saved_servers, self._show_saved, owner=self)

    @property
    def address(self) -> str:
        """The address as it was typed."""
        return self.line.text().strip()

    @property
    def problem(self) -> str:
        """Why the address cannot be used; empty if it can."""
        if not self.address:
            return "Give the address of the archive first"
        try:
            server_text(self.address)
        except BadInput as error:
            return f"The archive {error.why}: {error.remedy}" if error.remedy else f"The archive {error.why}"
        return ""

    def _show_saved(self, servers: list[str]) -> None:
        self._saved = set(servers)
        text = self.line.text()
        self.box.clear()
        self.box.addItems(servers)
        self.box.setEditText(text or (servers[0] if servers else ""))
        self._refresh()

    def _is_saved(self) -> bool:
        return not self.problem and server_text(self.address) in self._saved

    def _refresh(self) -> None:
        is_saved = self._is_saved()
        self.remember.setText("Forget" if is_saved else "Remember")
        self.remember.setEnabled(not self.problem)
        about = "Remove this address from the list" if is_saved else "Keep this address, without any password"
        self.remember.setToolTip(self.problem or about)
        self.changed.emit()

    def _remember_or_forget(self) -> None:
        address, change = self.address, forget_server if self._is_saved() else save_server

        def work() -> list[str]:
            change(address)
            return saved_servers()

        run_in_thread(work, self._show_saved, owner=self)
