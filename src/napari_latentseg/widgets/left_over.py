"""Work that was left when a program ended, to go on with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_latentseg.annotations import Draft

__all__ = ["LeftOver"]

_MOST = 3


class LeftOver(QWidget):
    """The newest drafts that nobody works on, each with a button to go on and one to discard it.

    Signals
    -------
    wanted, unwanted
        The family of models and the `Draft`.
    """

    wanted = Signal(str, object)
    unwanted = Signal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.head = QLabel()
        self.head.setWordWrap(True)
        self.go_buttons: list[QPushButton] = []
        self.discard_buttons: list[QPushButton] = []
        self._rows = QWidget()
        self._grid = QGridLayout(self._rows)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.head)
        layout.addWidget(self._rows)
        self.hide()

    def show_drafts(self, drafts: Sequence[tuple[str, Draft]]) -> None:
        """List drafts, the newest first."""
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.go_buttons, self.discard_buttons = [], []
        for row, (family, draft) in enumerate(drafts[:_MOST]):
            told = QLabel(_told(family, draft))
            told.setWordWrap(True)
            go, discard = QPushButton("Go on"), QPushButton("Discard")
            go.setToolTip("Open the image and the mask as they were")
            discard.setToolTip("Remove what was painted; approved slices stay")
            go.clicked.connect(lambda _=False, f=family, d=draft: self._take(self.wanted, f, d))
            discard.clicked.connect(lambda _=False, f=family, d=draft: self._take(self.unwanted, f, d))
            for column, widget in enumerate((told, go, discard)):
                self._grid.addWidget(widget, row, column)
            self.go_buttons.append(go)
            self.discard_buttons.append(discard)
        more = len(drafts) - _MOST
        self.head.setText(
            "Work that was left before it was approved" + (f" ({more} more)" if more > 0 else "") + ":"
        )
        self.setVisible(bool(drafts))

    def _take(self, signal: object, family: str, draft: Draft) -> None:
        for button in (*self.go_buttons, *self.discard_buttons):
            button.setEnabled(False)  # once is enough; the list comes anew
        signal.emit(family, draft)  # type: ignore[attr-defined]


def _told(family: str, draft: Draft) -> str:
    when = datetime.fromisoformat(draft.time).astimezone()
    day = "today" if when.date() == datetime.now().date() else f"{when:%d %B}"
    size = " x ".join(str(n) for n in draft.shape[: len(draft.axes.removesuffix("c"))])
    return f"{size}, {family}, {day} at {when:%H:%M}"
