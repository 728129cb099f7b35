"""The fields of the Train widget: base model, training data, time, and what few people need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QLineEdit, QSpinBox, QVBoxLayout, QWidget

from napari_latentseg import api
from napari_latentseg.widgets._shared.controls import collapsible, elastic_combo, form_layout
from napari_latentseg.widgets._shared.model_entries import distinct_titles
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets.annotate.correction import model_family
from napari_latentseg.widgets.train.data_source import DataSourceFields
from napari_latentseg.widgets.train.process import FineTuneRequest
from napari_latentseg.widgets.train.structure_field import StructureField

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.models.card import ModelCard

__all__ = ["TrainForm"]

_DEVICES = {"automatic": "auto", "CPU": "cpu", "NVIDIA GPU": "cuda", "Apple GPU": "mps"}


class TrainForm(QWidget):
    """What a fine-tuning is to be made of.

    Parameters
    ----------
    viewer
        The viewer whose layers can be training data.

    Signals
    -------
    chosen
        Another base model or other data were chosen.
    structure_named
        The name of the new structure was edited.

    Attributes
    ----------
    cards
        Of the models that were listed last, by name.
    """

    chosen = Signal()
    structure_named = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.cards: dict[str, ModelCard] = {}
        self.model = elastic_combo("Base model; it is not changed")
        self.structure = StructureField()
        self.data_source = DataSourceFields(viewer)
        self.minutes = QDoubleSpinBox()
        self.name = QLineEdit()
        self.device = QComboBox()
        self.seed = QSpinBox()
        self._set_up_fields()
        self._lay_out()
        self.model.activated.connect(lambda _: self.chosen.emit())
        self.data_source.changed.connect(self.chosen)
        self.structure.textChanged.connect(lambda _: self.structure_named.emit())

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

    def _lay_out(self) -> None:
        advanced_fields = QWidget()
        advanced_rows = form_layout(advanced_fields)
        advanced_rows.addRow("Name", self.name)
        advanced_rows.addRow("Device", self.device)
        advanced_rows.addRow("Seed", self.seed)
        self.advanced = collapsible("Advanced", advanced_fields)
        self._rows = form_layout()
        self._rows.addRow("Base model", self.model)
        self._rows.addRow("New structure", self.structure)
        self._rows.addRow(PlainLabel("Data"))
        self._rows.addRow(self.data_source)  # the whole width, for what is approved in words
        self._rows.addRow("Time", self.minutes)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._rows)
        layout.addWidget(self.advanced)

    @property
    def card(self) -> ModelCard | None:
        """The card of the base model; None where no model is installed."""
        return self.cards.get(str(self.model.currentData()))

    def reload_models(self, preferred: Any) -> None:
        """List the installed models again, those that are pointed at last.

        Parameters
        ----------
        preferred
            Name of the model that is selected where none was before; None for the first of the list.
        """
        previous = self.model.currentData() or preferred
        self.cards = api.list_models()
        titles = distinct_titles(self.cards.values())
        self.model.clear()
        for name, card in sorted(self.cards.items(), key=lambda entry: entry[1].takes_prompts):
            title = f"{titles[name]} v{card.version}"
            self.model.addItem(title, name)
            self.model.setItemData(self.model.count() - 1, title, Qt.ItemDataRole.ToolTipRole)
        self.select_model(previous)

    def select_model(self, name: Any) -> None:
        """Select a model; the first of the list where there is none of that name."""
        self.model.setCurrentIndex(max(0, self.model.findData(name)))

    def show_approved(self, summary: str) -> None:
        """Show what is approved for the base model, in words, and the fields that this base needs."""
        self.structure.show_for(self.card, self._rows)
        self.data_source.show_approved_count(summary)

    def problem(self, approved_slices: int) -> str:
        """Why no training can start; empty where one can.

        Parameters
        ----------
        approved_slices
            Number of slices that are approved for the base model.
        """
        if self.card is None:
            return "No model is installed."
        return self.structure.problem(self.card) or self.data_source.problem(approved_slices)

    def case_count(self, approved_cases: int) -> int | None:
        """Number of cases of the chosen source; None for a folder, which only the training process reads.

        Parameters
        ----------
        approved_cases
            Number of cases that are approved for the base model.
        """
        match self.data_source.source:
            case "approved":
                return approved_cases
            case "layers":
                return len(self.data_source.chosen_pairs())
            case "folder":
                return None

    def request(self, card: ModelCard) -> FineTuneRequest:
        """The arguments that the fields give.

        Parameters
        ----------
        card
            Of the base model.

        Returns
        -------
        FineTuneRequest
            Without `data` where these are layers, which have to be written to files first.
        """
        data: tuple[Path, ...] = ()
        labels = ""
        match self.data_source.source:
            case "approved":
                from napari_latentseg.annotations import store_folder

                data = (store_folder(model_family(card)),)
            case "folder":
                data = (Path(self.data_source.folder_path.text().strip()),)
                labels = self.data_source.folder_labels.text().strip()
            case "layers":
                pass
        return FineTuneRequest(
            base=card.name,
            data=data,
            minutes=self.minutes.value(),
            name=self.name.text().strip(),
            device=str(self.device.currentData()),
            seed=self.seed.value(),
            labels=labels,
            structure=self.structure.name_for(card),
        )
