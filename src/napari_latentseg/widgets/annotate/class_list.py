"""Buttons to choose the class to paint, each with its colour, and fields to add a class."""

from __future__ import annotations

from collections.abc import Collection, Sequence
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
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.widgets._shared.label_style import unused_color
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text
from napari_latentseg.widgets._shared.text import elide_middle

__all__ = ["ClassList"]


_NAME_LENGTH = 17  # letters beside the swatch, with two buttons in a row of 320 pixels


class ClassList(QWidget):
    """A button for each class, and the fields to add one.

    Signals
    -------
    class_chosen
        The label of the clicked class; 0 for the eraser.
    class_added
        Name and colour (``#rrggbb``) of the new class.
    class_removed
        The label of the class to remove.
    """

    class_chosen = Signal(int)
    class_added = Signal(str, str)
    class_removed = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._classes: tuple[ClassInfo, ...] = ()
        self.buttons: dict[int, QPushButton] = {}
        self._group = QButtonGroup(self)
        self._grid = QGridLayout()
        self._grid.setSpacing(4)
        self.add_button = QPushButton("Add class…")
        self.add_button.setToolTip(
            "Add a class that the model does not know. It is saved with the approved masks; only a model that"
            " is trained anew can learn it"
        )
        self.remove_button = QPushButton("Remove class")
        self.warning = PlainLabel()
        self.warning.setWordWrap(True)
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
        self._edit_row = QWidget()
        edit_row = QHBoxLayout(self._edit_row)
        edit_row.setContentsMargins(0, 0, 0, 0)
        edit_row.addWidget(self.add_button, 1)
        edit_row.addWidget(self.remove_button, 1)
        layout.addWidget(self._edit_row)
        layout.addWidget(self.warning)
        layout.addWidget(self.add_row)
        self.add_row.hide()
        self.warning.hide()
        self._removable: frozenset[int] = frozenset()
        self._color = self._unknown_warning = ""
        self.add_button.clicked.connect(self._show_add_row)
        self.confirm_button.clicked.connect(self._add)
        self.name_field.returnPressed.connect(self._add)
        self.color_button.clicked.connect(self._ask_color)
        self.remove_button.clicked.connect(self._remove)
        self._group.buttonToggled.connect(self._update_remove_button)
        self._update_remove_button()

    def show_classes(self, classes: Sequence[ClassInfo], selected_label: int) -> None:
        """Show a button for each class; that of `selected_label` is checked."""
        if tuple(classes) != self._classes:
            self._classes = tuple(classes)
            self._rebuild_buttons()
        self.select(selected_label)

    def show_added(self, labels: Collection[int], warning: str) -> None:
        """Set which classes can be removed, and what is said before another one is added.

        Parameters
        ----------
        labels
            Of the classes that a person has added.
        warning
            Shown while the name of a new class is asked for.
        """
        self._removable = frozenset(labels)
        self._unknown_warning = warning
        self._update_remove_button()

    def _selected_label(self) -> int:
        """The label of the checked button; 0 for the eraser or none."""
        return next((label for label, button in self.buttons.items() if button.isChecked()), 0)

    def _update_remove_button(self, *_: Any) -> None:
        is_removable = self._selected_label() in self._removable
        self.remove_button.setVisible(bool(self._removable))
        self.remove_button.setEnabled(is_removable)
        self.remove_button.setToolTip(
            "Remove the selected class; what is painted with it is erased"
            if is_removable
            else "Select a class that was added; those of the model stay"
        )

    def _remove(self, *_: Any) -> None:
        if (label := self._selected_label()) in self._removable:
            self.class_removed.emit(label)

    def select(self, label: int) -> None:
        """Check the button of a label; unknown labels are ignored."""
        if label in self.buttons:
            self.buttons[label].setChecked(True)

    def _rebuild_buttons(self) -> None:
        for button in self.buttons.values():
            self._group.removeButton(button)
            self._grid.removeWidget(button)
            button.hide()  # it is deleted later, and would lie over the new ones until then
            button.deleteLater()
        self.buttons = {}
        button_specs = [(c.label, c.name, c.color) for c in self._classes]
        for position, (label, name, color) in enumerate([*button_specs, (0, "Eraser", "")]):
            button = QPushButton(_swatch(color), f" {elide_middle(name, _NAME_LENGTH)}" if color else name)
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.setCheckable(True)
            button.setMinimumHeight(26)
            # pixels; with an icon Qt makes the row too low for the text
            self._grid.setRowMinimumHeight(position // 2, 28)
            button.setToolTip(plain_text(f"Paint {name} (label {label})") if label else "Erase (label 0)")
            button.clicked.connect(lambda _=False, label=label: self.class_chosen.emit(label))
            self._group.addButton(button)
            self._grid.addWidget(button, position // 2, position % 2)
            self.buttons[label] = button

    def _show_add_row(self) -> None:
        self._set_color(unused_color(self._classes))
        self._edit_row.hide()
        self.add_row.show()
        self.warning.setText(self._unknown_warning)
        self.warning.setVisible(bool(self._unknown_warning))
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
        name = " ".join(self.name_field.text().split())
        if name.lower() in {info.name.lower() for info in self._classes}:
            self.warning.setText(f"There is already a class named {name}: choose another name.")
            self.warning.show()
            self.name_field.setFocus()
            self.name_field.selectAll()
            return
        if name:
            self.class_added.emit(self.name_field.text(), self._color)
            self.name_field.clear()
        self.add_row.hide()
        self.warning.hide()
        self._edit_row.show()


def _swatch(color: str) -> QIcon:
    pixmap = QPixmap(14, 14)
    pixmap.fill(QColor(color) if color else QColor(0, 0, 0, 0))
    return QIcon(pixmap)
