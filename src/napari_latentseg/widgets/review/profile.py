"""Plot of the uncertainty of each slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, Qt, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

__all__ = ["ProfilePlot"]

_BARS = "#4a90d9"  # readable in the dark and the light theme


class ProfilePlot(QWidget):
    """One bar for each slice, counted from 1; the current slice is marked, and a click shows another.

    Signals
    -------
    plane_chosen
        The number of the slice that was clicked.
    """

    plane_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._values: NDArray[np.float64] = np.zeros(0)
        self._plot: Any = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setFixedHeight(96)
        self.setToolTip("Uncertainty of each slice; click to show the slice")

    def _build_plot(self) -> None:
        """Create the plot on first use: importing pyqtgraph takes time."""
        import pyqtgraph as pg

        self._plot = pg.PlotWidget(background=None)
        self._plot.setMenuEnabled(False)
        self._plot.hideButtons()
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.getAxis("left").setStyle(showValues=False)
        self._plot.getAxis("left").setWidth(6)
        self._bars = pg.BarGraphItem(x=[0], height=[0], width=0.9, brush=_BARS, pen=None)
        self._line = pg.InfiniteLine(angle=90)
        self._plot.addItem(self._bars)
        self._plot.addItem(self._line)
        self._plot.scene().sigMouseClicked.connect(self._on_click)
        layout = self.layout()
        assert layout is not None
        layout.addWidget(self._plot)
        self._apply_theme()

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow the theme."""
        super().changeEvent(event)
        if event is not None and event.type() in (QEvent.Type.StyleChange, QEvent.Type.PaletteChange):
            self._apply_theme()

    def _apply_theme(self) -> None:
        if self._plot is None:
            return
        import pyqtgraph as pg

        foreground = self.palette().color(self.foregroundRole())
        for side in ("left", "bottom"):
            self._plot.getAxis(side).setPen(foreground)
            self._plot.getAxis(side).setTextPen(foreground)
        self._line.setPen(pg.mkPen(foreground, width=1, style=Qt.PenStyle.DashLine))

    def show_profile(self, values: NDArray[np.float64]) -> None:
        """Plot one value for each slice, `(n,)`; NaN for slices without a result."""
        if self._plot is None:
            self._build_plot()
        self._values = values
        heights = np.nan_to_num(values)
        self._bars.setOpts(x=np.arange(len(values)) + 1, height=heights)
        self._plot.setXRange(0.5, len(values) + 0.5, padding=0.01)
        self._plot.setYRange(0, float(heights.max(initial=0)) or 1.0, padding=0.02)

    def show_plane(self, number: int) -> None:
        """Mark the current slice, given by its number from 0."""
        if self._plot is not None:
            self._line.setValue(number + 1)

    def _on_click(self, event: Any) -> None:
        box = self._plot.getPlotItem().getViewBox()
        number = round(float(box.mapSceneToView(event.scenePos()).x())) - 1
        if 0 <= number < len(self._values):
            self.plane_chosen.emit(number)
