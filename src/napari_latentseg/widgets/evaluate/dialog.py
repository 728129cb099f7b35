"""The window that evaluates a model: on which images, and the figures with the worst images afterwards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.click_report import ClickReport
from napari_latentseg.report.click_page import click_summary, click_warning
from napari_latentseg.report.evaluation_summary import summary_line, summary_rows
from napari_latentseg.report.evaluation_text import training_warning
from napari_latentseg.utils.atomic import atomic_path
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.child_process import EXIT_BAD_INPUT
from napari_latentseg.widgets._shared.controls import CopyDetailsButton
from napari_latentseg.widgets._shared.dialogs import show_dialog
from napari_latentseg.widgets._shared.dock_widget import open_widget
from napari_latentseg.widgets._shared.double_click import connect_start_and_cancel
from napari_latentseg.widgets._shared.missing_codec import CodecQuestion
from napari_latentseg.widgets._shared.model_entries import list_model_entries
from napari_latentseg.widgets._shared.plain_text import PlainLabel, show_info
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception
from napari_latentseg.widgets.evaluate.fields import EvaluationFields
from napari_latentseg.widgets.evaluate.open_image import open_worst_image
from napari_latentseg.widgets.evaluate.process import evaluation_of
from napari_latentseg.widgets.evaluate.tables import ObjectTable, ScoreTable, WorstImageTable
from napari_latentseg.widgets.segment.form import SOURCE_LABELS

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.evaluation.report import EvaluationReport
    from napari_latentseg.evaluation.worst_images import WorstImage
    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["EvaluationDialog", "show_evaluation"]

_WIDTH, _HEIGHT = 820, 640  # pixels; a laptop of 1366 x 768 shows the viewer beside it


class EvaluationDialog(QDialog):
    """Evaluates a model; does not block the viewer, and may be closed while it works.

    Parameters
    ----------
    viewer
        The viewer in which images are opened.
    parent
        The widget that opens it.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("evaluate")
        self.setWindowTitle("Evaluate a model")
        self.viewer = viewer
        self.session = session_of(viewer)
        self.process = evaluation_of(viewer)
        self.codec_question = CodecQuestion(self)
        self._chosen = ""
        self._opening: Any = None
        self._shown: EvaluationReport | ClickReport | None = None
        self._make()
        self._lay_out()
        self._connect()
        if self.process.request is not None:
            self.fields.show_request(self.process.request)
            self._chosen = self.process.request.model
        self.reload_models()
        self._refresh()

    def _make(self) -> None:
        self.fields = EvaluationFields()
        self.message = PlainLabel()
        self.message.setWordWrap(True)
        self.start_button = QPushButton("Evaluate")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop; no figures are kept")
        self.progress_bar = QProgressBar()
        self.progress_bar.setTextVisible(False)
        self.status = PlainLabel()
        self.status.setWordWrap(True)
        self.details_button = CopyDetailsButton()
        self.warning = PlainLabel()
        self.warning.setWordWrap(True)
        self.warning.setStyleSheet("font-weight: bold")
        self.scores = ScoreTable()
        self.worst_images = WorstImageTable()
        self.objects = ObjectTable()
        self.tabs = QTabWidget()
        self.tabs.addTab(self.scores, "Scores")
        self.tabs.addTab(self.worst_images, "Worst images")
        self.tabs.addTab(self.objects, "Objects")
        self.open_button = QPushButton("Open image")
        self.report_button = QPushButton("Open report")
        self.save_button = QPushButton("Save report…")
        self.close_button = QPushButton("Close")
        self.close_button.setToolTip("Close this window; what is running continues")

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.addWidget(self.fields)
        layout.addWidget(self.message)
        progress = QHBoxLayout()
        progress.addWidget(self.progress_bar, 1)
        progress.addStretch()
        progress.addWidget(self.start_button)
        progress.addWidget(self.cancel_button)
        layout.addLayout(progress)
        layout.addWidget(self.status)
        layout.addWidget(self.details_button)
        layout.addWidget(self.warning)
        layout.addWidget(self.tabs, 1)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        for button in (self.open_button, self.report_button, self.save_button, self.close_button):
            buttons.addWidget(button)
        layout.addStretch()
        layout.addLayout(buttons)
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(False)  # Enter in the table opens an image
        self.resize(_WIDTH, _HEIGHT)

    def _connect(self) -> None:
        self.fields.changed.connect(self._refresh)
        connect_start_and_cancel(self.start_button, self.cancel_button, self.start, self.process.stop)
        self.close_button.clicked.connect(self.close)
        self.report_button.clicked.connect(self.open_report)
        self.save_button.clicked.connect(self._ask_save)
        self.open_button.clicked.connect(self._open_selected)
        self.worst_images.image_chosen.connect(self.open_image)
        self.worst_images.itemSelectionChanged.connect(self._refresh)
        self.tabs.currentChanged.connect(self._refresh)
        self.process.changed.connect(self._refresh)
        self.process.child.ended.connect(self._on_ended)
        self.session.models_changed.connect(self.reload_models)

    def show_model(self, folder: Path) -> None:
        """Select a version of a model."""
        self._chosen = str(folder)
        index = self.fields.model.findData(self._chosen)
        if index >= 0:
            self.fields.model.setCurrentIndex(index)

    def reload_models(self) -> ThreadWorker:
        """List the installed models.

        Returns
        -------
        ThreadWorker
            Reads their cards.
        """
        return run_in_thread(
            list_model_entries,
            lambda entries: self.fields.show_models(entries, self._chosen),
            owner=self,
        )

    def start(self) -> None:
        """Start the evaluation, or say why it cannot start."""
        try:
            if problem := self.fields.problem():
                raise BadInput("evaluation", problem)
            self._chosen = self.fields.request.model
            self.process.start(self.fields.request)
        except BadInput as error:
            show_exception(error)

    def _refresh(self, *_: Any) -> None:
        process, busy, problem = self.process, self.process.busy, self.fields.problem()
        self.fields.setEnabled(not busy)
        self.fields.setToolTip("An evaluation is in progress; wait or cancel" if busy else "")
        self.start_button.setVisible(not busy)
        self.start_button.setEnabled(not problem)
        self.start_button.setToolTip(problem)
        self.message.setText("" if busy or self.fields.is_checking else problem)
        self.message.setVisible(bool(self.message.text()))
        self.cancel_button.setVisible(busy)
        self.cancel_button.setEnabled(process.state in ("preparing", "running"))
        self.progress_bar.setVisible(busy)
        self.progress_bar.setRange(0, 1000 if process.state == "running" and process.done < 1 else 0)
        self.progress_bar.setValue(round(1000 * process.done))
        self.status.setText(self._status_text())
        self.status.setVisible(bool(self.status.text()))
        self.details_button.set_details(process.details if self._is_as_asked() else "")
        self._show_report()
        self._refresh_buttons()

    def _show_report(self) -> None:
        """Show the figures once they are new."""
        report = self.process.report
        self.tabs.setVisible(report is not None)
        if report is self._shown:
            return
        self._shown = report
        is_by_clicks = isinstance(report, ClickReport)
        self.tabs.setTabVisible(self.tabs.indexOf(self.worst_images), not is_by_clicks)
        self.tabs.setTabVisible(self.tabs.indexOf(self.objects), is_by_clicks)
        warnings = []
        if isinstance(report, ClickReport):
            self.scores.show_clicks(report)
            self.objects.show_objects(report)
            warnings.append(click_warning(report))
        elif report is not None:
            paired = report.paired
            self.scores.show_rows(summary_rows(report), "" if paired is None else paired.against.name)
            self.worst_images.show_images(self.process.worst_images)
            warnings.append(training_warning(report))
            if paired is not None and paired.training_count:
                images = count_text(paired.training_count, "image")
                warnings.append(
                    f"{paired.against.name} was trained on {images} of these, so its scores are too high."
                )
        self.warning.setText("\n".join(filter(None, warnings)))
        self.warning.setVisible(bool(self.warning.text()))

    def _refresh_buttons(self) -> None:
        has_report = self.process.page is not None
        no_report = "" if has_report else "Evaluate a model first"
        on_images = self.tabs.currentWidget() is self.worst_images
        self.open_button.setVisible(has_report and on_images)
        for button, reason, tooltip in (
            (self.report_button, no_report, "Show the whole report in the browser"),
            (self.save_button, no_report, "Keep the report as one HTML file"),
            (
                self.open_button,
                "Select an image first"
                if self.worst_images.selected_image is None
                else "The image is being opened"
                if self._opening is not None
                else "",
                "Open the image with the prediction and the outline of the reference mask",
            ),
        ):
            button.setEnabled(not reason)
            button.setToolTip(reason or tooltip)

    def _status_text(self) -> str:
        process = self.process
        if process.busy:
            return process.progress_text()
        if process.state == "stopped":
            return "Stopped; no figures were kept."
        if process.state == "done" and process.report is not None:
            left_out = process.report.left_out
            report = process.report
            text = (
                click_summary(report)
                if isinstance(report, ClickReport)
                else summary_line(report, SOURCE_LABELS)
            )
            if left_out:
                text += f"\n{count_text(len(left_out), 'image')} left out: {left_out[0].reason}"
            return "\n".join([text, *process.notes])
        return process.error if self._is_as_asked() else ""

    def _is_as_asked(self) -> bool:
        """Whether the fields are still those of the last evaluation, so that its error applies to them."""
        return self.process.request == self.fields.request

    def _on_ended(self, code: int | None) -> None:
        """Where the evaluation was refused, look whether the codec of the model is missing."""
        if code == EXIT_BAD_INPUT and self.process.request is not None:
            self.codec_question.ask_if_missing(self.process.request.model, lambda kept: self.start())

    def open_report(self) -> None:
        """Show the page in the browser."""
        if self.process.page is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.process.page)))

    def _ask_save(self) -> None:
        report = self.process.report
        name = "evaluation.html" if report is None else f"{report.model.name}-evaluation.html"
        path, _ = QFileDialog.getSaveFileName(self, "Save the report", name, "Report (*.html)")
        if path:
            self.save_report(Path(path).with_suffix(".html"))

    def save_report(self, path: Path) -> ThreadWorker | None:
        """Keep the page.

        Parameters
        ----------
        path
            The file to write; one that is there is replaced.

        Returns
        -------
        ThreadWorker
            Writes the file; None where there is no page.
        """
        page = self.process.page
        if page is None:
            return None

        def write() -> None:
            with atomic_path(path) as temporary:
                shutil.copyfile(page, temporary)

        return run_in_thread(write, lambda _: show_info(f"Written to {path.name}."))

    def _open_selected(self) -> None:
        if (image := self.worst_images.selected_image) is not None:
            self.open_image(image)

    def open_image(self, image: WorstImage) -> ThreadWorker | None:
        """Open an image with its prediction and its reference mask, and raise the Review widget.

        Parameters
        ----------
        image
            Of the last evaluation.

        Returns
        -------
        ThreadWorker
            Reads the files; None where another image is being opened.
        """
        if self._opening is not None or self.process.folder is None:
            return None

        def end() -> None:
            if isalive(self):  # the window may have been closed in the meantime
                self._opening = None
                self._refresh()

        def show_review(result: RunResult) -> None:
            open_widget(self.viewer, "Review")
            end()

        def fail(error: BaseException) -> None:
            show_exception(error)
            end()

        self._opening = open_worst_image(self.viewer, image, self.process.folder / "worst", show_review, fail)
        self._refresh()
        return self._opening


def show_evaluation(viewer: ViewerModel, folder: Path) -> EvaluationDialog:
    """Show the window of a viewer, with a version of a model chosen unless one is being evaluated.

    Parameters
    ----------
    viewer
        The viewer, or the proxy that napari gives to plugins.
    folder
        Of the version.
    """
    dialog = show_dialog(viewer, EvaluationDialog, EvaluationDialog)
    if not dialog.process.busy:
        dialog.show_model(folder)
    return dialog
