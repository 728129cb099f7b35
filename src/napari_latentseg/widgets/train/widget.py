"""The Train widget: fine-tune a model on approved slices, validate it, then use or discard the result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg import api
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.scratch import remove_scratch_folder
from napari_latentseg.widgets._shared.child_process import EXIT_BAD_INPUT
from napari_latentseg.widgets._shared.controls import (
    CopyDetailsButton,
    collapsible,
    elastic_combo,
    form_layout,
)
from napari_latentseg.widgets._shared.dock_widget import DockWidget
from napari_latentseg.widgets._shared.missing_codec import CodecQuestion
from napari_latentseg.widgets._shared.model_entries import distinct_titles
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text, show_info
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception
from napari_latentseg.widgets.annotate.correction import model_family
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.train.comparison import CaseThumbnails, ComparisonPanel
from napari_latentseg.widgets.train.curves import TrainingCurves
from napari_latentseg.widgets.train.data_source import DataSourceFields, scan_pairs, write_layer_pairs
from napari_latentseg.widgets.train.interrupted import InterruptedPanel
from napari_latentseg.widgets.train.messages import (
    newest_candidate,
    planned_validation_text,
    training_progress,
    validation_text,
)
from napari_latentseg.widgets.train.process import FineTuneRequest, training_of
from napari_latentseg.widgets.train.structure_field import StructureField

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.training.events import FineTuneSaved, Judged

__all__ = ["TrainWidget"]

_DEVICES = {"automatic": "auto", "CPU": "cpu", "NVIDIA GPU": "cuda", "Apple GPU": "mps"}


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
        self.cards: dict[str, ModelCard] = {}
        self.model = elastic_combo("Base model; it is not changed")
        self.data_source = DataSourceFields(napari_viewer)
        self.minutes = QDoubleSpinBox()
        self.structure = StructureField()
        self.name = QLineEdit()
        self.device = QComboBox()
        self.seed = QSpinBox()
        self.validation_note = PlainLabel()
        self.train_button = QPushButton("Train")
        self.hint = PlainLabel()
        self.status = PlainLabel()
        self.progress_bar = QProgressBar()
        self.stop_button = QPushButton("Stop and keep best")
        self.resume_button = QPushButton("Resume")
        self.details_button = CopyDetailsButton()
        self.curves = TrainingCurves(napari_viewer)
        self.pictures = CaseThumbnails()
        self.comparison = ComparisonPanel()
        self.interrupted = InterruptedPanel(self.training)
        self.form = QWidget()
        self.codec_question = CodecQuestion(self)
        self._is_writing_layers = False
        self._set_up_fields()
        self._lay_out()
        self._connect()
        self.reload_models()
        self._load_waiting_candidate()

    def _set_up_fields(self) -> None:
        self.minutes.setRange(0.05, 600)  # from a few seconds, for a trial, to a night
        self.minutes.setDecimals(1)
        self.minutes.setValue(2)  # a first result while the user waits
        self.minutes.setSuffix(" min")
        self.minutes.setToolTip("Training time; validation comes on top")
        self.name.setToolTip("Name of the new model if both are kept")
        self.name.setPlaceholderText("automatic")
        for title, name in _DEVICES.items():
            self.device.addItem(title, name)
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed gives the same validation split")
        self.resume_button.setToolTip("Continue from where the training was stopped")
        self.progress_bar.setRange(0, 1000)  # a fraction in steps of 0.1 %
        self.progress_bar.setTextVisible(False)
        for label in (self.validation_note, self.hint, self.status):
            label.setWordWrap(True)

    def _lay_out(self) -> None:
        advanced = QWidget()
        advanced_form = form_layout(advanced)
        advanced_form.addRow("Name", self.name)
        advanced_form.addRow("Device", self.device)
        advanced_form.addRow("Seed", self.seed)
        self.advanced = collapsible("Advanced", advanced)
        self.fields = fields = form_layout()
        fields.addRow("Base model", self.model)
        fields.addRow("New structure", self.structure)
        fields.addRow(PlainLabel("Data"))
        fields.addRow(self.data_source)  # the whole width, for what is approved in words
        fields.addRow("Time", self.minutes)
        form = QVBoxLayout(self.form)
        form.setContentsMargins(0, 0, 0, 0)
        form.addLayout(fields)
        form.addWidget(self.advanced)
        progress_row = QHBoxLayout()
        progress_row.addWidget(self.progress_bar, 1)
        progress_row.addWidget(self.stop_button)
        self.body.addWidget(self.interrupted)
        self.body.addWidget(self.form)
        self.body.addWidget(self.validation_note)
        self.body.addWidget(self.train_button)
        self.body.addWidget(self.hint)
        self.body.addLayout(progress_row)
        self.body.addWidget(self.status)
        self.body.addWidget(self.resume_button)
        self.body.addWidget(self.details_button)
        self.body.addWidget(self.comparison)
        self.body.addWidget(self.curves)
        self.body.addWidget(self.pictures)
        self.body.addStretch(1)
        self.footer.addWidget(self.comparison.buttons)
        self.setMinimumWidth(340)  # pixels: three thumbnails side by side

    def _connect(self) -> None:
        self.training.changed.connect(self._refresh)
        self.training.child.ended.connect(self._on_ended)
        self.training.progressed.connect(self._show_progress)
        self.corrections.approvals.count_changed.connect(self._refresh)
        self.session.models_changed.connect(self.reload_models)
        self.model.activated.connect(self._on_choice)
        self.data_source.changed.connect(self._on_choice)
        self.structure.textChanged.connect(self._refresh)
        self.train_button.clicked.connect(self.train)
        self.stop_button.clicked.connect(self.training.stop)
        self.resume_button.clicked.connect(self.resume)
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            self.connect_event(event, self.data_source.list_layers)
        self.connect_event(self.viewer.events.theme, self.curves.follow_theme)
        self.comparison.adopted.connect(self.adopt)
        self.comparison.discarded.connect(self.discard)

    @property
    def card(self) -> ModelCard | None:
        """The card of the base model; None where no model is installed."""
        return self.cards.get(str(self.model.currentData()))

    def reload_models(self) -> None:
        """List the installed models again; the selection is kept if that model still exists."""
        previous = self.model.currentData() or self.session.choices.get("model")
        self.cards = api.list_models()
        titles = distinct_titles(self.cards.values())
        self.model.clear()
        for name, card in sorted(self.cards.items(), key=lambda entry: entry[1].takes_prompts):
            title = f"{titles[name]} v{card.version}"
            self.model.addItem(title, name)
            self.model.setItemData(self.model.count() - 1, title, Qt.ItemDataRole.ToolTipRole)
        self.model.setCurrentIndex(max(0, self.model.findData(previous)))
        self._on_model()

    def _on_choice(self, *_: Any) -> None:
        """Drop the error of the last training, since another one is being prepared."""
        self.training.dismiss_error()
        self._on_model()

    def _on_model(self, *_: Any) -> None:
        if self.card is not None:
            self.corrections.approvals.count(model_family(self.card))
        self._refresh()

    def _approved_counts(self) -> tuple[int, int]:
        """Numbers of approved slices and cases of the base model's family."""
        card = self.card
        return (0, 0) if card is None else self.corrections.approvals.counts.get(model_family(card), (0, 0))

    def _missing_input(self) -> str:
        if self.card is None:
            return "No model is installed."
        return self.structure.problem(self.card) or self.data_source.problem(self._approved_counts()[0])

    def _refresh(self, *_: Any) -> None:
        is_training = self.training.busy or self._is_writing_layers
        awaits_decision = self.training.state == "done" and self.training.judged is not None
        self._refresh_form(is_training, awaits_decision)
        self._refresh_validation_note(is_training, awaits_decision)
        self._refresh_progress(is_training)
        self._refresh_results(is_training, awaits_decision)

    def _refresh_form(self, is_training: bool, awaits_decision: bool) -> None:
        card = self.card
        family = None if card is None else model_family(card)
        self.structure.show_for(card, self.fields)
        self.data_source.show_approved_count(self.corrections.approvals.summaries.get(family or "", ""))
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
            text = planned_validation_text(self._case_count())
        self.validation_note.setText(text)
        self.validation_note.setVisible(bool(text))

    def _case_count(self) -> int | None:
        """Number of cases of the chosen source; None for a folder, which only the training process reads."""
        match self.data_source.source:
            case "approved":
                return self._approved_counts()[1]
            case "layers":
                return len(self.data_source.chosen_pairs())
            case "folder":
                return None

    def _show_progress(self) -> None:
        """Show the progress between two validations: only the bar and the text under it change."""
        self._refresh_progress(self.training.busy)

    def _refresh_progress(self, is_training: bool) -> None:
        training = self.training
        fraction, text = training_progress(training, self._is_writing_layers)
        self.progress_bar.setVisible(is_training)
        self.progress_bar.setValue(round(1000 * fraction))
        self.stop_button.setVisible(training.busy)
        self.stop_button.setEnabled(training.state in ("preparing", "running"))
        ended = "Training has ended; the new model is being validated"
        can_stop = "Stop training; the best weights so far are kept and validated"
        stopping = "The training is being stopped" if training.state == "stopping" else ended
        self.stop_button.setToolTip(can_stop if self.stop_button.isEnabled() else stopping)
        self.status.setText(text)
        self.status.setVisible(bool(text))
        self.resume_button.setVisible(training.can_resume)
        self.resume_button.setText(f"Resume for {self.minutes.text()}")
        self.details_button.set_details(f"{training.error}\n\n{training.details}" if training.details else "")

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
        card = self.card
        problem = self._missing_input()
        if problem or card is None:
            self._refresh()
            return None
        if self.data_source.source == "layers":
            return self._write_layers_and_start(card)
        request = self._request(card)
        if self.data_source.source == "folder":
            data = Path(self.data_source.folder_path.text().strip())
            request = replace(request, labels=self.data_source.folder_labels.text().strip())
        else:
            from napari_latentseg.annotations import store_folder

            data = store_folder(model_family(card))
        self._start(replace(request, data=(data,)))
        return None

    def _write_layers_and_start(self, card: ModelCard) -> ThreadWorker:
        """Write the chosen layers to a temporary folder, then start, even if the widget is closed by then."""
        request = self._request(card)
        pairs, taught_card = scan_pairs(self.data_source.chosen_pairs()), self.structure.taught(card)
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

    def _request(self, card: ModelCard) -> FineTuneRequest:
        """The arguments that the form sets; the training data are added later."""
        return FineTuneRequest(
            base=card.name,
            data=(),
            minutes=self.minutes.value(),
            name=self.name.text().strip(),
            device=str(self.device.currentData()),
            seed=self.seed.value(),
            structure=self.structure.name_for(card),
        )

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
        """Resume the training that was stopped."""
        minutes_trained = self.training.epochs[-1].seconds / 60 if self.training.epochs else 0.0
        try:
            self.training.resume(minutes_trained + self.minutes.value())
        except BadInput as error:
            show_exception(error)

    def adopt(self, keep_both: bool) -> ThreadWorker | None:
        """Install the new model as the next version of its base, or as a separate model beside it.

        Parameters
        ----------
        keep_both
            Whether it becomes a separate model.

        Returns
        -------
        ThreadWorker
            Installs it; None if there is no new model.
        """
        judged, saved = self.training.judged, self.training.saved
        if judged is None or saved is None:
            return None
        folder = Path(saved.folder)
        comparison = judged.comparison
        name = comparison.new.name if keep_both else comparison.base.name
        version = comparison.new.version
        self.comparison.set_busy(True)

        def install() -> None:
            api.adopt_model(folder, keep_both=keep_both)

        def done(_: Any) -> None:
            self.training.finish_decision()
            self.session.choices["model"] = name
            self.session.models_changed.emit()
            if self.is_open:
                self.comparison.set_busy(False)
                self.model.setCurrentIndex(max(0, self.model.findData(name)))
                self._on_model()
            show_info(
                f"{name} is installed next to its base model."
                if keep_both
                else f"{name} is now at version {version}. Models can revert to the earlier one."
            )

        return run_in_thread(install, done, self._on_decision_failed)

    def discard(self) -> ThreadWorker | None:
        """Delete the new model.

        Returns
        -------
        ThreadWorker
            Deletes it; None if there is no new model.
        """
        if self.training.saved is None:
            return None
        folder = Path(self.training.saved.folder)
        self.comparison.set_busy(True)

        def done(_: Any) -> None:
            if self.is_open:
                self.comparison.set_busy(False)
            self.training.finish_decision()

        return run_in_thread(lambda: api.discard_model(folder), done, self._on_decision_failed)

    def _on_decision_failed(self, error: BaseException) -> None:
        if self.is_open:
            self.comparison.set_busy(False)
        show_exception(error)

    def _load_waiting_candidate(self) -> None:
        """Show a new model from an earlier session that was neither adopted nor discarded."""
        if self.training.state != "idle":
            return

        def show(candidate: tuple[Judged, FineTuneSaved] | None) -> None:
            if candidate is not None and self.training.state == "idle":
                self.training.show_candidate(*candidate)

        run_in_thread(newest_candidate, show, owner=self)
