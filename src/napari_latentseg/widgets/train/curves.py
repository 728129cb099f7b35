"""Live curves of a training: the Dice of the cases kept apart, and the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.utils.theme import get_theme
from qtpy.QtWidgets import QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["TrainingCurves"]

_HEIGHT = 112
# seen on a dark and on a light ground, and told apart by those who see red and green alike
_COLOURS = {"dsc": "#e69f00", "replay_dsc": "#56b4e9"}
_CURVE_LABELS = {"dsc": "kept apart", "replay_dsc": "what it knew"}
_LOSS_COLOURS = ("#009e73", "#cc79a7", "#d55e00", "#0072b2")


class TrainingCurves(QWidget):
    """Two small plots over the seconds of a training; made when there is something to show.

    Parameters
    ----------
    viewer
        Whose theme they follow.
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
        viewer.events.theme.connect(self._follow_theme)

    def show_epochs(self, epochs: Sequence[dict[str, Any]]) -> None:
        """Show what the epochs told so far.

        Parameters
        ----------
        epochs
            Events of fine-tuning; those of a training that went on follow one another.
        """
        if not epochs:
            self.hide()
            return
        if not self._plots:
            self._build_plots()
        x = _seconds(epochs)
        has_dice = False
        for name in _COLOURS:
            points = [(t, e[name]) for t, e in zip(x, epochs, strict=True) if e.get(name) is not None]
            self._curves[name].setData([t for t, _ in points], [y for _, y in points])
            base = next((e[f"base_{name}"] for e in epochs if e.get(f"base_{name}") is not None), None)
            self._baselines[name].setVisible(base is not None)
            if base is not None:
                self._baselines[name].setValue(base)
            has_dice = has_dice or bool(points)
        self._plots["dice"].setVisible(has_dice)
        self._show_losses(x, epochs)
        self.show()

    def _show_losses(self, x: Sequence[float], epochs: Sequence[dict[str, Any]]) -> None:
        import pyqtgraph

        names = sorted({name for e in epochs for name in e.get("losses") or {}})
        self._plots["losses"].setVisible(bool(names))
        for number, name in enumerate(names):
            key = f"loss {name}"
            if key not in self._curves:
                pen = pyqtgraph.mkPen(_LOSS_COLOURS[number % len(_LOSS_COLOURS)], width=2)
                self._curves[key] = self._plots["losses"].plot(pen=pen, name=name)
            points = [(t, e["losses"][name]) for t, e in zip(x, epochs, strict=True) if name in e["losses"]]
            self._curves[key].setData([t for t, _ in points], [y for _, y in points])

    def _build_plots(self) -> None:
        import pyqtgraph  # takes a moment, so not before there is a curve

        for name, title in (("dice", "Dice"), ("losses", "loss")):
            plot = pyqtgraph.PlotWidget()
            plot.setFixedHeight(_HEIGHT)
            plot.setMenuEnabled(False)
            plot.setMouseEnabled(x=False, y=False)
            plot.hideButtons()
            plot.setLabel("left", title)
            plot.setMinimumWidth(100)
            plot.getAxis("left").setWidth(52)
            plot.getAxis("left").enableAutoSIPrefix(False)
            plot.getAxis("bottom").enableAutoSIPrefix(False)
            below = name == "dice"  # where the curve is not: one rises, the other falls
            plot.addLegend(offset=(-4, -4 if below else 4), labelTextSize="8pt", verSpacing=-6)
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
        self._plots["dice"].setToolTip("Dashed: the model that it began from")
        self._follow_theme()

    def _follow_theme(self, event: Any = None) -> None:
        """Take the colours of napari's theme."""
        if not self._plots:
            return
        import pyqtgraph

        theme = get_theme(self._viewer.theme)
        ink = theme.text.as_hex()
        for plot in self._plots.values():
            plot.setBackground(theme.background.as_hex())
            for side in ("left", "bottom"):
                axis = plot.getAxis(side)
                axis.setPen(pyqtgraph.mkPen(theme.secondary.as_hex()))
                axis.setTextPen(pyqtgraph.mkPen(ink))
                axis.label.setDefaultTextColor(pyqtgraph.mkColor(ink))
            legend = plot.getPlotItem().legend
            legend.setLabelTextColor(ink)
            for _, label in legend.items:
                label.setText(label.text)  # takes the colour only when it is set anew


def _seconds(epochs: Sequence[dict[str, Any]]) -> list[float]:
    """When each epoch was, in seconds; where a training went on, its clock began anew."""
    times: list[float] = []
    offset = last_seconds = 0.0
    for epoch in epochs:
        seconds = float(epoch.get("seconds", 0))
        if seconds < last_seconds:
            offset += last_seconds
        last_seconds = seconds
        times.append(offset + seconds)
    return times
