"""The Segment widget: choose an image and a model, run, look at the result."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QApplication, QHBoxLayout, QProgressBar, QPushButton, QWidget

from napari_latentseg.errors import BadInput
from napari_latentseg.measure import sizes_note
from napari_latentseg.widgets._shared.controls import CopyDetailsButton
from napari_latentseg.widgets._shared.dock_widget import DockWidget
from napari_latentseg.widgets._shared.keys import bind_keys, key_text
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.missing_codec import CodecQuestion
from napari_latentseg.widgets._shared.plain_text import (
    PlainLabel,
    plain_text,
    show_error,
    show_info,
    show_warning,
)
from napari_latentseg.widgets._shared.region import image_shape
from napari_latentseg.widgets._shared.runner import RunJob, RunProgress
from napari_latentseg.widgets._shared.session import RunResult
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception
from napari_latentseg.widgets.point.panel import PointPanel
from napari_latentseg.widgets.segment.export import export_result
from napari_latentseg.widgets.segment.export_dialog import ExportDialog
from napari_latentseg.widgets.segment.form import SegmentForm
from napari_latentseg.widgets.segment.result_panel import ResultPanel
from napari_latentseg.widgets.segment.result_threshold import ResultThreshold

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["SegmentWidget"]

_EXTRA_SAMPLES = 5  # as many as a model draws by default


class SegmentWidget(DockWidget):
    """Segment an image with a model, and show mask, mean and variance of the samples.

    Parameters
    ----------
    napari_viewer
        The viewer that the widget belongs to.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._status_result: RunResult | None = None  # the run that the line of status tells of
        self.form = SegmentForm(napari_viewer)
        self.form.restore(self.session.choices)
        self.result_panel = ResultPanel(napari_viewer)
        self.result_threshold = ResultThreshold()
        self.result_header = PlainLabel()
        self.result_header.setWordWrap(True)
        self.run_button = QPushButton("Segment")
        self.folder_button = QPushButton("Folder…")
        self.folder_button.setToolTip("Segment all images of a folder with this model and these settings")
        self.problem_label = PlainLabel()
        self.problem_label.setWordWrap(True)
        self.set_empty_state(
            "Open an image first, or try the plugin on a sample.",
            "Open a sample",
            self.open_sample,
            "A fundus photograph, with the model for retinal vessels",
        )
        self.progress_bar = QProgressBar()
        self.progress_bar.setRange(0, 1000)
        self.progress_bar.setTextVisible(False)
        self.status = PlainLabel()
        self.status.setWordWrap(True)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop and keep the completed samples")
        self.details_button = CopyDetailsButton()
        self.codec_question = CodecQuestion(self)
        self.point_panel = PointPanel(napari_viewer)
        self._status_basis: object = None
        self._lay_out()
        self._connect()
        self._refresh()
        if self.busy:
            self._show_running("working")
        else:
            self._show_result()

    def _lay_out(self) -> None:
        progress_row = QHBoxLayout()
        progress_row.addWidget(self.progress_bar, 1)
        progress_row.addWidget(self.cancel_button)
        self.body.addWidget(self.form)
        self.body.addWidget(self.point_panel)
        run_row = QHBoxLayout()
        run_row.addWidget(self.run_button, 1)
        run_row.addWidget(self.folder_button)
        self.body.addLayout(run_row)
        self.body.addWidget(self.problem_label)
        self.body.addLayout(progress_row)
        self.body.addWidget(self.status)
        self.body.addWidget(self.details_button)
        self.body.addWidget(self.result_header)
        self.body.addWidget(self.result_threshold)
        self.body.addWidget(self.result_panel)
        self.body.addStretch(1)
        for part in self._result_parts:
            part.hide()
        self.progress_bar.hide()
        self.cancel_button.hide()
        self.status.hide()

    def _connect(self) -> None:
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            self.connect_event(event, self.form.reset_choices)
        self.connect_event(self.viewer.cursor.events.position, self.result_panel.readout.follow)
        self.connect_event(self.viewer.events.mouse_over_canvas, self.result_panel.readout.follow)
        self.form.changed.connect(self._refresh)
        self.form.postprocess_changed.connect(self._apply_postprocess)
        self.result_threshold.threshold_chosen.connect(self._apply_threshold)
        self.run_button.clicked.connect(self.segment)
        self.folder_button.clicked.connect(lambda: self.run_command("segment_folder"))
        self.cancel_button.clicked.connect(self.cancel)
        self.result_panel.more_requested.connect(self.draw_more)
        self.result_panel.review_requested.connect(self.review)
        self.result_panel.export_requested.connect(self.ask_export)
        actions = {
            "segment": self.segment,
            "threshold_down": lambda: self._shift_threshold(-1),
            "threshold_up": lambda: self._shift_threshold(1),
        }
        bind_keys(self.viewer, self, actions)
        session = self.session
        session.models_changed.connect(self._on_models)
        session.started.connect(self._on_started)
        session.progressed.connect(self._on_progress)
        session.finished.connect(self._on_finished)
        session.failed.connect(self._on_failed)
        session.thresholded.connect(self._show_result)
        session.mask_changed.connect(self._show_result)
        session.results_changed.connect(self._show_result)
        session.maps_added.connect(self._show_result)
        session.image_changed.connect(self._forget_status)

    def _on_models(self) -> None:
        model_name = self.session.choices.get("model")  # before the reload, which overwrites it
        self.form.reload_models()
        self.form.restore({"model": model_name})

    def reset_choices(self, event: Any = None) -> None:
        """List the viewer's image layers again; napari calls this."""
        self.form.reset_choices()

    def _refresh(self) -> None:
        self.session.choices = self.form.values()
        problems = self.form.problems()
        busy = self.busy
        self.run_button.setText("Segment anyway" if self.form.fit_line.is_doubtful else "Segment")
        self.run_button.setEnabled(not problems and not busy)
        self.run_button.setToolTip(
            "A run is in progress; wait or cancel"
            if busy
            else plain_text(problems[0])
            if problems
            else f"Segment with the current settings ({key_text('segment')})"
        )
        self.show_empty_state(self.form.image.value is None and not busy, keep_content=True)
        if not busy and self._status_basis != self._basis():
            self._show_status("")
            self.details_button.set_details("")
        # after a run its duration is there, and says the same
        estimate = "" if problems or not self.status.isHidden() else self._estimate()
        self.problem_label.setText("" if busy else problems[0] if problems else estimate)
        is_problem = bool(self.problem_label.text()) and not self.is_empty and not self.form.takes_prompts
        self.problem_label.setVisible(is_problem)
        self._show_pointing()

    def _show_pointing(self) -> None:
        """Point at the image of the case, or run the model: as the model asks for."""
        form = self.form
        self.run_button.setVisible(not form.takes_prompts)
        self.folder_button.setVisible(not form.takes_prompts)
        card = form.card if form.takes_prompts else None
        self.point_panel.show_for(form.image.value, card, int(form.samples.value))

    def _basis(self) -> object:
        """What the status is about: another image or setting makes it out of date."""
        image = self.form.image.value
        return None if image is None else image.unique_id, self.form.values()

    def _show_status(self, text: str) -> None:
        self._status_basis = self._basis()
        self.status.setText(text)
        self.status.setVisible(bool(text))

    def _estimate(self) -> str:
        """Text with the duration of the run, estimated from earlier runs; empty without any."""
        try:
            settings, region = self.form.settings(), self.form.region()
        except BadInput:
            return ""
        image = self.form.image.value
        shape = image_shape(image)
        reoriented_shape = (
            [shape[axis] for axis in region.plane_view.order] if region.plane_view.order else list(shape)
        )
        plane_count = math.prod(reoriented_shape[:-2])
        if settings.slices is not None:
            plane_count = settings.slices[1] - settings.slices[0] + 1  # first and last slice
        if settings.box is not None:
            top, left, bottom, right = settings.box
            reoriented_shape[-2:] = [bottom - top, right - left]
        seconds = self.session.timings.estimate(
            str(self.form.model.value),
            settings.device,
            reoriented_shape[-2] * reoriented_shape[-1],
            plane_count * settings.samples,
        )
        if seconds is None:
            return ""
        duration_text = f"{max(1, round(seconds))} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        return f"A run takes about {duration_text}."

    def segment(self) -> None:
        """Start a run with the current settings, or say why it cannot start."""
        image = self.form.image.value
        try:
            problems = self.form.problems()
            if problems:
                raise BadInput("segment", problems[0])
            view = self.form.region().plane_view
            job = RunJob(scan_from_layer(image), str(self.form.model.value), self.form.settings(), view)
            card = self.form.card
            assert card is not None
            self.session.start(job, image, card)
        except BadInput as error:
            show_warning(str(error))

    def draw_more(self) -> None:
        """Draw five more samples of the last run."""
        try:
            self.session.draw_more(_EXTRA_SAMPLES)
        except BadInput as error:
            show_warning(str(error))

    def cancel(self) -> None:
        """Stop the run; completed samples are kept."""
        self.status.setText("stopping")
        self.cancel_button.setEnabled(False)
        self.session.cancel()

    def open_sample(self) -> None:
        """Open the fundus photograph, read off the GUI thread, and select the model for it."""
        from napari_latentseg.widgets.segment.samples import layer_data_of

        def load() -> Any:
            from napari_latentseg.sample_data import retina

            return retina()

        self.empty_button.setEnabled(False)

        def show(sample: Any) -> None:
            self.empty_button.setEnabled(True)
            data, arguments, _ = layer_data_of(sample)
            self.viewer.add_image(data, **arguments)
            if sample.model in self.form.cards:
                self.form.model.value = sample.model

        def fail(error: BaseException) -> None:
            self.empty_button.setEnabled(True)
            show_exception(error)

        run_in_thread(load, show, fail)

    def _on_started(self, result: RunResult) -> None:
        self.details_button.set_details("")
        self._show_fraction(None)
        self._show_running("loading the model")

    def _show_running(self, text: str) -> None:
        self.progress_bar.show()
        self.cancel_button.setEnabled(True)
        self.cancel_button.show()
        self.status.setText(text)
        self.status.show()
        self._set_busy(True)

    def _show_idle(self, text: str) -> None:
        self.progress_bar.hide()
        self.cancel_button.hide()
        self._show_status(text)
        self._set_busy(False)

    def _set_busy(self, busy: bool) -> None:
        self.result_panel.set_busy(busy)
        self.result_threshold.set_busy(busy)
        self._refresh()

    def _on_progress(self, progress: RunProgress) -> None:
        self._show_fraction(progress.done)
        running = self.session.running
        if self.cancel_button.isEnabled() and running is not None:
            self.status.setText(self._of_case(running, progress.text))

    def _show_fraction(self, done: float | None) -> None:
        """Show how much is done; without a number, the bar runs back and forth."""
        self.progress_bar.setRange(0, 0 if done is None else 1000)
        self.progress_bar.setValue(round(1000 * (done or 0)))

    def _on_finished(self, result: RunResult) -> None:
        segmentation = result.segmentation
        self._status_result = result
        if segmentation is None:
            self._show_idle(self._of_case(result, "Cancelled before the first sample was complete."))
            self._show_result()
            return
        record = segmentation.record
        if not result.is_in_viewer:
            text = "The layers of this run were removed; segment again to restore them."
        elif result.was_cancelled:
            kept = segmentation.segmented_region.describe_kept(record.samples, record.samples_asked)
            text = f"Cancelled. {kept}"
        else:
            text = f"Finished in {max(1, round(result.seconds))} s."
        self._show_idle(self._of_case(result, text))
        self._show_result()
        for note in record.input.notes:
            show_info(note)

    @property
    def _result_parts(self) -> tuple[QWidget, ...]:
        return self.result_header, self.result_threshold, self.result_panel

    def _of_case(self, result: RunResult, text: str) -> str:
        """A text about a run, which names its image where that is not the case."""
        return text if result.image is self.session.image else f"{result.image.name}: {text}"

    def _forget_status(self, *_: Any) -> None:
        """Remove the status if it is about a run of another image."""
        if not self.busy and self.status.text():
            self._status_result = None
            self.details_button.set_details("")
            self._show_idle("")

    def _show_result(self, *_: Any) -> None:
        """Show the result of the case, and nothing while that is being computed."""
        result, running = self.session.current, self.session.running
        told = self._status_result
        if told is not None and told.segmentation is not None and not told.is_in_viewer and not self.busy:
            self._forget_status()
        is_shown = result is not None and result.segmentation is not None
        if running is not None and running.image is self.session.image:
            is_shown = False
        if is_shown and result is not None and result.segmentation is not None:
            # the line on the fit says why; it is of the chosen model, so the whole note is in the tooltip
            note = sizes_note(result.segmentation, result.card, with_fit_reasons=False)
            self.result_panel.show_result(
                result.segmentation, result.layers, result.sizes, note, can_extend=result.run is not None
            )
            self.result_panel.interval_note.setToolTip(sizes_note(result.segmentation, result.card))
            self.result_threshold.show_result(result)
            self.result_header.setText(_nothing_found(result))
        for part in self._result_parts:
            part.setVisible(is_shown)
        self.result_header.setVisible(is_shown and bool(self.result_header.text()))

    @property
    def busy(self) -> bool:
        """Whether a run is in progress, or its layers are being added."""
        return self.session.busy

    @property
    def finished_result(self) -> RunResult | None:
        """The current result; None while it has no segmentation."""
        current = self.session.current
        return current if current is not None and current.segmentation is not None else None

    def _on_failed(self, text: str, details: str) -> None:
        self.details_button.set_details(details)
        self._status_result = None
        self._show_idle(text)
        self._show_result()
        for part in self._result_parts:  # an earlier run's figures would be taken for those of this one
            part.hide()
        show_error(text)
        self.codec_question.ask_if_missing(str(self.form.model.value), lambda kept: self.segment())

    def _apply_threshold(self, threshold: float) -> None:
        """Apply a threshold to the current result."""
        if self.finished_result is not None:
            self.session.apply_threshold(threshold)

    def _apply_postprocess(self) -> None:
        """Apply the postprocessing to the current result."""
        result = self.finished_result
        if result is None or result.segmentation is None or self.busy:
            return
        if reason := result.threshold_locked_reason:
            self._show_status(f"{reason}.")
            return
        self.session.apply_threshold(
            float(result.segmentation.record.threshold), self.form.postprocess_fields.postprocess()
        )

    def _shift_threshold(self, steps: int) -> None:
        if self.finished_result is not None and self.result_threshold.isEnabled():
            self.result_threshold.shift(steps)

    def review(self) -> None:
        """Open the Review widget."""
        self.open_widget("Review")

    def ask_export(self) -> None:
        """Open the export dialog."""
        result = self.finished_result
        if result is not None:
            ExportDialog(result, self).show()

    def export(self, folder: Path) -> ThreadWorker | None:
        """Write the current result to a folder, off the GUI thread.

        Returns
        -------
        ThreadWorker
            See `export_result`; None where there is no result.
        """
        return None if self.finished_result is None else export_result(self.finished_result, folder)

    def wait(self, seconds: float = 60) -> None:
        """Process Qt events until the run has ended, or a time limit; for scripts and the demo."""
        deadline = time.monotonic() + seconds
        while self.busy and time.monotonic() < deadline:
            QApplication.processEvents()
            time.sleep(0.005)


def _nothing_found(result: RunResult) -> str:
    """A sentence for an empty mask; empty where something was found."""
    if any(size.value > 0 for size in result.sizes):
        return ""
    names = " or ".join(info.name for info in result.layers.classes)
    return f"Nothing was found: no voxel is above the threshold ({names})."
