"""A part of a slice, and the answer to prompts on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.slices import CropBox

__all__ = ["ObjectMask", "SliceAnswer", "SlicePart"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class SlicePart:
    """A part of a slice, as the model sees it.

    Attributes
    ----------
    plane
        Number of the slice.
    box
        Top, left, bottom, right; the last two are exclusive.
    step
        Every how many rows and columns one is read: more than 1 where the part is larger than is needed.
    """

    plane: int
    box: CropBox
    step: int = 1

    @property
    def origin(self) -> tuple[float, float]:
        """The centre of the first pixel that is read: in the middle of those that it stands for."""
        return self.box[0] + (self.step - 1) / 2, self.box[1] + (self.step - 1) / 2


@dataclass(frozen=True)
class ObjectMask:
    """A mask, cropped to where it is not empty.

    Attributes
    ----------
    top, left
        Where its first pixel lies in the slice.
    values
        `(h, w)`, bool.
    """

    top: int
    left: int
    values: NDArray[np.bool_]


@dataclass(frozen=True)
class SliceAnswer:
    """The answer to prompts on a part of a slice.

    Attributes
    ----------
    part
        Where it lies.
    samples
        Probabilities, `(n, h, w)` float32 in [0, 1]; one value for each row and column that was read.
    mean, variance
        Over the samples, `(h, w)`; no variance of fewer than three.
    threshold
        The mask is where the mean is above it.
    mask
        At the resolution of the slice; None where nothing is above the threshold.
    """

    part: SlicePart
    samples: Array
    mean: Array
    variance: Array | None
    threshold: float
    mask: ObjectMask | None
