"""The size of the structure that is pointed at, and the buttons that choose a smaller or a larger one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.widgets._shared.controls import WrappedLabel
from napari_latentseg.widgets._shared.keys import key_text
from napari_latentseg.widgets._shared.plain_text import plain_text

if TYPE_CHECKING:
    from napari_latentseg.widgets.point.pointing import Pointing

__all__ = ["SizeControls"]


class SizeControls(QWidget):
    """Smaller, Larger and Automatic, below the size in words.

    Parameters
    ----------
    pointing
        What is pointed at.
    """

    def __init__(self, pointing: Pointing, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._size = pointing.size
        self.text = WrappedLabel()
        self.smaller_button = QPushButton("Smaller")
        self.larger_button = QPushButton("Larger")
        self.automatic_button = QPushButton("Automatic")
        layout, buttons = QVBoxLayout(self), QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        for button in (self.smaller_button, self.larger_button, self.automatic_button):
            buttons.addWidget(button, 1)
        layout.addLayout(buttons)
        self.smaller_button.clicked.connect(lambda: self._size.step(larger=False))
        self.larger_button.clicked.connect(lambda: self._size.step(larger=True))
        self.automatic_button.clicked.connect(self._size.leave_to_model)

    def refresh(self) -> None:
        """Show the size, what can be chosen now, and why not where it cannot."""
        size = self._size
        self.text.setText(f"Structure size: {size.text}")
        smaller = f"Look for a smaller structure at the same clicks ({key_text('smaller')})"
        larger = f"Look for a larger structure at the same clicks ({key_text('larger')})"
        for button, reason, tooltip in (
            (self.smaller_button, size.problem(larger=False), smaller),
            (self.larger_button, size.problem(larger=True), larger),
            (self.automatic_button, size.automatic_problem, "Let the model find the size of the structure"),
        ):
            button.setEnabled(not reason)
            button.setToolTip(plain_text(reason or tooltip))
