"""Buttons to choose the class to paint, each with its colour, and fields to add a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QButtonGroup,
    QColorDialog,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.widgets._shared.label_style import unused_color

__all__ = ["ClassList"]


class ClassList(QWidget):
    """A button for each class, and the fields to add one.

    Signals
    -------
    class_chosen
        The label of the clicked class; 0 for the eraser.
    class_added
        Name and colour (``#rrggbb``) of the new class.
    """

    class_chosen = Signal(int)
    class_added = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._classes: tuple[ClassInfo, ...] = ()
        self.buttons: dict[int, QPushButton] = {}
        self._group = QButtonGroup(self)
        self._grid = QGridLayout()
        self._grid.setSpacing(4)
        self.add_button = QPushButton("Add class…")
        self.add_button.setToolTip(
            "Add a class that the model does not segment yet. It is saved with the approved masks; a model"
            " learns it in a new training"
        )
        self.name_field = QLineEdit()
        self.name_field.setPlaceholderText("Class name")
        self.color_button = QToolButton()
        self.color_button.setToolTip("Colour of the new class")
        self.confirm_button = QPushButton("Add")
        self.add_row = QWidget()
        row = QHBoxLayout(self.add_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.color_button)
        row.addWidget(self.name_field, 1)
        row.addWidget(self.confirm_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(self._grid)
        layout.addWidget(self.add_button)
        layout.addWidget(self.add_row)
        self.add_row.hide()
        self._color = ""
        self.add_button.clicked.connect(self._show_add_row)
        self.confirm_button.clicked.connect(self._add)
        self.name_field.returnPressed.connect(self._add)
        self.color_button.clicked.connect(self._ask_color)

    def show_classes(self, classes: Sequence[ClassInfo], selected_label: int) -> None:
        """Show a button for each class; that of `selected_label` is checked."""
        if tuple(classes) != self._classes:
            self._classes = tuple(classes)
            self._rebuild_buttons()
        self.select(selected_label)

    def select(self, label: int) -> None:
        """Check the button of a label; unknown labels are ignored."""
        if label in self.buttons:
            self.buttons[label].setChecked(True)

    def _rebuild_buttons(self) -> None:
        for button in self.buttons.values():
            self._group.removeButton(button)
            self._grid.removeWidget(button)
            button.deleteLater()
        self.buttons = {}
        button_specs = [(c.label, c.name, c.color) for c in self._classes]
        for position, (label, name, color) in enumerate([*button_specs, (0, "Eraser", "")]):
            button = QPushButton(_swatch(color), f" {name}" if color else name)
            button.setCheckable(True)
            button.setMinimumHeight(26)
            # pixels; with an icon Qt makes the row too low for the text
            self._grid.setRowMinimumHeight(position // 2, 28)
            button.setToolTip(f"Paint {name} (label {label})" if label else "Erase (label 0)")
            button.clicked.connect(lambda _=False, label=label: self.class_chosen.emit(label))
            self._group.addButton(button)
            self._grid.addWidget(button, position // 2, position % 2)
            self.buttons[label] = button

    def _show_add_row(self) -> None:
        self._set_color(unused_color(self._classes))
        self.add_button.hide()
        self.add_row.show()
        self.name_field.setFocus()

    def _set_color(self, color: str) -> None:
        self._color = color
        self.color_button.setIcon(_swatch(color))

    def _ask_color(self) -> None:
        dialog = QColorDialog(QColor(self._color), self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.colorSelected.connect(lambda color: self._set_color(color.name()))
        dialog.open()

    def _add(self, *_: Any) -> None:
        if self.name_field.text().strip():
            self.class_added.emit(self.name_field.text(), self._color)
            self.name_field.clear()
        self.add_row.hide()
        self.add_button.show()


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(color) if color else QColor(0, 0, 0, 0))
    return QIcon(pixmap)
