"""The fields of the evaluation window: what is evaluated, on which images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QWidget,
)

from napari_latentseg.api.click_evaluation import MAX_CLICKS
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.controls import elastic_combo, widget_row
from napari_latentseg.widgets._shared.model_entries import ModelEntry, distinct_titles
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.preferences import preferences
from napari_latentseg.widgets._shared.threads import run_in_thread
from napari_latentseg.widgets.evaluate.request import EvaluationRequest, FolderFacts, look_at_folder
from napari_latentseg.widgets.segment.form import SOURCE_LABELS

__all__ = ["EvaluationFields"]

_CHECK_DELAY_MS = 150  # after the last key, so that a folder is not looked for at every letter
_MAX_SAMPLES = 200  # as in Segment
_MAX_ANSWERS = 64  # as `inference/prompt_session.py`, which would load torch
_DEFAULT_CLICKS = 5  # as `evaluate`: figures after 1, 3 and 5 are what others report
_MOST_IMAGES = 100_000
_BY_CLICKS = (
    "A simulated reader clicks on the three largest objects of each label: first into the middle, then where"
    " the answer is most wrong. The score is the Dice after each click."
)
_SUBSETS = {
    "All images": ("all", False),
    "Validation images of the model": ("validation", False),
    "Test images of a list": ("test", True),
    "Validation images of a list": ("validation", True),
    "All images of a list": ("all", True),
}


class EvaluationFields(QWidget):
    """What is evaluated, and on which images.

    Signals
    -------
    changed
        A field has changed, or the folder was looked at.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.facts = FolderFacts()
        self._cards: dict[str, ModelCard] = {}
        self._is_checking = False
        self._check_number = 0
        self._make()
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CHECK_DELAY_MS)
        self._timer.timeout.connect(self._look)
        self._connect()
        self._on_subset()

    def _make(self) -> None:
        self.model = elastic_combo("The model that is scored")
        self.model.setAccessibleName("Model")
        self.data = QLineEdit()
        self.data.setPlaceholderText(
            "a folder with images/ and masks/, an nnU-Net set, or an annotation store"
        )
        self.data.setAccessibleName("Annotated images")
        self.folder_button = QPushButton("Folder…")
        self.facts_label = PlainLabel()
        self.subset = QComboBox()
        self.subset.addItems(list(_SUBSETS))
        self.subset.setAccessibleName("Which images")
        self.subset.setToolTip("Scores on images that the model was trained on are too high")
        self.lists = QLineEdit()
        self.lists.setPlaceholderText("JSON, CSV or text with the names of the images")
        self.lists.setAccessibleName("List of images")
        self.list_button = QPushButton("File…")
        self.samples = QSpinBox()
        self.samples.setRange(1, _MAX_SAMPLES)
        self.samples.setAccessibleName("Samples")
        self.source = elastic_combo("What makes the samples differ; preset to what the model uses by default")
        self.source.setAccessibleName("Sampling source")
        self.against = elastic_combo("Score this model on the same images, and test the difference")
        self.against.setAccessibleName("Compare with")
        self.readers = QCheckBox()
        self.objects = QCheckBox("match the objects of the masks")
        self.objects.setToolTip(
            "For masks with many objects, such as nuclei: Dice does not show missed or merged objects"
        )
        self.patients = QLineEdit()
        self.patients.setPlaceholderText("optional: a pattern for the file names, such as ^(patient[0-9]+)")
        self.patients.setToolTip(
            "The part of a name in parentheses is the patient. Intervals and the test are then over patients:"
            " images of one patient are alike, and say less than as many images of several"
        )
        self.patients.setAccessibleName("Patients")
        self.clicks = QSpinBox()
        self.clicks.setRange(1, MAX_CLICKS)
        self.clicks.setValue(_DEFAULT_CLICKS)
        self.clicks.setAccessibleName("Clicks on each object")
        self.clicks.setToolTip("Most clicks on an object")
        self.images = QSpinBox()
        self.images.setRange(0, _MOST_IMAGES)
        self.images.setSpecialValueText("all")
        self.images.setAccessibleName("Most images")
        self.images.setToolTip(
            "Use at most this many images, chosen evenly: each object takes some seconds on a CPU"
        )
        self.clicks_label = PlainLabel(_BY_CLICKS)
        self.clicks_label.setWordWrap(True)

    def _lay_out(self) -> None:
        self._form = form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Model", self.model)
        form.addRow("Images", widget_row(self.data, self.folder_button))
        form.addRow("", self.facts_label)
        self.list_row = widget_row(self.lists, self.list_button)
        form.addRow("Which", self.subset)
        form.addRow("List", self.list_row)
        self._list_label = form.labelForField(self.list_row)
        form.addRow("Samples", widget_row(self.source, PlainLabel("number"), self.samples))
        form.addRow("Compare with", self.against)
        form.addRow("Patients", self.patients)
        form.addRow("Readers", self.readers)
        form.addRow("Objects", self.objects)
        self.clicks_row = widget_row(self.clicks, PlainLabel("images, at most"), self.images)
        form.addRow("Clicks", self.clicks_row)
        form.addRow("", self.clicks_label)

    def _connect(self) -> None:
        self.data.textChanged.connect(self._on_folder)
        self.patients.textChanged.connect(self._on_folder)
        self.lists.textChanged.connect(lambda text: self.changed.emit())
        self.folder_button.clicked.connect(self._browse)
        self.list_button.clicked.connect(self._browse_list)
        self.subset.currentIndexChanged.connect(self._on_subset)
        self.model.currentIndexChanged.connect(self._on_model)
        self.source.currentIndexChanged.connect(self._on_source)
        self.against.currentIndexChanged.connect(lambda index: self.changed.emit())

    def show_models(self, entries: Sequence[ModelEntry], chosen: str = "") -> None:
        """List all versions of the installed models.

        Parameters
        ----------
        entries
            The models.
        chosen
            Folder of the version to select; where empty, the one that was selected before.
        """
        chosen = chosen or str(self.model.currentData() or "")
        other = str(self.against.currentData() or "")
        versions = [item for entry in entries for item in reversed(entry.versions)]
        self._cards = {str(version.folder): card for version, card in versions}
        by_name = distinct_titles(self._cards.values())
        titles = {folder: f"{by_name[card.name]} v{card.version}" for folder, card in self._cards.items()}
        others = {"": "no other model"} | {
            folder: title for folder, title in titles.items() if not self._cards[folder].takes_prompts
        }
        for combo, listed in ((self.model, titles), (self.against, others)):
            combo.blockSignals(True)
            combo.clear()
            for folder, title in listed.items():
                combo.addItem(title, folder)
            combo.blockSignals(False)
        self.against.setCurrentIndex(max(0, self.against.findData(other)))
        self.model.setCurrentIndex(max(0, self.model.findData(chosen)))
        self._on_model()

    def show_request(self, request: EvaluationRequest) -> None:
        """Fill in the arguments of an earlier evaluation."""
        self.data.setText(str(request.data))
        self.patients.setText(request.patients)
        self.lists.setText("" if request.lists is None else str(request.lists))
        kinds = list(_SUBSETS.values())
        self.subset.setCurrentIndex(kinds.index((request.subset, request.lists is not None)))
        self.against.setCurrentIndex(max(0, self.against.findData(request.against)))
        self.readers.setChecked(request.with_readers)
        self.objects.setChecked(request.with_objects)
        self.clicks.setValue(request.clicks or _DEFAULT_CLICKS)
        self.images.setValue(request.images or 0)

    @property
    def card(self) -> ModelCard | None:
        """Of the chosen model."""
        return self._cards.get(str(self.model.currentData()))

    @property
    def is_by_clicks(self) -> bool:
        """Whether the chosen model is pointed at."""
        return self.card is not None and self.card.takes_prompts

    @property
    def request(self) -> EvaluationRequest:
        """What the fields say; samples and source are left to the model where they are its own."""
        card = self.card
        if card is not None and card.takes_prompts:
            return self._click_request(card)
        subset, has_list = _SUBSETS[self.subset.currentText()]
        source: str | None = str(self.source.currentData())
        samples: int | None = self.samples.value()
        if card is not None and source == card.sources[0]:
            source = None
            samples = None if samples == _default_samples(card, card.sources[0]) else samples
        elif source == "none":
            samples = None
        return EvaluationRequest(
            model=str(self.model.currentData()),
            data=Path(self.data.text().strip()).absolute(),
            subset=subset,
            lists=Path(self.lists.text().strip()).absolute() if has_list else None,
            samples=samples,
            source=source,
            against=str(self.against.currentData() or ""),
            with_readers=self.readers.isEnabled() and self.readers.isChecked(),
            with_objects=self.objects.isChecked(),
            patients=self.patients.text().strip(),
            device=preferences().device,
        )

    def _click_request(self, card: ModelCard) -> EvaluationRequest:
        samples = self.samples.value()
        return EvaluationRequest(
            model=str(self.model.currentData()),
            data=Path(self.data.text().strip()).absolute(),
            subset=_SUBSETS[self.subset.currentText()][0],
            samples=None if samples == card.default_samples else samples,
            clicks=self.clicks.value(),
            images=self.images.value() or None,
            device=preferences().device,
        )

    def problem(self) -> str:
        """Why these images cannot be evaluated on; empty where they can."""
        if self.card is None:
            return "No model is installed."
        if not self.data.text().strip():
            return "Choose a folder of annotated images first."
        if self._is_checking:
            return "The folder is being checked."
        if self.facts.problem:
            return self.facts.problem
        if self.is_by_clicks and _SUBSETS[self.subset.currentText()][1]:
            return "This model is scored on all images, or on its validation images: choose one of these."
        if self.list_row.isVisibleTo(self) and not self.lists.text().strip():
            return "Choose the list of the images first."
        if self.against.currentData() == self.model.currentData():
            return "Compare the model with another one, or with none."
        return ""

    @property
    def is_checking(self) -> bool:
        """Whether the folder is being looked at."""
        return self._is_checking

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Annotated images", self.data.text())
        if folder:
            self.data.setText(folder)

    def _browse_list(self) -> None:
        kinds = "Lists (*.json *.csv *.txt *.pkl)"
        path, _ = QFileDialog.getOpenFileName(self, "List of images", self.lists.text(), kinds)
        if path:
            self.lists.setText(path)

    def _on_folder(self) -> None:
        self._check_number += 1
        self._is_checking = True
        self._timer.start()
        self.changed.emit()

    def _look(self) -> None:
        number = self._check_number
        data, patients = self.data.text().strip(), self.patients.text().strip()

        def show(facts: FolderFacts) -> None:
            if number != self._check_number:  # a later check has replaced this one
                return
            self._is_checking = False
            self.facts = facts
            self._show_facts()
            self.changed.emit()

        run_in_thread(
            lambda: look_at_folder(data, patients),
            show,
            lambda error: show(FolderFacts(problem=str(error))),
            owner=self,
        )

    def _show_facts(self) -> None:
        self.facts_label.setText(self.facts.describe())
        self.facts_label.setVisible(bool(self.facts_label.text()))
        readers = self.facts.readers
        names = f"{readers[0]} to {readers[-1]}" if len(readers) > 1 else "".join(readers)
        count = count_text(len(readers), "reader")
        text = f"compare the samples with {count} ({names})" if readers else "none in the folder"
        self.readers.setText(text)
        self.readers.setEnabled(bool(readers))
        self.readers.setToolTip(
            "Squared generalized energy distance, and IoU of samples and readers matched one to one"
            if readers
            else "The folder has no masks of several readers: masks_r1/, masks_r2/, ... beside images/"
        )

    def _on_subset(self, *_: Any) -> None:
        has_list = _SUBSETS[self.subset.currentText()][1]
        self.list_row.setVisible(has_list)
        if self._list_label is not None:
            self._list_label.setVisible(has_list)
        self._show_facts()
        self.changed.emit()

    def _on_model(self, *_: Any) -> None:
        """Offer the sources of the model, and choose what it is used with; show what is measured."""
        card = self.card
        rows: list[tuple[QWidget, bool]] = [(self.clicks_row, True), (self.clicks_label, True)]
        rows += [(row, False) for row in (self.against, self.patients, self.readers, self.objects)]
        for row, is_for_clicks in rows:
            self._form.setRowVisible(row, is_for_clicks == self.is_by_clicks)
        self.source.blockSignals(True)
        self.source.clear()
        for source in () if card is None else card.sources:
            self.source.addItem(SOURCE_LABELS[source], source)
        self.source.blockSignals(False)
        self._on_source()

    def _on_source(self, *_: Any) -> None:
        card, source = self.card, self.source.currentData()
        if card is not None and source is not None:
            self.samples.setMaximum(_most_samples(card, source))
            self.samples.setValue(_default_samples(card, source))
        self.samples.setEnabled(source != "none")
        self.samples.setToolTip("A single pass has one" if source == "none" else "Samples of each image")
        self.changed.emit()


def _most_samples(card: ModelCard, source: str) -> int:
    if card.takes_prompts:
        return _MAX_ANSWERS
    return card.members if source == "members" else _MAX_SAMPLES


def _default_samples(card: ModelCard, source: str) -> int:
    if source == "none":
        return 1
    return min(card.default_samples, card.members) if source == "members" else card.default_samples
