"""Colour bar of a map: its colours on its fixed scale, with the ends of the scale in words."""

from __future__ import annotations

import numpy as np
from napari.utils.colormaps import Colormap
from qtpy.QtCore import QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent
from qtpy.QtWidgets import QGridLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_latentseg.widgets._shared.map_style import map_meaning, map_scale, map_style
from napari_latentseg.widgets._shared.plain_text import PlainLabel

__all__ = ["ColorBar"]

_BACKGROUND = (64, 64, 64)  # as an image of medium brightness below the map
_MAX_BLOCKS = 40  # more numbers of samples than this are drawn as one gradient


class ColorBar(QWidget):
    """The colours of one map, what the ends of its scale mean, and what the map shows."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.bar = _Bar()
        self.low_label, self.high_label = PlainLabel(), PlainLabel()
        self.high_label.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
        self.meaning = PlainLabel()
        for label in (self.low_label, self.high_label, self.meaning):
            label.setWordWrap(True)
        ends = QGridLayout()
        ends.setContentsMargins(0, 0, 0, 0)
        ends.addWidget(self.low_label, 0, 0)
        ends.addWidget(self.high_label, 0, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        layout.addWidget(self.bar)
        layout.addLayout(ends)
        layout.addWidget(self.meaning)

    def show_map(self, role: str, samples: int, class_name: str = "", *, is_weighted: bool = False) -> None:
        """Show the scale of a map.

        Parameters
        ----------
        role
            One of `napari_latentseg.widgets._shared.map_style.MAP_ROLES`.
        samples
            Number of samples of the result.
        class_name
            The class that the map shows; not named where empty.
        is_weighted
            Whether hints weight the samples.
        """
        style = map_style(role, samples)
        blocks = samples if role == "agreement" and samples <= _MAX_BLOCKS else 0
        self.bar.set_colors(style["colormap"], float(style["opacity"]), blocks)
        low, high = map_scale(role, samples)
        self.low_label.setText(low)
        self.high_label.setText(high)
        meaning = map_meaning(role, samples, is_weighted=is_weighted)
        self.meaning.setText(f"{class_name}: {meaning}" if class_name else meaning)
        self.bar.setAccessibleName(f"{role}: {low}; {high}")


class _Bar(QWidget):
    """The colours, as they look over a grey image."""

    def __init__(self) -> None:
        super().__init__()
        self._colors: list[QColor] = []
        self._has_gaps = False
        self.setFixedHeight(12)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_colors(self, colormap: Colormap, opacity: float, blocks: int) -> None:
        """Take over the colours of a map; where `blocks` is not 0, of its steps 1 to `blocks`."""
        values = np.arange(1, blocks + 1) / blocks if blocks else np.linspace(0, 1, 128)
        rgba = np.asarray(colormap.map(values))
        alpha = opacity * rgba[:, 3:]
        rgb = np.rint(255 * alpha * rgba[:, :3] + (1 - alpha) * np.array(_BACKGROUND)).astype(int)
        self._colors = [QColor(*map(int, color)) for color in rgb]
        self._has_gaps = bool(blocks)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the bar."""
        painter = QPainter(self)
        width = self.width() / max(1, len(self._colors))
        gap = 1 if self._has_gaps else 0
        for i, color in enumerate(self._colors):
            painter.fillRect(QRectF(i * width, 0, width - gap + (0 if gap else 1), self.height()), color)
