"""Conversion between nibabel's affines (RAS, x first) and ours (LPS, in the order of the array's axes)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FLIP = np.diag([-1.0, -1.0, 1.0])


def from_ras(
    affine: NDArray[np.float64], spatial: int, time: tuple[float, float] = (1.0, 0.0)
) -> NDArray[np.float64]:
    """Convert an affine from RAS, x first, to LPS, x last.

    Parameters
    ----------
    affine
        `(4, 4)`.
    spatial
        Number of axes of the array: 2 (``yx``), 3 (``zyx``) or 4 (``tzyx``).
    time
        Step and origin along ``t``.

    Returns
    -------
    ndarray
        `(spatial + 1, spatial + 1)`.
    """
    full = np.eye(5)
    full[0, 0], full[0, 4] = time
    full[1:4, 1:4] = (_FLIP @ affine[:3, :3])[::-1, ::-1]
    full[1:4, 4] = (_FLIP @ affine[:3, 3])[::-1]
    keep = [*range(4 - spatial, 4), 4]
    return full[np.ix_(keep, keep)]


def to_ras(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse, `(4, 4)`, from the last two or three axes of an affine; a missing z gets a step of 1."""
    n = min(len(matrix) - 1, 3)
    full = np.eye(4)
    full[3 - n : 3, 3 - n : 3] = matrix[-1 - n : -1, -1 - n : -1]
    full[3 - n : 3, 3] = matrix[-1 - n : -1, -1]
    affine = np.eye(4)
    affine[:3, :3] = _FLIP @ full[:3, :3][::-1, ::-1]
    affine[:3, 3] = _FLIP @ full[:3, 3][::-1]
    return affine
