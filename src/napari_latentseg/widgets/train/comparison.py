"""The base model and the new model compared: verdict, metrics, thumbnails, and the three decisions."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from qtpy.QtCore import QByteArray, Qt, Signal
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.models.comparison import MIN_DSC_CHANGE, Comparison
from napari_latentseg.training.events import PreviewCase
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text

__all__ = ["CaseThumbnails", "ComparisonPanel", "metric_rows"]

_THUMBNAIL_SIZE = 92  # pixels; three of them fit into the width of the widget
_NO_CHANGE = "the same"
_COLUMNS = {"before": "base model", "now": "new model", "yours": "reference"}

Scores = dict[int, tuple[float, float]]
"""Dice of the base model and of the new one, by case number."""


class CaseThumbnails(QWidget):
    """Thumbnails of some validation cases: mask of the base model, of the new model, and the reference."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self.pictures: list[QLabel] = []
        self.captions: list[QLabel] = []

    def show_cases(self, cases: Sequence[PreviewCase], scores: Scores) -> None:
        """Show cases, those whose Dice fell most first.

        Parameters
        ----------
        cases
            The thumbnails.
        scores
            Dice of the cases that were validated; others are shown without figures.
        """
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.pictures, self.captions = [], []
        self.setVisible(bool(cases))
        for column, title in enumerate(_COLUMNS.values()):
            self._grid.addWidget(PlainLabel(title), 0, column, Qt.AlignmentFlag.AlignHCenter)
        for row, case in enumerate(sorted(cases, key=lambda case: _dsc_change(case, scores))):
            for column, name in enumerate(_COLUMNS):
                picture = PlainLabel()
                picture.setPixmap(_pixmap(getattr(case, name)))
                picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
                self._grid.addWidget(picture, 2 * row + 1, column)
                self.pictures.append(picture)
            caption = PlainLabel(_caption(case, scores))
            caption.setAlignment(Qt.AlignmentFlag.AlignCenter)
            self._grid.addWidget(caption, 2 * row + 2, 0, 1, len(_COLUMNS))
            self.captions.append(caption)


class ComparisonPanel(QWidget):
    """Both models on the same cases, and the buttons to use the new one, keep both or discard it.

    Attributes
    ----------
    buttons
        The row of the three buttons. The owner places it where it is in view without scrolling.

    Signals
    -------
    adopted
        True to install the new model next to the base model, False to make it the current version of it.
    discarded
        The new model is to be deleted.
    """

    adopted = Signal(bool)
    discarded = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.verdict = PlainLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        font = self.verdict.font()
        font.setBold(True)
        self.verdict.setFont(font)
        self.table = QWidget()
        self._grid = QGridLayout(self.table)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(0, 1)
        self.pictures = CaseThumbnails()
        self.notes = PlainLabel()
        self.notes.setWordWrap(True)
        self.use_button = QPushButton()
        self.keep_both_button = QPushButton("Keep both")
        self.discard_button = QPushButton("Discard")
        self.buttons = QWidget()
        buttons = QHBoxLayout(self.buttons)
        buttons.setContentsMargins(0, 0, 0, 0)
        for button in (self.use_button, self.keep_both_button, self.discard_button):
            buttons.addWidget(button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.verdict)
        layout.addWidget(self.table)
        layout.addWidget(self.pictures)
        layout.addWidget(self.notes)
        self._is_new_model = False
        self.use_button.clicked.connect(lambda: self.adopted.emit(self._is_new_model))
        self.keep_both_button.clicked.connect(lambda: self.adopted.emit(True))
        self.discard_button.clicked.connect(self.discarded)

    def show_comparison(self, comparison: Comparison, preview: Sequence[PreviewCase]) -> None:
        """Show a comparison.

        Parameters
        ----------
        comparison
            The content of `comparison.json`.
        preview
            Thumbnails of some of the cases.
        """
        self.verdict.setText(comparison.line)
        base, new = comparison.base, comparison.new
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        rows = metric_rows(comparison)
        self.table.setVisible(bool(rows))
        headings = ("", f"v{base.version}", "new")
        for row, cells in enumerate([headings, *rows] if rows else []):
            for column, text in enumerate(cells):
                label = PlainLabel(text)
                if column:
                    label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                label.setWordWrap(not column)
                self._grid.addWidget(label, row, column)
        scores = {case.case: (case.before.dsc, case.after.dsc) for case in comparison.cases}
        self.pictures.show_cases(preview, scores)
        notes = [
            *_change_summary(scores),
            *(f"{note[:1].upper()}{note[1:]}." for note in comparison.notes),
        ]
        self.notes.setText("\n".join(notes))
        self.notes.setVisible(bool(notes))
        # a first version is no version of the base: a structure that a model was taught to find by itself
        self._is_new_model = new.version == "1"
        beside = plain_text(f"Install it next to the base model, as {new.name}")
        replacing = (
            f"Segment will use the new version of {base.name};"
            f" v{base.version} is kept: revert to it in Models"
        )
        self.use_button.setText("Use" if self._is_new_model else f"Use v{new.version}")
        self.use_button.setToolTip(beside if self._is_new_model else plain_text(replacing))
        self.keep_both_button.setVisible(not self._is_new_model)
        self.keep_both_button.setToolTip(beside)
        self.discard_button.setToolTip("Delete the new model; approved masks are kept")

    def set_busy(self, busy: bool) -> None:
        """Disable the buttons while a decision is carried out."""
        for button in (self.use_button, self.keep_both_button, self.discard_button):
            button.setEnabled(not busy)


