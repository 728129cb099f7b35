"""Unfinished corrections of earlier sessions, to resume or discard."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.widgets._shared.plain_text import PlainLabel

if TYPE_CHECKING:
    from napari_latentseg.annotations import Draft

__all__ = ["DraftsPanel"]

_MAX_DRAFTS = 3  # rows; more would push the rest of the widget off a screen of 1366 x 768


class DraftsPanel(QWidget):
    """The newest drafts that are not open, each with a button to resume and one to discard it.

    Signals
    -------
    resume_requested, discard_requested
        The family of models and the `Draft`.
    """

    resume_requested = Signal(str, object)
    discard_requested = Signal(str, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.header = PlainLabel()
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
        """Show the first drafts of a list, with their model family, newest first."""
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.resume_buttons, self.discard_buttons = [], []
        for row, (family, draft) in enumerate(drafts[:_MAX_DRAFTS]):
            description = PlainLabel(_draft_text(family, draft))
            description.setWordWrap(True)
            resume, discard = QPushButton("Resume"), QPushButton("Discard")
            resume.setToolTip("Open the image and the unfinished mask")
            discard.setToolTip("Delete the unsaved edits; approved slices are kept")
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
            "Unfinished corrections" + (f" ({hidden_count} more)" if hidden_count > 0 else "") + ":"
        )
        self.setVisible(bool(drafts))

    def _request(self, signal: Any, family: str, draft: Draft) -> None:
        for button in (*self.resume_buttons, *self.discard_buttons):
            button.setEnabled(False)  # the list is rebuilt when the request is done
        signal.emit(family, draft)


def _draft_text(family: str, draft: Draft) -> str:
    when = datetime.fromisoformat(draft.time).astimezone()
    day = "today" if when.date() == datetime.now().date() else f"{when:%d %B}"
    size = " x ".join(str(n) for n in draft.shape[: len(draft.axes.removesuffix("c"))])
    return f"{size}, {family}, {day} at {when:%H:%M}"
