"""How the classes of a mask are drawn: outline or fill, opacity, shown or hidden. The labels never change."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.colormaps.standardize_color import transform_color
from psygnal import Signal

from napari_latentseg.core.classes import ClassInfo

__all__ = ["MaskLook"]

# pixels of the longer side of a slice: in a smaller one an outline of one pixel hides what it should show
_MIN_OUTLINED_SIDE = 160
# pixels of a slice: napari computes outlines when it draws, 0.1 s for 2 million pixels
_MAX_OUTLINED_PIXELS = 4_000_000
_FILL_OPACITY, _OUTLINE_OPACITY = 0.4, 1.0


class MaskLook:
    """The look of the classes of one result, for its mask and for the editable copy of it.

    Parameters
    ----------
    classes
        The classes of the model.
    slice_shape
        Rows and columns of a slice of the image.

    Attributes
    ----------
    classes
        As given.
    is_outlined
        Whether outlines are drawn, and not areas.

    Signals
    -------
    changed
        Something of the look has changed.
    """

    changed = Signal()

    def __init__(self, classes: tuple[ClassInfo, ...], slice_shape: tuple[int, int]) -> None:
        # napari draws areas in 3D, and would show a notification for each mask with outlines
        warnings.filterwarnings("ignore", message="Contours are not displayed during 3D rendering")
        self.classes = classes
        longer_side = max(slice_shape)
        self.can_outline = slice_shape[0] * slice_shape[1] <= _MAX_OUTLINED_PIXELS
        self.is_outlined = self.can_outline and longer_side >= _MIN_OUTLINED_SIDE
        # pixels: about one on the screen, where the whole slice is on it
        self._outline_width = min(3, max(1, round(longer_side / 500)))
        self._hidden: set[int] = set()
        self._opacities: dict[bool, dict[int, float]] = {True: {}, False: {}}
        self._layers: weakref.WeakSet[Labels] = weakref.WeakSet()

    def add(self, layer: Labels) -> None:
        """Draw a layer in this look from now on."""
        self._layers.add(layer)
        layer.opacity = 1.0  # each class has its own
        self.apply(layer)

    def is_shown(self, label: int) -> bool:
        """Whether a class is shown."""
        return label not in self._hidden

    def show_label(self, label: int, shown: bool) -> None:
        """Show or hide a class."""
        if shown != self.is_shown(label):
            self._hidden ^= {label}
            self._apply_to_all()

    def opacity(self, label: int) -> float:
        """The opacity of a class in the current kind of drawing, in [0, 1]."""
        default = _OUTLINE_OPACITY if self.is_outlined else _FILL_OPACITY
        return self._opacities[self.is_outlined].get(label, default)

    def set_opacity(self, label: int, opacity: float) -> None:
        """Set the opacity of a class; outlines and areas have one each."""
        if opacity != self.opacity(label):
            self._opacities[self.is_outlined][label] = opacity
            self._apply_to_all()

    def set_outlined(self, is_outlined: bool) -> None:
        """Draw outlines, or areas; slices that are too large have areas always."""
        is_outlined = is_outlined and self.can_outline
        if is_outlined != self.is_outlined:
            self.is_outlined = is_outlined
            self._apply_to_all()

    def _apply_to_all(self) -> None:
        for layer in list(self._layers):
            self.apply(layer)
        self.changed.emit()

    def apply(self, layer: Labels) -> None:
        """Draw a layer in this look, once; labels of other classes keep their colour."""
        colors: dict[int | None, Any] = {
            label: np.array(color) for label, color in layer.colormap.color_dict.items()
        }
        for info in self.classes:
            alpha = self.opacity(info.label) if self.is_shown(info.label) else 0.0
            colors[info.label] = (*transform_color(info.color)[0, :3], alpha)
        layer.colormap = DirectLabelColormap(color_dict=colors)
        width = self._outline_width if self.is_outlined else 0
        if layer.contour != width:
            layer.contour = width
