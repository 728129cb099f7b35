"""Work that was left when a program ended, to go on with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_latentseg.annotations import Draft

__all__ = ["DraftsPanel"]

_MAX_DRAFTS = 3


class DraftsPanel(QWidget):
    """The newest drafts that nobody works on, each with a button to go on and one to discard it.

    Signals
    -------
    resume_requested, discard_requested
        The family of models and the `Draft`.
    """

    resume_requested = Signal(str, object)
    discard_requested = Signal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.header = QLabel()
        self.header.setWordWrap(True)
        self.resume_buttons: list[QPushButton] = []
        self.discard_buttons: list[QPushButton] = []
        self._rows = QWidget()
        self._grid = QGridLayout(self._rows)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setColumnStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.header)
        layout.addWidget(self._rows)
        self.hide()

    def show_drafts(self, drafts: Sequence[tuple[str, Draft]]) -> None:
        """List drafts, the newest first."""
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.resume_buttons, self.discard_buttons = [], []
        for row, (family, draft) in enumerate(drafts[:_MAX_DRAFTS]):
            description = QLabel(_draft_text(family, draft))
            description.setWordWrap(True)
            resume, discard = QPushButton("Go on"), QPushButton("Discard")
            resume.setToolTip("Open the image and the mask as they were")
            discard.setToolTip("Remove what was painted; approved slices stay")
            resume.clicked.connect(
                lambda _=False, f=family, d=draft: self._request(self.resume_requested, f, d)
            )
            discard.clicked.connect(
                lambda _=False, f=family, d=draft: self._request(self.discard_requested, f, d)
            )
            for column, widget in enumerate((description, resume, discard)):
                self._grid.addWidget(widget, row, column)
            self.resume_buttons.append(resume)
            self.discard_buttons.append(discard)
        hidden_count = len(drafts) - _MAX_DRAFTS
        self.header.setText(
            "Work that was left before it was approved"
            + (f" ({hidden_count} more)" if hidden_count > 0 else "")
            + ":"
        )
        self.setVisible(bool(drafts))

    def _request(self, signal: object, family: str, draft: Draft) -> None:
        for button in (*self.resume_buttons, *self.discard_buttons):
            button.setEnabled(False)  # once is enough; the list comes anew
        signal.emit(family, draft)  # type: ignore[attr-defined]


def _draft_text(family: str, draft: Draft) -> str:
    when = datetime.fromisoformat(draft.time).astimezone()
    day = "today" if when.date() == datetime.now().date() else f"{when:%d %B}"
    size = " x ".join(str(n) for n in draft.shape[: len(draft.axes.removesuffix("c"))])
    return f"{size}, {family}, {day} at {when:%H:%M}"
