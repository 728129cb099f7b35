"""A model's card in a window."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QLabel, QTextBrowser, QVBoxLayout, QWidget

from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.card_text import card_lines
from napari_latentseg.widgets.segment.reliability import ReliabilityPlot

__all__ = ["CardDialog"]


class CardDialog(QDialog):
    """What a model is for, what it learned from, and how good it was; does not block the viewer."""

    def __init__(self, card: ModelCard, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self.setWindowTitle(card.title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(560, 520)
        self.text = QTextBrowser()
        rows = "".join(
            f"<tr><td style='padding: 3px 12px 3px 0'><b>{escape(heading)}</b></td>"
            f"<td style='padding: 3px 0'>{escape(text)}</td></tr>"
            for heading, text in card_lines(card)
        )
        self.text.setHtml(f"<h3>{escape(card.title)}</h3><table>{rows}</table>")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        if card.reliability is not None:
            layout.addWidget(QLabel("How far its probabilities can be taken at their word:"))
            layout.addWidget(ReliabilityPlot(card.reliability))
        layout.addWidget(buttons)
