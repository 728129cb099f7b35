"""Live curves of a training: Dice of the validation cases and the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_latentseg.training.events import FineTuneEpoch

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["TrainingCurves"]

_HEIGHT = 112  # pixels; two plots fit below the comparison on a screen of 1366 x 768
# Okabe-Ito colours: visible on a dark and on a light theme, and distinct with red-green colour blindness
_COLOURS = {"dsc": "#e69f00", "replay_dsc": "#56b4e9"}
_CURVE_LABELS = {"dsc": "validation", "replay_dsc": "first training"}
_LOSS_LABELS = {"cross_entropy": "cross-entropy", "dice": "Dice"}
_LOSS_COLOURS = ("#009e73", "#cc79a7", "#d55e00", "#0072b2")


class TrainingCurves(QWidget):
    """Two small plots over the seconds of a training, created when the first epoch arrives.

    Parameters
    ----------
    viewer
        The plots have the colours of its theme; call `follow_theme` when it changes.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._plots: dict[str, Any] = {}
        self._curves: dict[str, Any] = {}
        self._baselines: dict[str, Any] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self._layout = layout

    def show_epochs(self, epochs: Sequence[FineTuneEpoch]) -> None:
        """Show the epochs so far; nothing is shown before there are two, the first being the base model.

        Parameters
        ----------
        epochs
            In the order in which they came; those of a resumed training follow those before it was stopped.
        """
        if len(epochs) < 2:
            self.hide()
            return
        if not self._plots:
            self._build_plots()
        x = _seconds(epochs)
        has_dice = False
        for name in _COLOURS:
            points = [(t, y) for t, e in zip(x, epochs, strict=True) if (y := getattr(e, name)) is not None]
            self._curves[name].setData([t for t, _ in points], [y for _, y in points])
            base = next((y for e in epochs if (y := getattr(e, f"base_{name}")) is not None), None)
            self._baselines[name].setVisible(base is not None)
            if base is not None:
                self._baselines[name].setValue(base)
            has_dice = has_dice or bool(points)
        self._plots["dice"].setVisible(has_dice)
        self._show_losses(x, epochs)
        self.show()

    def _show_losses(self, x: Sequence[float], epochs: Sequence[FineTuneEpoch]) -> None:
        import pyqtgraph

        names = sorted({name for e in epochs for name in e.losses})
        self._plots["losses"].setVisible(bool(names))
        for number, name in enumerate(names):
            key = f"loss {name}"
            if key not in self._curves:
                pen = pyqtgraph.mkPen(_LOSS_COLOURS[number % len(_LOSS_COLOURS)], width=2)
                self._curves[key] = self._plots["losses"].plot(pen=pen, name=_LOSS_LABELS.get(name, name))
            points = [(t, e.losses[name]) for t, e in zip(x, epochs, strict=True) if name in e.losses]
            self._curves[key].setData([t for t, _ in points], [y for _, y in points])

    def _build_plots(self) -> None:
        import pyqtgraph  # slow to import, so only when there is a curve to show

        for name, title in (("dice", "Dice"), ("losses", "loss")):
            plot = pyqtgraph.PlotWidget()
            plot.setFixedHeight(_HEIGHT)
            plot.setMenuEnabled(False)
            plot.setMouseEnabled(x=False, y=False)
            plot.hideButtons()
            plot.setLabel("left", title)
            plot.setMinimumWidth(100)
            plot.getAxis("left").setWidth(52)
            plot.getPlotItem().layout.setContentsMargins(1, 7, 1, 1)  # half a tick's text lies above the axis
            plot.getAxis("left").enableAutoSIPrefix(False)
            plot.getAxis("bottom").enableAutoSIPrefix(False)
            # away from the end of the curve: Dice rises, the losses fall
            legend_y = -4 if name == "dice" else 4
            # three losses below each other do not fit above the axis
            columns = 1 if name == "dice" else 2
            plot.addLegend(offset=(-4, legend_y), labelTextSize="8pt", verSpacing=-6, colCount=columns)
            self._layout.addWidget(plot)
            self._plots[name] = plot
        self._plots["losses"].setLabel("bottom", "seconds")
        for name, colour in _COLOURS.items():
            pen = pyqtgraph.mkPen(colour, width=2)
            self._curves[name] = self._plots["dice"].plot(
                pen=pen,
                name=_CURVE_LABELS[name],
                symbol="o",
                symbolSize=4,
                symbolBrush=colour,
                symbolPen=None,
            )
            dashed = pyqtgraph.mkPen(colour, width=1, style=pyqtgraph.QtCore.Qt.PenStyle.DashLine)
            self._baselines[name] = pyqtgraph.InfiniteLine(angle=0, pen=dashed)
            self._plots["dice"].addItem(self._baselines[name], ignoreBounds=False)
        self._plots["dice"].setToolTip(
            "Dice on patches of the validation cases, and on patches of the base model's own training images"
            " (replay). Dashed: base model."
        )
        self.follow_theme()

    def follow_theme(self, event: Any = None) -> None:
        """Take the colours of napari's theme."""
        if not self._plots:
            return
        import pyqtgraph

        theme = get_theme(self._viewer.theme)
        text_color = theme.text.as_hex()
        for plot in self._plots.values():
            plot.setBackground(theme.background.as_hex())
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(pyqtgraph.mkPen(theme.secondary.as_hex()))
                axis.setTextPen(pyqtgraph.mkPen(text_color))
                axis.label.setDefaultTextColor(pyqtgraph.mkColor(text_color))
            legend = plot.getPlotItem().legend
            legend.setLabelTextColor(text_color)
            for _, label in legend.items:
                label.setText(label.text)  # pyqtgraph applies the colour only when the text is set


def _seconds(epochs: Sequence[FineTuneEpoch]) -> list[float]:
    """The time of each epoch in seconds; the clock of a resumed training starts at 0 again."""
    times: list[float] = []
    offset = last_seconds = 0.0
    for epoch in epochs:
        if epoch.seconds < last_seconds:
            offset += last_seconds
        last_seconds = epoch.seconds
        times.append(offset + epoch.seconds)
    return times
