"""The Train widget: teach a model from what was approved, see whether it is better, and only then use it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_latentseg.errors import BadInput
from napari_latentseg.models.store import list_cards
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.threads import run_in_thread, show_exception
from napari_latentseg.widgets.annotate.correction import model_family
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.train.comparison import CaseThumbnails, ComparisonPanel
from napari_latentseg.widgets.train.curves import TrainingCurves
from napari_latentseg.widgets.train.data_source import DataSourceFields, scan_pairs, write_layer_pairs
from napari_latentseg.widgets.train.messages import (
    planned_validation_text,
    training_progress,
    validation_text,
)
from napari_latentseg.widgets.train.process import FineTuneRequest, training_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.models.card import ModelCard

__all__ = ["TrainWidget"]

_DEVICES = {"best there is": "auto", "CPU": "cpu", "NVIDIA GPU": "cuda", "Apple GPU": "mps"}


class TrainWidget(QWidget):
    """Choose a model and what it is to learn from; watch; judge; use the new version, or not.

    Parameters
    ----------
    napari_viewer
        The viewer it belongs to.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session = session_of(napari_viewer)
        self.corrections = corrections_of(napari_viewer)
        self.training = training_of(napari_viewer)
        self.cards: dict[str, ModelCard] = {}
        self.model = QComboBox()
        self.model.setToolTip("The model to begin from; it is not changed")
        self.model.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.model.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.data_source = DataSourceFields(napari_viewer)
        self.minutes = QDoubleSpinBox()
        self.name = QLineEdit()
        self.device = QComboBox()
        self.seed = QSpinBox()
        self.validation_note = QLabel()
        self.train_button = QPushButton("Train")
        self.hint = QLabel()
        self.status = QLabel()
        self.progress_bar = QProgressBar()
        self.stop_button = QPushButton("Stop, keep best")
        self.resume_button = QPushButton("Go on")
        self.details_button = QPushButton("Copy details")
        self.curves = TrainingCurves(napari_viewer)
        self.pictures = CaseThumbnails()
        self.comparison = ComparisonPanel()
        self.form = QWidget()
        self._is_writing_layers = False
        self._lay_out()
        self._connect()
        self.reload_models()
        self._load_waiting_candidate()

    def _lay_out(self) -> None:
        self.minutes.setRange(0.05, 600)
        self.minutes.setDecimals(1)
        self.minutes.setValue(2)
        self.minutes.setSuffix(" min")
        self.minutes.setToolTip("How long it may learn; judging comes after it")
        self.name.setToolTip("What the new model is called, should both be kept")
        self.name.setPlaceholderText("given by itself")
        for title, name in _DEVICES.items():
            self.device.addItem(title, name)
        self.device.setToolTip("Where to compute")
        self.seed.setRange(0, 2**31 - 1)
        self.seed.setToolTip("The same seed keeps the same cases apart")
        self.stop_button.setToolTip("Stop learning; the best so far is kept, and judged")
        self.resume_button.setToolTip("Go on learning from where it was stopped, for the time chosen above")
        self.progress_bar.setRange(0, 1000)
        self.progress_bar.setTextVisible(False)
        for label in (self.validation_note, self.hint, self.status):
            label.setWordWrap(True)
        advanced = QWidget()
        advanced_form = QFormLayout(advanced)
        advanced_form.setContentsMargins(0, 0, 0, 0)
        advanced_form.addRow("Name", self.name)
        advanced_form.addRow("Device", self.device)
        advanced_form.addRow("Seed", self.seed)
        self.advanced = QCollapsible("Advanced")
        if (margins := self.advanced.layout()) is not None:
            margins.setContentsMargins(0, 0, 0, 0)
        self.advanced.addWidget(advanced)
        fields = QFormLayout()
        fields.setContentsMargins(0, 0, 0, 0)
        fields.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        fields.addRow("Start from", self.model)
        fields.addRow("Learn from", self.data_source)
        fields.addRow("Time", self.minutes)
        form = QVBoxLayout(self.form)
        form.setContentsMargins(0, 0, 0, 0)
        form.addLayout(fields)
        form.addWidget(self.advanced)
        progress_row = QHBoxLayout()
        progress_row.addWidget(self.progress_bar, 1)
        progress_row.addWidget(self.stop_button)
        notice = QLabel("<i>For research. Not a medical device.</i>")
        content = QWidget()
        content_layout = QVBoxLayout(content)
        content_layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        content_layout.addWidget(self.form)
        content_layout.addWidget(self.validation_note)
        content_layout.addWidget(self.train_button)
        content_layout.addWidget(self.hint)
        content_layout.addLayout(progress_row)
        content_layout.addWidget(self.status)
        content_layout.addWidget(self.resume_button)
        content_layout.addWidget(self.details_button)
        content_layout.addWidget(self.comparison)
        content_layout.addWidget(self.curves)
        content_layout.addWidget(self.pictures)
        content_layout.addStretch(1)
        content_layout.addWidget(notice)
        scroll = QScrollArea()  # a small laptop's window is lower than all of it
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        self.setMinimumWidth(340)
        self.setMaximumWidth(380)

    def _connect(self) -> None:
        self.training.changed.connect(self._refresh)
        self.corrections.count_changed.connect(self._refresh)
        self.session.models_changed.connect(self.reload_models)
        self.model.activated.connect(self._on_model)
        self.data_source.changed.connect(self._refresh)
        self.train_button.clicked.connect(self.train)
        self.stop_button.clicked.connect(self.training.stop)
        self.resume_button.clicked.connect(self.resume)
        self.details_button.clicked.connect(self._copy_details)
        self.comparison.adopted.connect(self.adopt)
        self.comparison.discarded.connect(self.discard)

    @property
    def card(self) -> ModelCard | None:
        """The card of the model to begin from."""
        return self.cards.get(str(self.model.currentData()))

    def reload_models(self) -> None:
        """Look at the models at hand again; the chosen one stays chosen while it is there."""
        previous = self.model.currentData() or self.session.choices.get("model")
        self.cards = list_cards()
        self.model.clear()
        for name, card in self.cards.items():
            self.model.addItem(f"{card.title} v{card.version}", name)
        self.model.setCurrentIndex(max(0, self.model.findData(previous)))
        self._on_model()

    def _on_model(self, *_: Any) -> None:
        if self.card is not None:
            self.corrections.count(model_family(self.card))
        self._refresh()

    def _counts(self) -> tuple[int, int]:
        card = self.card
        return (0, 0) if card is None else self.corrections.approved_counts.get(model_family(card), (0, 0))

    def _missing_input(self) -> str:
        if self.card is None:
            return "No model is installed."
        return self.data_source.problem(self._counts()[0])

    def _refresh(self, *_: Any) -> None:
        training, (planes, scans) = self.training, self._counts()
        busy = training.busy or self._is_writing_layers
        awaits_decision = training.state == "done" and bool(training.judged)
        self.data_source.show_approved_count(planes, scans)
        problem = "" if busy else self._missing_input()
        self.form.setVisible(not busy and not awaits_decision)  # the room is wanted for what comes out
        self.train_button.setVisible(not busy and not awaits_decision)
        self.train_button.setEnabled(not busy and not problem and not awaits_decision)
        self.train_button.setToolTip(
            "A training is under way"
            if busy
            else "Decide about the new model first"
            if awaits_decision
            else problem
        )
        self.hint.setText(problem)
        self.hint.setVisible(bool(problem) and not awaits_decision)
        validation_line = (
            validation_text(training.data) if training.data and (busy or awaits_decision) else ""
        )
        if not validation_line and not awaits_decision:
            source = self.data_source.source
            cases = {"approved": scans, "layers": len(self.data_source.chosen_pairs())}.get(source)
            validation_line = "" if problem else planned_validation_text(cases)
        self.validation_note.setText(validation_line)
        self.validation_note.setVisible(bool(validation_line))
        fraction, text = training_progress(training, self._is_writing_layers)
        self.progress_bar.setVisible(busy)
        self.progress_bar.setValue(round(1000 * fraction))
        self.stop_button.setVisible(training.busy)
        self.stop_button.setEnabled(training.state in ("preparing", "running"))
        self.status.setText(text)
        self.status.setVisible(bool(text))
        self.resume_button.setVisible(training.can_resume)
        self.details_button.setVisible(bool(training.details))
        self.curves.show_epochs(training.epochs if busy or awaits_decision else [])
        cases = training.preview.get("cases", [])
        self.pictures.show_cases(cases if busy else [], {})
        self.comparison.setVisible(awaits_decision)
        if awaits_decision:
            self.comparison.show_comparison(training.judged.get("comparison", {}), cases)

    def train(self) -> Any:
        """Begin; what is wrong is said, and nothing starts.

        Returns
        -------
        worker
            Of the writing of layers; None where there are none to write.
        """
        card = self.card
        problem = self._missing_input()
        if problem or card is None:
            self._refresh()
            return None
        if self.data_source.source == "layers":
            pairs = scan_pairs(self.data_source.chosen_pairs())
            self._is_writing_layers = True
            self._refresh()

            def start_training(folder: Path) -> None:
                self._is_writing_layers = False
                self._start(card, folder, folder)

            def fail(error: BaseException) -> None:
                self._is_writing_layers = False
                self._refresh()
                show_exception(error)

            return run_in_thread(lambda: write_layer_pairs(pairs, card), start_training, fail)
        if self.data_source.source == "folder":
            self._start(card, Path(self.data_source.folder_path.text().strip()))
            return None
        from napari_latentseg.annotations import store_folder

        self._start(card, store_folder(model_family(card)))
        return None

    def _start(self, card: ModelCard, data: Path, temporary: Path | None = None) -> None:
        from napari_latentseg.models.versions import free_name

        request = FineTuneRequest(
            base=card.name,
            data=(data,),
            minutes=self.minutes.value(),
            name=self.name.text().strip() or free_name(card.name),
            device=str(self.device.currentData()),
            seed=self.seed.value(),
            temporary_data=temporary,
        )
        try:
            self.training.start(request)
        except BadInput as error:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
            show_exception(error)

    def resume(self) -> None:
        """Go on with the training that was stopped."""
        minutes_trained = (
            float(self.training.epochs[-1].get("seconds", 0)) / 60 if self.training.epochs else 0.0
        )
        try:
            self.training.resume(minutes_trained + self.minutes.value())
        except BadInput as error:
            show_exception(error)

    def adopt(self, keep_both: bool) -> Any:
        """Use the new model in place of its base, or beside it.

        Returns
        -------
        worker
            Of the installing.
        """
        folder = Path(str(self.training.saved.get("folder", "")))
        comparison = self.training.judged.get("comparison", {})
        name = comparison.get("new" if keep_both else "base", {}).get("name", "")
        version = comparison.get("new", {}).get("version", "")
        self.comparison.set_busy(True)

        def install() -> Path:
            from napari_latentseg.models.versions import adopt

            return adopt(folder, keep_both=keep_both)

        def done(installed: Path) -> None:
            self.training.finish_decision()
            self.session.choices["model"] = name
            self.session.models_changed.emit()
            if isalive(self):  # not closed meanwhile
                self.comparison.set_busy(False)
                self.model.setCurrentIndex(max(0, self.model.findData(name)))
                self._on_model()
            show_info(
                f"{name} is installed, beside its base."
                if keep_both
                else f"{name} is version {version} now. Models brings the earlier one back."
            )

        return run_in_thread(install, done, self._on_decision_failed)

    def discard(self) -> Any:
        """Remove the new model.

        Returns
        -------
        worker
            Of the removing.
        """
        folder = Path(str(self.training.saved.get("folder", "")))
        self.comparison.set_busy(True)

        def remove() -> None:
            from napari_latentseg.models.versions import discard

            discard(folder)

        def done(_: Any) -> None:
            if isalive(self):
                self.comparison.set_busy(False)
            self.training.finish_decision()

        return run_in_thread(remove, done, self._on_decision_failed)

    def _on_decision_failed(self, error: BaseException) -> None:
        if isalive(self):
            self.comparison.set_busy(False)
        show_exception(error)

    def _load_waiting_candidate(self) -> None:
        """Show a model of an earlier day that waits for a decision, where there is nothing else to show."""
        if self.training.state != "idle":
            return

        def load() -> Any:
            from napari_latentseg.widgets.train.messages import newest_candidate

            return newest_candidate()

        def show(candidate: Any) -> None:
            if candidate is not None and self.training.state == "idle":
                self.training.show_candidate(*candidate)

        run_in_thread(load, show)

    def _copy_details(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(f"{self.training.error}\n\n{self.training.details}")
