"""Plot of the validations during a model's training."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_latentseg.widgets._shared.plain_text import plain_text

if TYPE_CHECKING:
    from napari_latentseg.models.training_log import TrainingLog

__all__ = ["TrainingPlot"]

# pixels: room for the tick labels at the left and the axis title at the bottom, and for half a label
_LEFT_MARGIN, _BOTTOM_MARGIN, _EDGE_MARGIN = 44, 40, 10
_COLOURS = ("#4a90d9", "#e69f00", "#009e73", "#cc79a7", "#d55e00")  # readable in both themes


class TrainingPlot(QWidget):
    """Dice on the validation slices by epoch, a colour for each stage or member.

    The axis begins at a round number below the lowest Dice, so that what training gained can be seen.
    """

    def __init__(self, log: TrainingLog, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.log = log
        lowest = min(point.dsc for point in log.curve)
        self._bottom = max(0.0, int(lowest * 10) / 10)
        self._top = min(1.0, self._bottom + 0.1)
        highest = max(point.dsc for point in log.curve)
        while self._top < highest:
            self._top = min(1.0, self._top + 0.1)
        self.setMinimumSize(220, 200)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setToolTip(plain_text(log.describe()))

    def sizeHint(self) -> QSize:
        """As the plot of the calibration."""
        return QSize(260, 220)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Axes and curves."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text_colour = self.palette().color(self.foregroundRole())
        line_colour = self.palette().color(self.foregroundRole())
        line_colour.setAlpha(110)  # of 255, so that the frame stays behind the curve
        area = QRectF(
            _LEFT_MARGIN,
            _EDGE_MARGIN,
            self.width() - _LEFT_MARGIN - _EDGE_MARGIN,
            self.height() - _BOTTOM_MARGIN - _EDGE_MARGIN,
        )

        def to_widget(epoch: float, dsc: float) -> QPointF:
            share = (dsc - self._bottom) / (self._top - self._bottom)
            return QPointF(
                area.left() + epoch / self.log.epochs * area.width(), area.bottom() - share * area.height()
            )

        painter.setPen(QPen(line_colour, 1))
        painter.drawRect(area)
        painter.setPen(QPen(text_colour, 1))
        centred = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for dsc in (self._bottom, self._top):
            at = to_widget(0, dsc)
            painter.drawText(QRectF(at.x() - 36, at.y() - 8, 32, 16), right, f"{dsc:.1f}")
        end = to_widget(self.log.epochs, self._bottom)
        painter.drawText(QRectF(end.x() - 50, end.y() + 2, 60, 16), right, str(self.log.epochs))
        painter.drawText(
            QRectF(area.left(), area.bottom() + 18, area.width(), 18), centred, "Dice on validation, by epoch"
        )
        series = list(dict.fromkeys(point.series for point in self.log.curve))
        for number, name in enumerate(series):
            colour = QColor(_COLOURS[number % len(_COLOURS)])
            painter.setPen(QPen(colour, 2))
            painter.setBrush(colour)
            points = [to_widget(point.epoch, point.dsc) for point in self.log.curve if point.series == name]
            for point in points:
                painter.drawEllipse(point, 2, 2)
            for start, stop in pairwise(points):
                painter.drawLine(start, stop)
            if name:
                place = QRectF(area.left() + 4, area.bottom() - 4 - 15 * (len(series) - number), 140, 15)
                painter.drawText(place, Qt.AlignmentFlag.AlignLeft, name)
        painter.end()
