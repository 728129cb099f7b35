"""Before and after in Review: which two states of the image a key shows in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Labels
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_latentseg.widgets._shared.controls import elastic_combo
from napari_latentseg.widgets._shared.destroyed import call_when_destroyed
from napari_latentseg.widgets._shared.keys import bind_keys, key_text
from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets.dates.flip import flip_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QComboBox

__all__ = ["FlipPanel"]

_ALONE = ""  # the data of the entry that has no mask


class FlipPanel(QWidget):
    """Two boxes with the states, the button that shows them in turn, and which of them is on screen.

    Parameters
    ----------
    viewer
        The viewer.
    parent
        The widget that it is part of; its keys are bound while this exists.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._flip = flip_of(viewer)
        self._is_chosen = False  # by the person, and not by us
        self.first = elastic_combo("State A: the image alone, or with one of its masks")
        self.second = elastic_combo("State B: the image alone, or with one of its masks")
        self.button = QPushButton("Flip")
        self.end_button = QPushButton("End")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(PlainLabel("Flip between"), 0, 0)
        grid.addWidget(self.first, 0, 1, 1, 2)
        grid.addWidget(PlainLabel("and"), 1, 0)
        grid.addWidget(self.second, 1, 1, 1, 2)
        grid.addWidget(self.button, 2, 1)
        grid.addWidget(self.end_button, 2, 2)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(2, 1)
        self.button.clicked.connect(self.flip)
        self.end_button.clicked.connect(self._flip.stop)
        for box in (self.first, self.second):
            box.activated.connect(self._on_chosen)
        self._flip.changed.connect(self._refresh)
        self._flip.choices_changed.connect(self.list_states)
        bind_keys(viewer, self, {"flip": self.flip})
        call_when_destroyed(self, self._flip.stop)
        self.list_states()

    def list_states(self) -> None:
        """List the states of the image; what was chosen stays chosen, else the mask and its correction."""
        choices = self._flip.choices()
        chosen = [self._layer_of(box) for box in (self.first, self.second)]
        keeps = self._is_chosen and all(layer in choices for layer in chosen)
        self._is_chosen = keeps
        states = chosen if keeps else _usual(choices)
        for box, state in zip((self.first, self.second), states, strict=True):
            box.clear()
            for choice in choices:
                box.addItem(self._flip.text_of(choice), _ALONE if choice is None else str(choice.unique_id))
            box.setCurrentIndex(choices.index(state))
        self._refresh()

    def flip(self) -> None:
        """Show the first state, or the other one of the two."""
        first, second = self._layer_of(self.first), self._layer_of(self.second)
        if first is not second:
            self._flip.flip(first, second)

    def _on_chosen(self, row: int) -> None:
        self._is_chosen = True
        self._refresh()

    def _layer_of(self, box: QComboBox) -> Labels | None:
        layer_id = box.currentData()
        found = (layer for layer in self.viewer.layers if str(layer.unique_id) == layer_id)
        return next((layer for layer in found if isinstance(layer, Labels)), None)

    def _refresh(self) -> None:
        is_possible = self.first.currentData() != self.second.currentData()
        self.button.setEnabled(is_possible)
        key = key_text("flip")
        shown = self._flip.shown
        self.button.setText(f"Flip ({key})" if shown is None else f"{'AB'[shown]} is shown ({key})")
        self.button.setToolTip(
            f"Show A and B in turn, with nothing else over the image ({key})"
            if is_possible
            else "Choose two states that differ"
        )
        self.end_button.setEnabled(self._flip.is_on)
        self.end_button.setToolTip(
            "Show the layers again as they were" if self._flip.is_on else "Flip is not in use"
        )


def _usual(choices: list[Labels | None]) -> list[Labels | None]:
    """The two states to begin with, of: the image alone, the earlier mask, the mask, its correction."""
    masks = {
        role: [layer for layer in choices if layer is not None and role_of(layer) == role]
        for role in ("earlier", "corrected")
    }
    others = [layer for layer in choices if layer is not None and role_of(layer) not in masks]
    states = [None, *masks["earlier"][-1:], *others[-1:], *masks["corrected"][-1:]]
    return [None, None] if len(states) < 2 else states[-2:]
