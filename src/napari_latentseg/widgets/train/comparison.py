"""The old model beside the new one in a line, in figures, in pictures; and what becomes of the new one."""

from __future__ import annotations

import base64
from typing import Any

from qtpy.QtCore import QByteArray, Qt, Signal
from qtpy.QtGui import QPixmap
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

__all__ = ["CaseThumbnails", "ComparisonPanel", "metric_rows"]

_THUMBNAIL_SIZE = 92
_COLUMNS = ("before", "now", "yours")


class CaseThumbnails(QWidget):
    """Two cases: as the model saw them before, as it sees them now, and as they were approved."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(4)
        self.pictures: list[QLabel] = []
        self.captions: list[QLabel] = []

    def show_cases(self, cases: list[dict[str, Any]], scores: dict[int, tuple[float, float]]) -> None:
        """Show cases, those that became worse first.

        Parameters
        ----------
        cases
            Each with its number, and a picture (PNG in base64) for before, now and yours.
        scores
            The Dice before and after of the cases that were judged.
        """
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.pictures, self.captions = [], []
        self.setVisible(bool(cases))
        for column, title in enumerate(_COLUMNS):
            self._grid.addWidget(QLabel(title), 0, column, Qt.AlignmentFlag.AlignHCenter)
        for row, case in enumerate(sorted(cases, key=lambda case: _dsc_change(case, scores))):
            for column, name in enumerate(_COLUMNS):
                picture = QLabel()
                picture.setPixmap(_pixmap(str(case.get(name, ""))))
                picture.setAlignment(Qt.AlignmentFlag.AlignCenter)
                self._grid.addWidget(picture, 2 * row + 1, column)
                self.pictures.append(picture)
            caption = QLabel(_caption(case, scores))
            caption.setAlignment(Qt.AlignmentFlag.AlignCenter)
            self._grid.addWidget(caption, 2 * row + 2, 0, 1, len(_COLUMNS))
            self.captions.append(caption)


class ComparisonPanel(QWidget):
    """What was found when both models were judged on the same cases, and the three ways to go on.

    Signals
    -------
    adopted
        The new model is wanted: True to keep both, False to use it in place of the old one.
    discarded
        It is not wanted.
    """

    adopted = Signal(bool)
    discarded = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.verdict = QLabel()
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
        self.notes = QLabel()
        self.notes.setWordWrap(True)
        self.use_button = QPushButton()
        self.keep_both_button = QPushButton("Keep both")
        self.discard_button = QPushButton("Discard")
        buttons = QHBoxLayout()
        for button in (self.use_button, self.keep_both_button, self.discard_button):
            buttons.addWidget(button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.verdict)
        layout.addWidget(self.table)
        layout.addWidget(self.pictures)
        layout.addWidget(self.notes)
        layout.addLayout(buttons)
        self.use_button.clicked.connect(lambda: self.adopted.emit(False))
        self.keep_both_button.clicked.connect(lambda: self.adopted.emit(True))
        self.discard_button.clicked.connect(self.discarded)

    def show_comparison(self, comparison: dict[str, Any], preview: list[dict[str, Any]]) -> None:
        """Show a comparison.

        Parameters
        ----------
        comparison
            As `comparison.json` has it.
        preview
            Pictures of some of the cases; see `CaseThumbnails`.
        """
        self.verdict.setText(str(comparison.get("line", "")))
        base, new = comparison.get("base", {}), comparison.get("new", {})
        while (item := self._grid.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        rows = metric_rows(comparison)
        self.table.setVisible(bool(rows))
        headings = ("", f"v{base.get('version', '')}", "new")
        for row, cells in enumerate([headings, *rows] if rows else []):
            for column, text in enumerate(cells):
                label = QLabel(text)
                if column:
                    label.setAlignment(Qt.AlignmentFlag.AlignRight)
                self._grid.addWidget(label, row, column)
        scores = {
            int(case["case"]): (float(case["before"]["dsc"]), float(case["after"]["dsc"]))
            for case in comparison.get("cases", [])
        }
        self.pictures.show_cases(preview, scores)
        notes = [
            *_change_summary(scores),
            *(f"{note[:1].upper()}{note[1:]}." for note in comparison.get("notes", [])),
        ]
        self.notes.setText("\n".join(notes))
        self.notes.setVisible(bool(notes))
        self.use_button.setText(f"Use v{new.get('version', '')}")
        self.use_button.setToolTip(
            f"From now on {base.get('name', 'the model')} is the new version;"
            f" v{base.get('version', '')} stays, and Models brings it back"
        )
        self.keep_both_button.setToolTip(f"Install it beside its base, as {new.get('name', 'a new model')}")
        self.discard_button.setToolTip("Remove the new model; what was approved stays")

    def set_busy(self, busy: bool) -> None:
        """While a decision is carried out there is no other to take."""
        for button in (self.use_button, self.keep_both_button, self.discard_button):
            button.setEnabled(not busy)


def metric_rows(comparison: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The figures of a comparison as rows: what, before, after."""
    rows = []
    for subset, title in (("held_out", "yours, kept apart"), ("own", "what it knew")):
        scores = comparison.get(subset)
        if not scores:
            continue
        for key, name in (
            ("dsc", "Dice"),
            ("hd95", f"HD95 ({scores.get('unit', 'pixel')})"),
            ("ece", "ECE"),
        ):
            before, after = scores["before"].get(key), scores["after"].get(key)
            if before is not None and after is not None:
                digits = 1 if key == "hd95" else 3
                rows.append((f"{name}, {title}", f"{before:.{digits}f}", f"{after:.{digits}f}"))
    return rows


def _change_summary(scores: dict[int, tuple[float, float]]) -> list[str]:
    """How many cases became better and how many worse."""
    if len(scores) < 2:
        return []
    changes = [after - before for before, after in scores.values()]
    better, worse = sum(c > 0.005 for c in changes), sum(c < -0.005 for c in changes)
    return [f"Of {len(changes)} cases kept apart {better} became better and {worse} worse."]


def _dsc_change(case: dict[str, Any], scores: dict[int, tuple[float, float]]) -> float:
    before, after = scores.get(int(case["case"]), (0.0, 0.0))
    return after - before


def _caption(case: dict[str, Any], scores: dict[int, tuple[float, float]]) -> str:
    number = int(case["case"])
    if number not in scores:
        return f"case {number}"
    before, after = scores[number]
    change_word = "better" if after - before > 0.005 else "worse" if after - before < -0.005 else "the same"
    return f"case {number}, {change_word}: Dice {before:.2f} to {after:.2f}"


def _pixmap(png_base64: str) -> QPixmap:
    """A picture from PNG in base64; empty where it is none."""
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
