"""Plot of a model's reliability curve."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.plain_text import plain_text

if TYPE_CHECKING:
    from napari_latentseg.evaluation.reliability import Reliability

__all__ = ["ReliabilityPlot"]

# pixels: room for the tick labels and the axis title at the left and at the bottom, and for half a label
_LEFT_MARGIN, _BOTTOM_MARGIN, _EDGE_MARGIN = 44, 40, 10
_CURVE = "#4a90d9"  # readable in the dark and the light theme


class ReliabilityPlot(QWidget):
    """The reliability curve of a card: observed frequency of a class against its mean probability.

    On the dashed diagonal the probabilities are calibrated; below it they are too high. Bins with few voxels
    have small dots.
    """

    def __init__(self, reliability: Reliability, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.reliability = reliability
        self.setMinimumSize(220, 200)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        text = f"Expected calibration error {reliability.ece:.3f} over all voxels"
        if reliability.ece_unsure is not None:
            first, last = reliability.uncertain_range
            text += f", {reliability.ece_unsure:.3f} for mean probabilities from {first:g} to {last:g}"
        self.setToolTip(plain_text(f"{text}; {count_text(reliability.images, 'image')}, {reliability.data}"))

    def sizeHint(self) -> QSize:
        """Nearly square."""
        return QSize(260, 220)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Axes, diagonal, curve."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text_colour = self.palette().color(self.foregroundRole())
        line_colour = self.palette().color(self.foregroundRole())
        line_colour.setAlpha(110)  # of 255, so that frame and diagonal stay behind the curve
        area = QRectF(
            _LEFT_MARGIN,
            _EDGE_MARGIN,
            self.width() - _LEFT_MARGIN - _EDGE_MARGIN,
            self.height() - _BOTTOM_MARGIN - _EDGE_MARGIN,
        )

        def to_widget(x: float, y: float) -> QPointF:
            return QPointF(area.left() + x * area.width(), area.bottom() - y * area.height())

        painter.setPen(QPen(line_colour, 1))
        painter.drawRect(area)
        painter.setPen(QPen(line_colour, 1, Qt.PenStyle.DashLine))
        painter.drawLine(to_widget(0, 0), to_widget(1, 1))
        painter.setPen(QPen(text_colour, 1))
        centred = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        right_aligned = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for tick in (0.0, 0.5, 1.0):
            x_tick, y_tick = to_widget(tick, 0), to_widget(0, tick)
            painter.drawText(QRectF(x_tick.x() - 20, x_tick.y() + 2, 40, 16), centred, f"{tick:g}")
            painter.drawText(QRectF(y_tick.x() - 32, y_tick.y() - 8, 28, 16), right_aligned, f"{tick:g}")
        painter.drawText(
            QRectF(area.left(), area.bottom() + 18, area.width(), 18), centred, "mean probability"
        )
        painter.save()
        painter.translate(10, area.center().y())
        painter.rotate(-90)
        painter.drawText(QRectF(-area.height() / 2, -8, area.height(), 16), centred, "observed frequency")
        painter.restore()
        self._draw_curve(painter, to_widget)
        painter.end()

    def _draw_curve(self, painter: QPainter, to_widget: Callable[[float, float], QPointF]) -> None:
        reliability = self.reliability
        max_count = max(reliability.counts) or 1
        colour = QColor(_CURVE)
        painter.setPen(QPen(colour, 2))
        painter.setBrush(colour)
        points = []
        for predicted, observed, count in zip(
            reliability.predicted, reliability.observed, reliability.counts, strict=True
        ):
            if predicted is not None and observed is not None:
                points.append(to_widget(predicted, observed))
                # 2 to 5 pixels; the small exponent, because the bin of the background has most voxels
                radius = 2 + 3 * (count / max_count) ** 0.25
                painter.drawEllipse(points[-1], radius, radius)
        for start, stop in pairwise(points):
            painter.drawLine(start, stop)
