"""The plot of time and memory against samples, side, slices and workers, as a PNG."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TITLES = {
    "samples": "samples n",
    "side": "side of the image, pixels",
    "slices": "slices",
    "workers": "workers of batch",
}
MEASURES = (("seconds", "seconds", "#0072b2"), ("megabytes", "memory, MB", "#d55e00"))
PANEL = (300, 220)  # pixels
TICKS_PER_DECADE = (1, 2, 5)


def write_plot(points: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw two rows of panels, time above memory; both axes are logarithmic, but for the workers."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    import pyqtgraph as pg
    from pyqtgraph.exporters import ImageExporter

    app = pg.mkQApp()
    pg.setConfigOptions(background="w", foreground="k", antialias=True)
    axes = [axis for axis in TITLES if any(point["axis"] == axis for point in points)]
    window = pg.GraphicsLayoutWidget()
    window.resize(PANEL[0] * len(axes), PANEL[1] * len(MEASURES))
    for row, (key, title, color) in enumerate(MEASURES):
        for column, axis in enumerate(axes):
            curve = sorted((p["value"], p[key]) for p in points if p["axis"] == axis)
            x, y = [a for a, _ in curve], [b for _, b in curve]
            is_logarithmic = axis != "workers"
            panel = window.addPlot(row=row, col=column)
            panel.setLogMode(x=is_logarithmic, y=is_logarithmic)
            panel.plot(
                x,
                y,
                pen=pg.mkPen(color, width=2),
                symbol="o",
                symbolSize=7,
                symbolBrush=color,
                symbolPen=None,
            )
            panel.showGrid(x=True, y=True, alpha=0.2)
            panel.getAxis("left").setWidth(64 if column == 0 else 48)  # pixels, for four digits
            panel.getAxis("bottom").setTicks([_ticks(x, is_logarithmic)])
            if is_logarithmic:
                low, high = _at_least_a_decade(min(y) / 1.3, max(y) * 1.3)
                panel.getAxis("left").setTicks([_decade_ticks(low, high)])
                panel.setYRange(math.log10(low), math.log10(high), padding=0)
            else:
                panel.setYRange(0, 1.1 * max(y))
            if row == len(MEASURES) - 1:
                panel.setLabel("bottom", TITLES[axis])
            if column == 0:
                panel.setLabel("left", title)
    window.show()
    app.processEvents()
    exporter = ImageExporter(window.scene())
    exporter.parameters()["width"] = PANEL[0] * len(axes)
    path.parent.mkdir(parents=True, exist_ok=True)
    exporter.export(str(path))
    window.close()


def _ticks(values: Sequence[float], is_logarithmic: bool) -> list[tuple[float, str]]:
    """A tick at each value that was measured; pyqtgraph takes logarithms as positions."""
    return [(math.log10(value) if is_logarithmic else value, f"{value:g}") for value in values]


def _at_least_a_decade(low: float, high: float) -> tuple[float, float]:
    """A range around the same middle in which little change looks like little."""
    low, high = max(low, 1e-6), max(high, 1e-6)
    widened = max(1.0, math.sqrt(10 * low / high))
    return low / widened, high * widened


def _decade_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Ticks at 1, 2 and 5 times the powers of ten in a range."""
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    marks = [m * 10.0**power for power in powers for m in TICKS_PER_DECADE]
    return [(math.log10(mark), f"{mark:g}") for mark in marks if low <= mark <= high]
