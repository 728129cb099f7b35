"""Small controls that several widgets are built from."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QHelpEvent, QIcon, QResizeEvent
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QToolTip,
    QWidget,
)
from superqt import QCollapsible

from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text

__all__ = [
    "CopyDetailsButton",
    "WrappedLabel",
    "allow",
    "collapsible",
    "confirm",
    "elastic_combo",
    "elided_entry",
    "form_layout",
    "let_combo_shrink",
    "separator",
    "widget_row",
]


def allow(widget: QWidget, why_not: str, what: str) -> None:
    """Enable a control, with what it does as its tooltip; or disable it and say why."""
    widget.setEnabled(not why_not)
    widget.setToolTip(why_not or what)


def confirm(parent: QWidget | None, title: str, question: str) -> bool:
    """Ask a question that is answered with Yes or No; No is the default."""
    buttons = QMessageBox.StandardButton
    answer = QMessageBox.question(parent, title, plain_text(question), buttons.Yes | buttons.No, buttons.No)
    return bool(answer == buttons.Yes)


class _ElidedEntry(QObject):
    """Draws the entry of a combo box with an ellipsis where it is too long, and tells it as a tooltip.

    Qt cuts the text off at the arrow. A paint event is replaced, as magicgui makes some of the boxes.
    """

    def eventFilter(self, combo: QObject | None, event: QEvent | None) -> bool:
        """Draw the box, or show its tooltip."""
        if event is None or not isinstance(combo, QComboBox):
            return False
        if event.type() == QEvent.Type.Paint:
            self._paint(combo)
            return True
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            text = combo.currentText()
            if elided_entry(combo) != text:
                QToolTip.showText(event.globalPos(), "\n".join(filter(None, (text, combo.toolTip()))), combo)
                return True
        return False

    def _paint(self, combo: QComboBox) -> None:
        option = _combo_option(combo)
        option.currentText = elided_entry(combo)
        painter = QStylePainter(combo)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()


def _combo_option(combo: QComboBox) -> QStyleOptionComboBox:
    """What `QComboBox.initStyleOption` gives, which only a subclass can call."""
    option = QStyleOptionComboBox()
    option.initFrom(combo)
    option.frame = combo.hasFrame()
    option.currentIcon = combo.itemIcon(combo.currentIndex())
    option.iconSize = combo.iconSize()
    view = combo.view()
    if view is not None and view.isVisible():
        option.state |= QStyle.StateFlag.State_On
    return option


def elided_entry(combo: QComboBox) -> str:
    """The entry of a combo box as it is drawn: its middle is left out where it is too long."""
    style = combo.style()
    assert style is not None
    field = style.subControlRect(
        QStyle.ComplexControl.CC_ComboBox,
        _combo_option(combo),
        QStyle.SubControl.SC_ComboBoxEditField,
        combo,
    )
    width = field.width() - 4  # pixels: what Qt leaves free at both ends
    if not combo.itemIcon(combo.currentIndex()).isNull():
        width -= combo.iconSize().width() + 4
    return combo.fontMetrics().elidedText(combo.currentText(), Qt.TextElideMode.ElideMiddle, width)


def let_combo_shrink(combo: QComboBox) -> None:
    """Let a combo box take the width there is: a long entry is elided, and does not widen the widget."""
    combo.installEventFilter(_ElidedEntry(combo))
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


class WrappedLabel(PlainLabel):
    """Breaks its lines, and is as high as they need; a form layout cuts wrapped lines off."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
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


def widget_row(*widgets: QWidget) -> QWidget:
    """Widgets in a row, of which the first takes the space that is left."""
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    for number, widget in enumerate(widgets):
        layout.addWidget(widget, 0 if number else 1)
    return row
