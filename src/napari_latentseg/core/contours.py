"""Inner and outer contours of a result, as regions; see `napari_latentseg.measure.contours`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONTOUR_SIDES", "ClassContours", "ContourSide", "Contours"]

ContourSide = Literal["inner", "outer"]

CONTOUR_SIDES: tuple[ContourSide, ...] = ("inner", "outer")


@dataclass(frozen=True)
class ClassContours:
    """The regions inside the two contours of one class.

    Attributes
    ----------
    class_index
        Index of the class in the result.
    inner, outer
        bool, in the shape of the mask. The inner region lies in the model's mask and may be empty, the outer
        one holds it.
    reach
        Distance of both contours from the edge of the mask, in the unit of the spacing.
    """

    class_index: int
    inner: NDArray[np.bool_]
    outer: NDArray[np.bool_]
    reach: float

    def region(self, side: ContourSide) -> NDArray[np.bool_]:
        """The region inside one of the two."""
        return self.inner if side == "inner" else self.outer


@dataclass(frozen=True)
class Contours:
    """The contours of a result.

    Attributes
    ----------
    level
        In which fraction of images the true edge lies between them.
    promise
        What they promise, in words.
    classes
        The classes that have contours and a mask that is not empty.
    """

    level: float
    promise: str
    classes: tuple[ClassContours, ...]

    def name(self, side: ContourSide) -> str:
        """What files and legends call a contour: ``inner contour (90 %)``."""
        return f"{side} contour ({self.level * 100:g} %)"
