"""Plot of a model's reliability curve."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

if TYPE_CHECKING:
    from napari_latentseg.evaluation.calibration import Reliability

__all__ = ["ReliabilityPlot"]

_LEFT_MARGIN, _BOTTOM_MARGIN, _EDGE_MARGIN = 44, 40, 10
_CURVE = "#4a90d9"  # readable in the dark and the light theme


class ReliabilityPlot(QWidget):
    """The reliability curve of a card: observed frequency of a class against its mean probability.

    On the dashed diagonal the model is calibrated; below it, overconfident. Bins with few voxels have small
    dots.
    """

    def __init__(self, reliability: Reliability, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.reliability = reliability
        self.setMinimumSize(220, 200)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            f"Expected calibration error {reliability.ece:.3f} over all voxels,"
            f" {reliability.ece_unsure:.3f} where the mean probability is between 0.05 and 0.95;"
            f" {reliability.images} images, {reliability.data}"
        )

    def sizeHint(self) -> QSize:
        """Nearly square."""
        return QSize(260, 220)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Axes, diagonal, curve."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        ink = self.palette().color(self.foregroundRole())
        faint = self.palette().color(self.foregroundRole())
        faint.setAlpha(110)
        area = QRectF(
            _LEFT_MARGIN,
            _EDGE_MARGIN,
            self.width() - _LEFT_MARGIN - _EDGE_MARGIN,
            self.height() - _BOTTOM_MARGIN - _EDGE_MARGIN,
        )

        def to_widget(x: float, y: float) -> QPointF:
            return QPointF(area.left() + x * area.width(), area.bottom() - y * area.height())

        painter.setPen(QPen(faint, 1))
        painter.drawRect(area)
        painter.setPen(QPen(faint, 1, Qt.PenStyle.DashLine))
        painter.drawLine(to_widget(0, 0), to_widget(1, 1))
        painter.setPen(QPen(ink, 1))
        middle = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        for tick in (0.0, 0.5, 1.0):
            below, beside = to_widget(tick, 0), to_widget(0, tick)
            painter.drawText(QRectF(below.x() - 20, below.y() + 2, 40, 16), middle, f"{tick:g}")
            right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRectF(beside.x() - 32, beside.y() - 8, 28, 16), right, f"{tick:g}")
        painter.drawText(
            QRectF(area.left(), area.bottom() + 18, area.width(), 18), middle, "mean probability"
        )
        painter.save()
        painter.translate(10, area.center().y())
        painter.rotate(-90)
        painter.drawText(QRectF(-area.height() / 2, -8, area.height(), 16), middle, "observed frequency")
        painter.restore()
        self._draw_curve(painter, to_widget)
        painter.end()

    def _draw_curve(self, painter: QPainter, to_widget: object) -> None:
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
                points.append(to_widget(predicted, observed))  # type: ignore[operator]
                radius = 2 + 3 * (count / max_count) ** 0.25
                painter.drawEllipse(points[-1], radius, radius)
        for start, stop in pairwise(points):
            painter.drawLine(start, stop)
