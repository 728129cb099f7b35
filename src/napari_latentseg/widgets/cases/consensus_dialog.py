"""The window that writes the consensus of the cases of a list that two readers have approved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg import api
from napari_latentseg.api.consensus_export import ExportedConsensus
from napari_latentseg.io._progress import report_progress
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.controls import WrappedLabel, form_layout
from napari_latentseg.widgets._shared.dialogs import show_dialog
from napari_latentseg.widgets._shared.task_line import TaskLine, enable
from napari_latentseg.widgets.cases.case_work import case_work_of
from napari_latentseg.widgets.readers.method_box import consensus_box

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.caselist.listed_case import ListedCase

__all__ = ["ConsensusDialog", "export_consensus", "why_no_consensus"]

_FORMATS = {
    "NIfTI": "nifti",
    "NRRD": "nrrd",
    "MetaImage": "metaimage",
    "OME-TIFF": "ome-tiff",
    "OME-Zarr": "ome-zarr",
    "PNG": "png",
    "DICOM-SEG": "dicom-seg",
}
_WIDTH = 520  # pixels: a path of a folder is read whole
_MAX_PROBLEMS = 5  # named in the window; the rest are counted
_STEPS = 1000


class ConsensusDialog(QDialog):
    """Asks for folder, method and format, and writes; does not block the viewer.

    Parameters
    ----------
    viewer
        The viewer whose list of cases it is.
    parent
        Its window.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("consensus")
        self.setWindowTitle("Export consensus")
        self.work = case_work_of(viewer)
        self.about = WrappedLabel()
        self.folder = QLineEdit()
        self.folder.setAccessibleName("Folder")
        self.folder.setPlaceholderText("a folder beside that of the list")
        self.browse = QPushButton("Browse")
        self.method = consensus_box()
        self.format = QComboBox()
        self.format.addItem("NIfTI, or OME-TIFF without a physical size", None)
        for title, name in _FORMATS.items():
            self.format.addItem(title, name)
        self.name_readers = QCheckBox("Name the readers in the records")
        self.name_readers.setToolTip("Otherwise they are numbered: reader 1, reader 2")
        self.overwrite = QCheckBox("Replace files that already exist")
        self.task = TaskLine(
            "Nothing is written before you press Export",
            waiting="Wait until all cases are written, or press Cancel",
            failed="The consensus could not be written",
        )
        self.problems = WrappedLabel()
        self.export_button = QPushButton("Export")
        self.export_button.setDefault(True)
        self.close_button = QPushButton("Close")
        self._lay_out()
        self.folder.textChanged.connect(self._refresh)
        self.browse.clicked.connect(self._browse)
        self.export_button.clicked.connect(self.export)
        self.close_button.clicked.connect(self.close)
        self.task.changed.connect(self._refresh)
        self.work.rows_changed.connect(self._refresh)
        self._refresh()

    def _lay_out(self) -> None:
        folder = QHBoxLayout()
        folder.addWidget(self.folder, 1)
        folder.addWidget(self.browse)
        form = form_layout()
        form.addRow("Folder", folder)
        form.addRow("Consensus", self.method)
        form.addRow("Format", self.format)
        form.addRow("", self.name_readers)
        form.addRow("", self.overwrite)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        for button in (self.export_button, self.task.cancel, self.close_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.about)
        layout.addLayout(form)
        layout.addWidget(self.task)
        layout.addWidget(self.problems)
        layout.addLayout(buttons)
        layout.addStretch(1)
        self.resize(_WIDTH, self.sizeHint().height())

    def export(self) -> None:
        """Write the consensus of each case that has one."""
        cases, folder = self.work.cases, self.folder.text().strip()
        if cases is None or not folder or self.task.busy_reason:
            return
        source, results = cases.source, cases.results
        method, format = str(self.method.currentData()), self.format.currentData()
        name_readers, overwrite = self.name_readers.isChecked(), self.overwrite.isChecked()
        self.problems.setText("")

        def work() -> list[ExportedConsensus]:
            return api.export_consensus(
                source, Path(folder).absolute(), results=results, method=method, format=format,
                name_readers=name_readers, overwrite=overwrite,
                progress=lambda done: report_progress(round(_STEPS * done), _STEPS),
            )  # fmt: skip

        self.task.start(
            "Writing", work, self._done, noun="", when_cancelled="Cancelled; what was written before stays"
        )

    def _done(self, exported: Sequence[ExportedConsensus]) -> None:
        written = [row for row in exported if row.mask is not None]
        self.task.finish(f"{count_text(len(written), 'mask')} written, with records")
        problems = [f"{row.case}: {row.problem}" for row in exported if row.problem]
        further = len(problems) - _MAX_PROBLEMS
        more = [f"and {count_text(further, 'further case')}"] if further > 0 else []
        self.problems.setText("\n".join([*problems[:_MAX_PROBLEMS], *more]))

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Consensus", self.folder.text())
        if name:
            self.folder.setText(name)

    def _refresh(self) -> None:
        """Enable what can be used, and say of the rest why it cannot."""
        count = _count(self.work.rows)
        self.about.setText(
            f"{count_text(count, 'case')} of {len(self.work.rows)} approved by two readers or more."
        )
        no_folder = "" if self.folder.text().strip() else "Give the folder first"
        enable(self.export_button, self.task.busy_reason or why_no_consensus(self.work.rows) or no_folder)


def _count(rows: Sequence[ListedCase]) -> int:
    return sum(row.state == "approved" and len(row.readings) > 1 for row in rows)


def why_no_consensus(rows: Sequence[ListedCase]) -> str:
    """Why no case of a list has a consensus; empty if one has."""
    return "" if _count(rows) else "No case of the list was approved by two readers"


def export_consensus(viewer: ViewerModel) -> ConsensusDialog:
    """Show the window."""
    return show_dialog(viewer, ConsensusDialog, ConsensusDialog)
