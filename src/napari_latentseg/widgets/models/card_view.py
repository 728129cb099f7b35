"""The card of a version of a model, with its plots."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QTabWidget, QTextBrowser, QVBoxLayout, QWidget

from napari_latentseg.models.card_text import card_lines
from napari_latentseg.widgets.models.training_plot import TrainingPlot
from napari_latentseg.widgets.segment.reliability import ReliabilityPlot

if TYPE_CHECKING:
    from napari_latentseg import ModelCard, ModelVersion
    from napari_latentseg.models.training_log import TrainingLog

__all__ = ["CardView"]


class CardView(QTabWidget):
    """A card as text, and the plots of calibration and training behind it, where they are known."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QTextBrowser()
        self.text.setMinimumHeight(150)
        self.addTab(self.text, "Card")

    @property
    def reliability(self) -> ReliabilityPlot | None:
        """The plot of the calibration; None where it is not known."""
        return self.findChild(ReliabilityPlot)

    @property
    def training(self) -> TrainingPlot | None:
        """The plot of the training; None where it is not known."""
        return self.findChild(TrainingPlot)

    def show_text(self, text: str) -> None:
        """Show a text in place of a card."""
        self.text.setPlainText(text)
        self._show_plots(None, None)

    def show_version(self, version: ModelVersion, card: ModelCard, log: TrainingLog | None) -> None:
        """Show the card of a version."""
        lines = [*card_lines(card, log), ("Name", card.name)]
        if card.lineage:
            lines.append(("Derived from", ", ".join(f"{a.name} {a.version}" for a in card.lineage)))
        if version.comparison:
            lines.append(("Comparison", version.comparison))
        rows = "".join(
            f"<p style='margin: 2px 0'><b>{escape(heading.strip())}</b>&nbsp; {escape(text)}</p>"
            for heading, text in lines
        )
        self.text.setHtml(
            f"<h4 style='margin: 2px 0'>{escape(card.title)} v{escape(card.version)}</h4>{rows}"
        )
        self._show_plots(card, log)

    def _show_plots(self, card: ModelCard | None, log: TrainingLog | None) -> None:
        shown = self.tabText(self.currentIndex())
        while self.count() > 1:
            page = self.widget(1)
            self.removeTab(1)
            if page is not None:
                page.setParent(None)
                page.deleteLater()
        if card is not None and card.reliability is not None:
            self._add_plot(ReliabilityPlot(card.reliability), "Calibration")
        if log is not None and log.curve:
            self._add_plot(TrainingPlot(log), "Training")
        titles = [self.tabText(i) for i in range(self.count())]
        self.setCurrentIndex(titles.index(shown) if shown in titles else 0)

    def _add_plot(self, plot: QWidget, title: str) -> None:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.addWidget(plot)
        layout.addStretch()
        self.addTab(page, title)
