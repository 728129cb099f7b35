"""The name of a new structure, which a model that is pointed at is taught."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QLineEdit

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard

__all__ = ["StructureField"]

_NOTHING_NAMED = "Name the new structure: the model learns to find it without being pointed at."


class StructureField(QLineEdit):
    """A field that is there where the base model has no class of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.setPlaceholderText("such as: left kidney")
        self.setToolTip("Name of the structure in the masks. The new model finds it without being pointed at")

    def show_for(self, card: ModelCard | None, form: QFormLayout) -> None:
        """Show or hide its row of a form."""
        form.setRowVisible(self, card is not None and card.takes_prompts)

    def problem(self, card: ModelCard) -> str:
        """What is missing for a training of this base; empty where nothing is."""
        return _NOTHING_NAMED if card.takes_prompts and not self.name_for(card) else ""

    def name_for(self, card: ModelCard) -> str:
        """The name; empty where the base has classes of its own."""
        return self.text().strip() if card.takes_prompts else ""

    def taught(self, card: ModelCard) -> ModelCard:
        """The card with the class that the labels of the layers are."""
        name = self.name_for(card)
        return card.replace(classes=(card.classes[0].replace(name=name),)) if name else card
