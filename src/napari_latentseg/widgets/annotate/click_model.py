"""Which model answers the clicks that change a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_latentseg import api
from napari_latentseg.widgets._shared.controls import elastic_combo
from napari_latentseg.widgets._shared.model_entries import distinct_titles
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.session import session_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["ClickModelField"]

_FIRST = "any-structure"  # where nobody has chosen one: it is made for every structure


class ClickModelField(QWidget):
    """The installed models that take prompts.

    It shows what was chosen here; before that the model of Segment, where that takes prompts.

    Parameters
    ----------
    viewer
        The viewer.

    Signals
    -------
    changed
        Another model is shown.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session_of(viewer)
        self._chosen = ""
        self.combo = elastic_combo("The model that answers the clicks")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(PlainLabel("Model"))
        layout.addWidget(self.combo, 1)
        self.combo.activated.connect(self._on_activated)
        self._session.models_changed.connect(self.refresh)
        self.refresh()

    @property
    def name(self) -> str:
        """The name of the model; empty where none that takes prompts is installed."""
        return str(self.combo.currentData() or "")

    def refresh(self) -> None:
        """List the installed models again."""
        before = self.name
        cards = {name: card for name, card in api.list_models().items() if card.takes_prompts}
        titles = distinct_titles(cards.values())
        self.combo.clear()
        for name in cards:
            self.combo.addItem(titles[name], name)
        wanted = (self._chosen, str(self._session.choices.get("model", "")), _FIRST)
        places = [place for place in map(self.combo.findData, wanted) if place >= 0]
        self.combo.setCurrentIndex(places[0] if places else min(0, len(cards) - 1))
        self.combo.setEnabled(len(cards) > 1)
        self.combo.setToolTip(
            "The model that answers the clicks"
            if len(cards) > 1
            else "The only installed model that answers clicks; Train makes others"
            if cards
            else "No installed model answers clicks: install one in Models"
        )
        if self.name != before:
            self.changed.emit()

    def _on_activated(self, index: int) -> None:
        self._chosen = self.name
        self.changed.emit()
