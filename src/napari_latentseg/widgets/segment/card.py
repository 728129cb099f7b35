"""A window with a model's card."""

from __future__ import annotations

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.card_text import card_lines
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets.segment.reliability import ReliabilityPlot

__all__ = ["CardDialog"]


class CardDialog(QDialog):
    """Intended use, training data and validation results of a model; does not block the viewer."""

    def __init__(self, card: ModelCard, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("card")
        self.setWindowTitle(card.title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(560, 640)
        self.text = QTextBrowser()
        rows = "".join(
            f"<tr><td style='padding: 3px 12px 3px 0'><b>{escape(heading)}</b></td>"
            f"<td style='padding: 3px 0'>{escape(text)}</td></tr>"
            for heading, text in card_lines(card)
        )
        self.text.setHtml(f"<h3>{escape(card.title)} v{escape(card.version)}</h3><table>{rows}</table>")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text, 1)
        if card.reliability is not None:
            layout.addWidget(PlainLabel("Calibration of the probabilities:"))
            layout.addWidget(ReliabilityPlot(card.reliability))
        layout.addWidget(buttons)
