"""The controls for the open case: its title, a rating and a comment, and the decisions on it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QLineEdit, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.caselist.decisions import MAX_RATING
from napari_latentseg.widgets._shared.controls import allow, widget_row
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets.cases.opened_case import OpenedCase

__all__ = ["OpenedCasePanel"]

_RATING_TEXTS = ("unusable", "large changes needed", "small changes needed", "no change needed")
_NO_CASE = "Open a case first"
_COMMENT = "Kept with the decision, and shown in the list"
_RATING_WIDTH = 28  # pixels: four beside a comment


class OpenedCasePanel(QWidget):
    """What a reader says of the open case; rating and comment are written into its `OpenedCase`.

    Signals
    -------
    approved, rejected, closed
        A button was clicked.
    second_reader_asked
        A second reader is to be asked; whether blind.
    """

    approved = Signal()
    rejected = Signal()
    closed = Signal()
    second_reader_asked = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._opened: OpenedCase | None = None
        self.title = PlainLabel()
        self.rating_buttons = QButtonGroup(self)
        self.rating_buttons.setExclusive(False)
        self.comment = QLineEdit()
        self.comment.setPlaceholderText("Comment")
        self.comment.setAccessibleName("Comment")
        self.approve_button, self.reject_button = QPushButton("Approve, next"), QPushButton("Reject, next")
        self.second_button = QPushButton("Second reading")
        self.close_button = QPushButton("Close case")
        menu = QMenu(self.second_button)
        self.open_action = menu.addAction("open: the first mask is shown")
        self.blind_action = menu.addAction("blind: the first mask is not shown")
        self.second_button.setMenu(menu)
        self._lay_out()
        self.approve_button.clicked.connect(self.approved)
        self.reject_button.clicked.connect(self.rejected)
        self.close_button.clicked.connect(self.closed)
        assert self.open_action is not None
        assert self.blind_action is not None
        self.open_action.triggered.connect(lambda: self.second_reader_asked.emit(False))
        self.blind_action.triggered.connect(lambda: self.second_reader_asked.emit(True))
        self.rating_buttons.idClicked.connect(self._rate)
        self.comment.textEdited.connect(self._write_comment)

    def _lay_out(self) -> None:
        rating_row = QHBoxLayout()
        rating_row.addWidget(PlainLabel("Rating"))
        for rating, text in enumerate(_RATING_TEXTS, 1):
            button = QPushButton(str(rating))
            button.setToolTip(text)
            button.setCheckable(True)
            button.setFixedWidth(_RATING_WIDTH)
            self.rating_buttons.addButton(button, rating)
            rating_row.addWidget(button)
        rating_row.addWidget(self.comment, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.title)
        layout.addLayout(rating_row)
        layout.addWidget(widget_row(self.approve_button, self.reject_button))
        layout.addWidget(widget_row(self.second_button, self.close_button))

    def show_notes(self, opened: OpenedCase) -> None:
        """Fill in the rating and the comment of a case."""
        self._opened = opened
        self.comment.setText(opened.comment)
        self._show_rating()

    def refresh(self, opened: OpenedCase | None, busy: str) -> None:
        """Allow what can be done with the open case.

        Parameters
        ----------
        opened
            The case that is open; None where none is.
        busy
            Why nothing can be done now; empty where something can.
        """
        self._opened = opened
        title = "No case is open." if opened is None else _title(opened)
        self.title.setText("Reading…" if busy else title)
        why_not = busy or ("" if opened is not None else _NO_CASE)
        for widget, what in (
            (self.approve_button, "Approve the mask on screen, and open the next case (Ctrl+Enter)"),
            (self.reject_button, "Reject: the image or its mask cannot be used. Opens the next case"),
            (self.second_button, "Approve the mask on screen, and ask for a second reader"),
            (self.close_button, "Close it without a decision, so that another reader can open it"),
            (self.comment, _COMMENT),
        ):
            allow(widget, why_not, what)
        for button in self.rating_buttons.buttons():
            button.setEnabled(not why_not)
        if opened is None:
            self.comment.clear()
            self._show_rating()

    def _rate(self, rating: int) -> None:
        opened = self._opened
        if opened is not None:
            opened.rating = None if opened.rating == rating else rating
            self._show_rating()

    def _write_comment(self, text: str) -> None:
        if self._opened is not None:
            self._opened.comment = text

    def _show_rating(self) -> None:
        opened = self._opened
        for rating in range(1, MAX_RATING + 1):
            button = self.rating_buttons.button(rating)
            if button is not None:
                button.setChecked(opened is not None and opened.rating == rating)


def _title(opened: OpenedCase) -> str:
    """The title of the open case, and how it is read."""
    if opened.case.state != "second reading":
        return opened.name
    how = "blind" if opened.case.is_blind else f"after {opened.case.first_reader}"
    return f"{opened.name}, second reading, {how}"
