"""How far each voxel is from the edge of a mask, and on which side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["signed_distance"]


def signed_distance(mask: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Distance of each voxel from the edge of a mask: positive outside, negative inside.

    A voxel outside has the distance to the nearest voxel of the mask, one inside that to the nearest voxel
    outside it. The border of the image is no edge: what it cuts off is unknown.

    Parameters
    ----------
    mask
        Where the region is.
    spacing
        For each axis.

    Returns
    -------
    ndarray
        Never 0; infinite where the mask has no edge, since it is empty or fills the image.
    """
    from scipy.ndimage import distance_transform_edt  # here, since scipy takes long to import

    if mask.all() or not mask.any():
        return np.full(mask.shape, -math.inf if mask.any() else math.inf)
    outside = distance_transform_edt(~mask, sampling=spacing)
    inside = distance_transform_edt(mask, sampling=spacing)
    return np.asarray(outside - inside, dtype=np.float64)
