"""Text from outside, shown as it is: Qt would take markup in a card, a file name or a layer's name for HTML.

HTML can name pictures, and Qt opens these files, on Windows on other computers too.
"""

from __future__ import annotations

import re

from napari.utils import notifications
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget

__all__ = ["PlainLabel", "plain_text", "show_error", "show_info", "show_warning"]

_ZERO_WIDTH_SPACE = "\u200b"


class PlainLabel(QLabel):
    """A label that shows markup as text."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setTextFormat(Qt.TextFormat.PlainText)
        if text:
            self.setText(text)


def plain_text(text: str) -> str:
    r"""A text that Qt takes for plain text, for tooltips and notifications, which have no text format.

    Examples
    --------
    >>> plain_text("Dice < 0.5")
    'Dice < 0.5'
    >>> plain_text("<b>Dice</b>").replace("\u200b", "|")
    '<|b>Dice<|/b>'
    """
    if not re.search(r"<[A-Za-z/!?]|&lt;", text):
        return text
    return text.replace("<", f"<{_ZERO_WIDTH_SPACE}").replace("&lt;", f"&{_ZERO_WIDTH_SPACE}lt;")


def show_info(text: str) -> None:
    """Show a notification."""
    notifications.show_info(plain_text(text))


def show_warning(text: str) -> None:
    """Show a warning as a notification."""
    notifications.show_warning(plain_text(text))


def show_error(text: str) -> None:
    """Show an error as a notification."""
    notifications.show_error(plain_text(text))
