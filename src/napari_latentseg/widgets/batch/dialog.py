"""The window that segments a folder: images, model, settings, and a table with the outcome of each case."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg import api
from napari_latentseg.batches.case_rows import CaseRow, read_case_rows
from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import is_archive_address, parse_address
from napari_latentseg.io.result_names import RECORD_NAME
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.child_process import EXIT_BAD_INPUT
from napari_latentseg.widgets._shared.controls import (
    CopyDetailsButton,
    WrappedLabel,
    elastic_combo,
    widget_row,
)
from napari_latentseg.widgets._shared.dialogs import show_dialog
from napari_latentseg.widgets._shared.dock_widget import open_widget
from napari_latentseg.widgets._shared.double_click import connect_start_and_cancel
from napari_latentseg.widgets._shared.missing_codec import CodecQuestion
from napari_latentseg.widgets._shared.model_entries import distinct_titles
from napari_latentseg.widgets._shared.plain_text import PlainLabel, show_error, show_info
from napari_latentseg.widgets._shared.preferences import preferences
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.source_path import source_path
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception
from napari_latentseg.widgets.batch.case_table import CaseTable
from napari_latentseg.widgets.batch.image_names import ImageNames
from napari_latentseg.widgets.batch.open_result import open_case, open_mask
from napari_latentseg.widgets.batch.process import batch_of
from napari_latentseg.widgets.batch.request import LAYOUTS, BatchRequest, RunSettings
from napari_latentseg.widgets.segment.form import SOURCE_LABELS

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["BatchDialog", "segment_folder"]

_CHECK_DELAY_MS = 150  # after the last key, so that a folder is not looked for at every letter
_WIDTH, _HEIGHT = 760, 560  # pixels; a laptop of 1366 x 768 shows the viewer beside it
_BUSY = "A batch is in progress; wait or cancel"
_FILTERS = {"all cases": "", "failed": "failed", "done": "done"}


class BatchDialog(QDialog):
    """Segments all images of a folder; does not block the viewer, and may be closed while it works.

    Parameters
    ----------
    viewer
        The viewer in which results are opened.
    parent
        Its window.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("batch")
        self.setWindowTitle("Segment a folder")
        self.viewer = viewer
        self.session = session_of(viewer)
        self.process = batch_of(viewer)
        self.cards: dict[str, ModelCard] = {}
        self._path_problem = ""
        self._is_checking = False
        self._check_number = 0
        self._opening: Any = None
        self.codec_question = CodecQuestion(self)
        self._make_fields()
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CHECK_DELAY_MS)
        self._timer.timeout.connect(self._check_folders)
        self._connect()
        self.reload_models()
        self._show_request()
        self._show_rows()
        self._refresh()

    def _make_fields(self) -> None:
        self.images = QLineEdit()
        self.images.setPlaceholderText("a folder, a CSV file with the columns case and path, or dicomweb://")
        self.images.setToolTip("Folders inside it are searched too; each series of DICOM is a case")
        self.images.setAccessibleName("Images")
        self.out = QLineEdit()
        self.out.setPlaceholderText("a folder for the results and their table, cases.tsv")
        self.out.setAccessibleName("Results")
        self.model = elastic_combo()
        self.settings_label = WrappedLabel()
        self.settings_label.setToolTip(
            "Change them in the Segment widget, for the model that is selected there"
        )
        self.layout_box = QComboBox()
        self.layout_box.setToolTip("Review needs the first layout; the other two hold only the mask")
        for name, title in LAYOUTS.items():
            self.layout_box.addItem(title, name)
        self.deidentify = QCheckBox("de-identify (no names of files or patients in the results)")
        self.deidentify.setToolTip("Cases are named after a hash of their image, and the table has no paths")
        self.deidentify.setChecked(preferences().deidentify)
        self.resume_box = QCheckBox("Continue: skip cases that are finished")
        self.resume_box.setToolTip("A case whose image or settings have changed is segmented again")
        self.message = PlainLabel()
        self.message.setWordWrap(True)
        self.start_button = QPushButton("Segment")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop; finished cases are kept, and can be continued from")
        self.progress_bar = QProgressBar()
        self.progress_bar.setRange(0, 1000)
        self.progress_bar.setTextVisible(False)
        self.status = PlainLabel()
        self.status.setWordWrap(True)
        self.details_button = CopyDetailsButton()
        self.state_filter = QComboBox()
        self.state_filter.setToolTip("Which cases the table shows")
        for title, state in _FILTERS.items():
            self.state_filter.addItem(title, state)
        self.table = CaseTable()
        self.image_names = ImageNames(self)
        self.open_button = QPushButton("Open in Review")
        self.close_button = QPushButton("Close")
        self.close_button.setToolTip("Close this window; what is running continues")

    def _lay_out(self) -> None:
        self.fields = QWidget()
        form = QFormLayout(self.fields)
        form.setContentsMargins(0, 0, 0, 0)
        self.folder_button, self.list_button, self.out_button = (
            QPushButton(text) for text in ("Folder…", "List…", "Browse…")
        )
        self.list_button.setToolTip("A CSV file with the columns case and path, and series where needed")
        form.addRow("Images", widget_row(self.images, self.folder_button, self.list_button))
        form.addRow("Results", widget_row(self.out, self.out_button))
        form.addRow("Model", self.model)
        form.addRow("Settings", self.settings_label)
        form.addRow("Layout", self.layout_box)
        form.addRow("", self.deidentify)
        form.addRow("", self.resume_box)
        layout = QVBoxLayout(self)
        layout.addWidget(self.fields)
        layout.addWidget(self.message)
        layout.addWidget(widget_row(self.progress_bar, self.start_button, self.cancel_button))
        layout.addWidget(self.status)
        layout.addWidget(self.details_button)
        layout.addWidget(widget_row(QWidget(), PlainLabel("Show"), self.state_filter))
        layout.addWidget(self.table, 1)
        layout.addWidget(widget_row(QWidget(), self.open_button, self.close_button))
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(False)  # Enter in the table opens a case
        self.resize(_WIDTH, _HEIGHT)

    def _connect(self) -> None:
        self.images.textChanged.connect(self._on_folders)
        self.out.textChanged.connect(self._on_folders)
        self.folder_button.clicked.connect(self._browse_images)
        self.list_button.clicked.connect(self._browse_list)
        self.out_button.clicked.connect(self._browse_out)
        self.model.currentIndexChanged.connect(self._refresh)
        self.resume_box.toggled.connect(self._refresh)
        connect_start_and_cancel(self.start_button, self.cancel_button, self.start, self.process.stop)
        self.close_button.clicked.connect(self.close)
        self.state_filter.currentIndexChanged.connect(self._filter)
        self.table.case_chosen.connect(self.open_case)
        self.open_button.clicked.connect(self._open_selected)
        selection = self.table.selectionModel()
        if selection is not None:
            selection.currentChanged.connect(self._refresh)
        self.process.changed.connect(self._on_process)
        self.process.child.ended.connect(self._on_ended)
        self.process.rows_changed.connect(self.table.cases.update_rows)
        self.process.rows_replaced.connect(self._show_rows)
        self.image_names.found.connect(self.table.cases.set_image_names)
        self.session.models_changed.connect(self.reload_models)

    def reload_models(self) -> None:
        """List the models that segment by themselves; that of the Segment widget is selected at first."""
        chosen = self.model.currentData() or self.session.choices.get("model")
        self.cards = {name: card for name, card in api.list_models().items() if not card.takes_prompts}
        self.model.clear()
        for name, title in distinct_titles(self.cards.values()).items():
            self.model.addItem(title, name)
        self.model.setCurrentIndex(max(0, self.model.findData(chosen)))

    def _show_request(self) -> None:
        """Fill in the folders and choices of the last batch of the viewer."""
        request = self.process.request
        if request is None:
            return
        self.images.setText(str(request.images))
        self.out.setText(str(request.out))
        self.model.setCurrentIndex(max(0, self.model.findData(request.model)))
        self.layout_box.setCurrentIndex(self.layout_box.findData(request.layout))
        self.deidentify.setChecked(request.deidentify)

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the settings of the Segment widget, which may have changed while its window was active."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.ActivationChange and self.isActiveWindow():
            self._refresh()

    @property
    def settings(self) -> RunSettings:
        """The settings of the runs: those of the Segment widget."""
        return RunSettings.from_choices(self.session.choices, str(self.model.currentData()))

    @property
    def request(self) -> BatchRequest:
        """What the fields say."""
        return BatchRequest(
            images=source_path(self.images.text()),
            out=Path(self.out.text().strip()).absolute(),
            model=str(self.model.currentData()),
            settings=self.settings,
            layout=str(self.layout_box.currentData()),
            deidentify=self.deidentify.isChecked(),
            resume=self.resume_box.isChecked(),
        )

    def start(self) -> None:
        """Start the batch, or say why it cannot start."""
        try:
            if problem := self._problem():
                raise BadInput("batch", problem)
            self.process.start(self.request)
        except BadInput as error:
            show_exception(error)

    def _browse_images(self) -> None:
        self._set_path(self.images, QFileDialog.getExistingDirectory(self, "Images", self.images.text()))

    def _browse_list(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "List of cases", self.images.text(), "CSV (*.csv)")
        self._set_path(self.images, path)

    def _browse_out(self) -> None:
        self._set_path(self.out, QFileDialog.getExistingDirectory(self, "Results", self.out.text()))

    def _set_path(self, field: QLineEdit, path: str) -> None:
        if path:
            field.setText(path)

    def _on_folders(self) -> None:
        self._check_number += 1
        self._is_checking = True
        self._timer.start()
        self._refresh()

    def _check_folders(self) -> None:
        """Look at the folders in a worker; what is there of an earlier batch is shown."""
        number = self._check_number
        images, out = self.images.text().strip(), self.out.text().strip()

        def show(found: tuple[str, list[CaseRow]]) -> None:
            if number != self._check_number:  # a later check has replaced this one
                return
            self._is_checking = False
            self._path_problem, rows = found
            self.process.show_folder(Path(out).absolute() if out else None, rows)
            self._refresh()

        run_in_thread(lambda: _look_at(images, out), show, lambda error: show((str(error), [])), owner=self)

    def _show_rows(self) -> None:
        """Show the rows of the process; those of an earlier batch are to be continued."""
        self.table.cases.set_image_names({})
        self.table.cases.set_rows(self.process.rows.values())
        if not self.process.busy:
            self.resume_box.setChecked(bool(self.process.rows))

    def _problem(self) -> str:
        """Why the batch cannot start; empty where it can."""
        if not self.cards:
            return "No model is installed."
        if not self.images.text().strip():
            return "Choose the images first."
        if not self.out.text().strip():
            return "Choose a folder for the results first."
        if self._is_checking:
            return "The folders are being checked."
        if self._path_problem:
            return self._path_problem
        if self.process.rows and not self.resume_box.isChecked():
            return "The folder has results of an earlier batch: continue it, or choose another folder."
        return ""

    def _refresh(self, *_: Any) -> None:
        busy, problem, process = self.process.busy, self._problem(), self.process
        card = self.cards.get(str(self.model.currentData()))
        self.settings_label.setText("" if card is None else self.settings.describe(card, SOURCE_LABELS))
        self.fields.setEnabled(not busy)
        self.fields.setToolTip(_BUSY if busy else "")
        has_rows = bool(self.process.rows)
        self.resume_box.setVisible(has_rows or self.resume_box.isChecked())
        self.start_button.setText("Continue" if has_rows and self.resume_box.isChecked() else "Segment")
        self.start_button.setEnabled(not busy and not problem)
        self.start_button.setToolTip(_BUSY if busy else problem)
        self.message.setText("" if busy or self._is_checking else problem)
        self.message.setVisible(bool(self.message.text()))
        self.cancel_button.setVisible(busy)
        self.cancel_button.setEnabled(process.state != "stopping")
        self.progress_bar.setVisible(busy)
        fraction = process.fraction
        self.progress_bar.setRange(0, 0 if fraction is None else 1000)
        self.progress_bar.setValue(round(1000 * (fraction or 0)))
        self.status.setText(self._status_text())
        self.status.setVisible(bool(self.status.text()))
        self.details_button.set_details(process.details)
        if not busy and not self._is_checking:
            self.image_names.look_up(self._images(), process.rows.values())
        self._refresh_table()

    def _refresh_table(self) -> None:
        rows = self.process.rows.values()
        counts = {"": len(rows), "failed": self.process.failure_count}
        counts["done"] = sum(row.state == "done" for row in rows)
        for index, (title, state) in enumerate(_FILTERS.items()):
            self.state_filter.setItemText(index, f"{title} ({counts[state]})")
        row = self.table.selected_case
        reason = (
            "Select a case first"
            if row is None
            else "This case has no result"
            if not row.result
            else "The case is being opened"
            if self._opening is not None
            else ""
        )
        self.open_button.setEnabled(not reason)
        self.open_button.setToolTip(reason or "Open the image with its result, and go to the Review widget")

    def _status_text(self) -> str:
        process = self.process
        if process.busy:
            return process.progress_text()
        failed = f", {process.failure_count} failed" if process.failure_count else ""
        if process.state == "done":
            return f"Finished: {count_text(len(process.rows), 'case')}{failed}."
        if process.state == "stopped":
            done = sum(row.state == "done" for row in process.rows.values())
            of_all = f" of {count_text(process.case_count, 'case')}" if process.case_count else ""
            return f"Stopped: {done}{of_all} done{failed}. Continue finishes the others."
        return process.error

    def _on_process(self) -> None:
        if self.process.state in ("done", "stopped", "failed"):
            self.resume_box.setChecked(bool(self.process.rows))
        self._refresh()

    def _on_ended(self, code: int | None) -> None:
        """Where the batch was refused, look whether the codec of the model is missing."""
        if code == EXIT_BAD_INPUT and self.process.request is not None:
            self.codec_question.ask_if_missing(self.process.request.model, lambda kept: self.start())

    def _filter(self, *_: Any) -> None:
        self.table.filter.show_state(str(self.state_filter.currentData()))

    def _open_selected(self) -> None:
        if (row := self.table.selected_case) is not None:
            self.open_case(row)

    def _images(self) -> Path | None:
        return self.request.images if self.images.text().strip() else None

    def open_case(self, row: CaseRow) -> ThreadWorker | None:
        """Open a case with its result, and raise the Review widget.

        Parameters
        ----------
        row
            The case; one without a result is only said to have none.

        Returns
        -------
        ThreadWorker
            Reads the files; None where nothing is read.
        """
        if self._opening is not None:
            return None
        if not row.result:
            show_error(f"{row.case} has no result{f': {row.reason}' if row.reason else ''}")
            return None

        def show_review(result: RunResult) -> None:
            open_widget(self.viewer, "Review")
            end()

        def fail(error: BaseException) -> None:
            show_exception(error)
            end()

        def end() -> None:
            if isalive(self):  # the window may have been closed in the meantime
                self._opening = None
                self._refresh()

        def tell() -> None:
            show_info(f"{row.case}: its layout holds only the mask, so there is nothing for Review to rank.")
            end()

        images = self._images()
        if row.result.endswith(RECORD_NAME):
            self._opening = open_case(self.viewer, row, images, show_review, fail)
        else:
            self._opening = open_mask(self.viewer, row, images, tell, fail)
        self._refresh()
        return self._opening


def _look_at(images: str, out: str) -> tuple[str, list[CaseRow]]:
    """Problems of the paths, and the cases of an earlier batch. Reads files."""
    rows = read_case_rows(Path(out)) if out else []
    if is_archive_address(images):  # asked when the batch starts, not as it is typed
        parse_address(images)
        return "", rows
    return ("" if not images or Path(images).exists() else f"{images} does not exist."), rows


def segment_folder(viewer: napari.viewer.Viewer) -> None:
    """Show the window that segments a folder; napari calls this from its menu."""
    show_dialog(viewer, BatchDialog, BatchDialog)
