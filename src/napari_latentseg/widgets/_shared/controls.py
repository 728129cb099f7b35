"""Small controls that several widgets are built from."""

from __future__ import annotations

from qtpy.QtCore import QEvent
from qtpy.QtGui import QIcon, QResizeEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFormLayout,
    QFrame,
    QLabel,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QWidget,
)
from superqt import QCollapsible

__all__ = [
    "CopyDetailsButton",
    "WrappedLabel",
    "collapsible",
    "confirm",
    "elastic_combo",
    "form_layout",
    "let_combo_shrink",
    "separator",
]


def confirm(parent: QWidget | None, title: str, question: str) -> bool:
    """Ask a question that is answered with Yes or No; No is the default."""
    buttons = QMessageBox.StandardButton
    answer = QMessageBox.question(parent, title, question, buttons.Yes | buttons.No, buttons.No)
    return bool(answer == buttons.Yes)


def let_combo_shrink(combo: QComboBox) -> None:
    """Let a combo box take the width there is: a long entry is cut off, and does not widen the widget."""
    combo.setMinimumWidth(80)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


def elastic_combo(tooltip: str = "") -> QComboBox:
    """Make a combo box that takes the width there is, see `let_combo_shrink`."""
    combo = QComboBox()
    combo.setToolTip(tooltip)
    let_combo_shrink(combo)
    return combo


def form_layout(parent: QWidget | None = None) -> QFormLayout:
    """Make a form layout without margins, whose fields take the width there is."""
    form = QFormLayout(parent) if parent is not None else QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    return form


def collapsible(title: str, content: QWidget) -> QCollapsible:
    """Put what few people need under a title that opens it."""
    box = QCollapsible(title, expandedIcon=QIcon(), collapsedIcon=QIcon())  # its icons ignore napari's theme

    def show_arrow(is_expanded: bool) -> None:
        box.setText(f"{'▾' if is_expanded else '▸'} {title}")

    show_arrow(False)
    box.toggled.connect(show_arrow)
    if (margins := box.layout()) is not None:
        margins.setContentsMargins(0, 0, 0, 0)
    box.addWidget(content)
    # at height 0 its fields could still be reached with Tab, and changed unseen
    box.content().hide()
    box.toggled.connect(box.content().setVisible)
    return box


def separator() -> QFrame:
    """Make a horizontal line."""
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFrameShadow(QFrame.Shadow.Sunken)
    return line


class WrappedLabel(QLabel):
    """Breaks its lines, and is as high as they need; a form layout cuts wrapped lines off."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def setText(self, text: str | None) -> None:
        """Show a text."""
        super().setText(text)
        self._fit_height()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """A narrower label has more lines."""
        super().resizeEvent(event)
        self._fit_height()

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme and its font."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.FontChange):
            self._fit_height()

    def _fit_height(self) -> None:
        self.setMinimumHeight(0)  # Qt's answer is never below the least height, so a label could only grow
        self.setFixedHeight(max(0, self.heightForWidth(self.width())))


class CopyDetailsButton(QPushButton):
    """Copies the details of an error to the clipboard; hidden while there are none."""

    def __init__(self) -> None:
        super().__init__("Copy details")
        self.setToolTip("Copy the technical details of the error, for a bug report")
        self.details = ""
        self.clicked.connect(self._copy)
        self.hide()

    def set_details(self, details: str) -> None:
        """Offer these details; an empty text hides the button."""
        self.details = details
        self.setVisible(bool(details))

    def _copy(self) -> None:
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(self.details)