def metric_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """The metrics of a comparison as table rows: metric, base model, new model."""
    rows = []
    validation, replay = comparison.held_out, comparison.own
    unit = validation.unit if validation is not None else ""
    for scores, subset in ((validation, "validation"), (replay, "first training")):
        if scores is None:
            continue
        for metric, before, after, digits in (
            ("Dice", scores.before.dsc, scores.after.dsc, 3),
            (f"HD95 ({unit})", scores.before.hd95, scores.after.hd95, 1),
            ("Calibration error", scores.before.ece, scores.after.ece, 3),
        ):
            if before is not None and after is not None:
                rows.append((f"{metric}, {subset}", f"{before:.{digits}f}", f"{after:.{digits}f}"))
    return rows


def _change_summary(scores: Scores) -> list[str]:
    """How many cases improved and how many became worse."""
    if len(scores) < 2:
        return []
    changes = [after - before for before, after in scores.values()]
    improved = sum(change > MIN_DSC_CHANGE for change in changes)
    worse = sum(change < -MIN_DSC_CHANGE for change in changes)
    return [f"Of {len(changes)} validation cases, {improved} improved and {worse} became worse."]


def _dsc_change(case: PreviewCase, scores: Scores) -> float:
    before, after = scores.get(case.case, (0.0, 0.0))
    return after - before


def _caption(case: PreviewCase, scores: Scores) -> str:
    if case.case not in scores:
        return f"case {case.case}"
    before, after = scores[case.case]
    change = _change_word(after - before)
    # a third digit where two would contradict the word, as in "worse: Dice 0.71 to 0.71"
    digits = 2 if (f"{before:.2f}" != f"{after:.2f}") == (change != _NO_CHANGE) else 3
    return f"case {case.case}, {change}: Dice {before:.{digits}f} to {after:.{digits}f}"


def _change_word(dsc_change: float) -> str:
    if abs(dsc_change) <= MIN_DSC_CHANGE:
        return _NO_CHANGE
    return "better" if dsc_change > 0 else "worse"


def _pixmap(png_base64: str) -> QPixmap:
    """A thumbnail from a PNG in base64; null where it cannot be decoded."""
    pixmap = QPixmap()
    pixmap.loadFromData(QByteArray(base64.b64decode(png_base64, validate=False)))
    if pixmap.isNull():
        return pixmap
    return pixmap.scaled(
        _THUMBNAIL_SIZE,
        _THUMBNAIL_SIZE,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.FastTransformation,
    )
