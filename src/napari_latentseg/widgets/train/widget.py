"""The Train widget: fine-tune a model on approved slices, validate it, then use or discard the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QPushButton

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.scratch import remove_scratch_folder
from napari_latentseg.widgets._shared.child_process import EXIT_BAD_INPUT
from napari_latentseg.widgets._shared.dock_widget import DockWidget
from napari_latentseg.widgets._shared.missing_codec import CodecQuestion
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception
from napari_latentseg.widgets.annotate.correction import model_family
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.train.comparison import CaseThumbnails, ComparisonPanel
from napari_latentseg.widgets.train.curves import TrainingCurves
from napari_latentseg.widgets.train.data_source import scan_pairs, write_layer_pairs
from napari_latentseg.widgets.train.decision import CandidateDecision
from napari_latentseg.widgets.train.form import TrainForm
from napari_latentseg.widgets.train.interrupted import InterruptedPanel
from napari_latentseg.widgets.train.messages import (
    newest_candidate,
    planned_validation_text,
    validation_text,
)
from napari_latentseg.widgets.train.process import FineTuneRequest, training_of
from napari_latentseg.widgets.train.progress_panel import ProgressPanel

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.training.events import FineTuneSaved, Judged

__all__ = ["TrainWidget"]


class TrainWidget(DockWidget):
    """Fine-tune a model: choose base model and training data, follow the curves, decide on the result.

    Parameters
    ----------
    napari_viewer
        The viewer in which the widget is docked.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.corrections = corrections_of(napari_viewer)
        self.training = training_of(napari_viewer)
        self.interrupted = InterruptedPanel(self.training)
        self.form = TrainForm(napari_viewer)
        self.validation_note = PlainLabel()
        self.train_button = QPushButton("Train")
        self.hint = PlainLabel()
        self.progress = ProgressPanel(self.training)
        self.comparison = ComparisonPanel()
        self.decision = CandidateDecision(self.training, self.session, self.comparison)
        self.curves = TrainingCurves(napari_viewer)
        self.pictures = CaseThumbnails()
        self.codec_question = CodecQuestion(self)
        self._is_writing_layers = False
        self._lay_out()
        self._connect()
        self.reload_models()
        self._load_waiting_candidate()

    def _lay_out(self) -> None:
        for label in (self.validation_note, self.hint):
            label.setWordWrap(True)
        for part in (
            self.interrupted,
            self.form,
            self.validation_note,
            self.train_button,
            self.hint,
            self.progress,
            self.comparison,
            self.curves,
            self.pictures,
        ):
            self.body.addWidget(part)
        self.body.addStretch(1)
        self.footer.addWidget(self.comparison.buttons)
        self.setMinimumWidth(340)  # pixels: three thumbnails side by side

    def _connect(self) -> None:
        self.training.changed.connect(self._refresh)
        self.training.child.ended.connect(self._on_ended)
        self.training.progressed.connect(self._refresh_progress)  # only the bar and the text under it change
        self.corrections.approvals.count_changed.connect(self._refresh)
        self.session.models_changed.connect(self.reload_models)
        self.form.chosen.connect(self._on_choice)
        self.form.structure_named.connect(self._refresh)
        self.train_button.clicked.connect(self.train)
        self.progress.resume_asked.connect(self.resume)
        self.decision.installed.connect(self._on_installed)
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            self.connect_event(event, self.form.data_source.list_layers)
        self.connect_event(self.viewer.events.theme, self.curves.follow_theme)

    def reload_models(self) -> None:
        """List the installed models again; the selection is kept if that model still exists."""
        self.form.reload_models(self.session.choices.get("model"))
        self._on_model()

    def _on_choice(self, *_: Any) -> None:
        """Drop the error of the last training, since another one is being prepared."""
        self.training.dismiss_error()
        self._on_model()

    def _on_installed(self, name: str) -> None:
        self.form.select_model(name)
        self._on_model()

    def _on_model(self) -> None:
        if self.form.card is not None:
            self.corrections.approvals.count(model_family(self.form.card))
        self._refresh()

    def _approved_counts(self) -> tuple[int, int]:
        """Numbers of approved slices and cases of the base model's family."""
        card = self.form.card
        return (0, 0) if card is None else self.corrections.approvals.counts.get(model_family(card), (0, 0))

    def _missing_input(self) -> str:
        return self.form.problem(self._approved_counts()[0])

    def _refresh(self, *_: Any) -> None:
        is_training = self.training.busy or self._is_writing_layers
        awaits_decision = self.training.state == "done" and self.training.judged is not None
        self._refresh_form(is_training, awaits_decision)
        self._refresh_validation_note(is_training, awaits_decision)
        self._refresh_progress()
        self._refresh_results(is_training, awaits_decision)

    def _refresh_form(self, is_training: bool, awaits_decision: bool) -> None:
        card = self.form.card
        family = None if card is None else model_family(card)
        self.form.show_approved(self.corrections.approvals.summaries.get(family or "", ""))
        problem = "" if is_training else self._missing_input()
        # the form is hidden then: on a small screen its space is needed for the curves and the comparison
        self.form.setVisible(not is_training and not awaits_decision)
        self.train_button.setVisible(not is_training and not awaits_decision)
        self.train_button.setEnabled(not is_training and not problem and not awaits_decision)
        if is_training:
            self.train_button.setToolTip("A training is in progress")
        elif awaits_decision:
            self.train_button.setToolTip("Use, keep both or discard the new model first")
        else:
            self.train_button.setToolTip(
                plain_text(problem) or "Fine-tune a copy of the base model on the training data"
            )
        self.hint.setText(problem)
        self.hint.setVisible(bool(problem) and not awaits_decision)

    def _refresh_validation_note(self, is_training: bool, awaits_decision: bool) -> None:
        text, data = "", self.training.data
        if data is not None and (is_training or awaits_decision):
            # not the note, which the comparison shows
            text = validation_text(data.replace(note="") if awaits_decision else data)
        elif not awaits_decision and (is_training or not self._missing_input()):
            text = planned_validation_text(self.form.case_count(self._approved_counts()[1]))
        self.validation_note.setText(text)
        self.validation_note.setVisible(bool(text))

    def _refresh_progress(self) -> None:
        self.progress.refresh(is_writing_layers=self._is_writing_layers, time_text=self.form.minutes.text())

    def _refresh_results(self, is_training: bool, awaits_decision: bool) -> None:
        training = self.training
        self.curves.show_epochs(training.epochs if is_training or awaits_decision else [])
        self.pictures.show_cases(training.preview if is_training else (), {})
        self.comparison.setVisible(awaits_decision)
        self.comparison.buttons.setVisible(awaits_decision)
        if awaits_decision and training.judged is not None:
            self.comparison.show_comparison(training.judged.comparison, training.preview)

    def train(self) -> ThreadWorker | None:
        """Start the training; if an input is missing, show which one and do not start.

        Returns
        -------
        ThreadWorker
            Writes the chosen layers to files; None if the training data are files already, or on missing
            input.
        """
        card = self.form.card
        if card is None or self._missing_input():
            self._refresh()
            return None
        request = self.form.request(card)
        if self.form.data_source.source == "layers":
            return self._write_layers_and_start(card, request)
        self._start(request)
        return None

    def _write_layers_and_start(self, card: ModelCard, request: FineTuneRequest) -> ThreadWorker:
        """Write the chosen layers to a temporary folder, then start, even if the widget is closed by then."""
        pairs = scan_pairs(self.form.data_source.chosen_pairs())
        taught_card = self.form.structure.taught(card)
        self._is_writing_layers = True
        self._refresh()

        def start_training(folder: Path) -> None:
            self._is_writing_layers = False
            self._start(replace(request, data=(folder,), temporary_data=folder))

        def fail(error: BaseException) -> None:
            self._is_writing_layers = False
            if self.is_open:
                self._refresh()
            show_exception(error)

        return run_in_thread(lambda: write_layer_pairs(pairs, taught_card), start_training, fail)

    def _start(self, request: FineTuneRequest) -> None:
        try:
            self.training.start(request)
        except BadInput as error:
            if request.temporary_data is not None:
                remove_scratch_folder(request.temporary_data)
            show_exception(error)

    def _on_ended(self, code: int | None) -> None:
        """Where the training was refused, look whether the codec of the base model is missing."""
        if code == EXIT_BAD_INPUT and self.training.request is not None:
            self.codec_question.ask_if_missing(self.training.request.base, self._on_choice)

    def resume(self) -> None:
        """Resume the training that was stopped, for the time in the form."""
        minutes_trained = self.training.epochs[-1].seconds / 60 if self.training.epochs else 0.0
        try:
            self.training.resume(minutes_trained + self.form.minutes.value())
        except BadInput as error:
            show_exception(error)

    def _load_waiting_candidate(self) -> None:
        """Show a new model from an earlier session that was neither adopted nor discarded."""
        if self.training.state != "idle":
            return

        def show(candidate: tuple[Judged, FineTuneSaved] | None) -> None:
            if candidate is not None and self.training.state == "idle":
                self.training.show_candidate(*candidate)

        run_in_thread(newest_candidate, show, owner=self)
