"""Surface Dice: the share of two boundaries that lies within a tolerance of the other one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.arrays import Mask, check_pair, empty_masks
from napari_latentseg.evaluation.metrics import surface_distances

__all__ = ["SURFACE_DICE_CONVENTION", "check_tolerance", "share_within", "surface_dice"]

SURFACE_DICE_CONVENTION = (
    "share of the boundary voxels of both masks whose distance to the other boundary is at most the "
    "tolerance (Nikolov et al. 2021); each boundary voxel counts once, as in MONAI, where the "
    "authors' code weights it by the area of its surface; 1 if both masks are empty, 0 if one of them is"
)
"""The definition, for reports and JSON."""

# A voxel of spacing 0.1 is 0.30000000000000004 away from its third neighbour, and is within 0.3.
_ROUNDING = 1e-9


def surface_dice(
    prediction: Mask, reference: Mask, tolerance: float, spacing: Sequence[float] | None = None
) -> float:
    """Surface Dice of two masks at a tolerance [1]_.

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape, with any number of axes.
    tolerance
        In the unit of the spacing, or in voxels without one; 0 or more.
    spacing
        Distance of neighbouring voxels along each axis, in array order; 1 for each by default.

    Returns
    -------
    float
        In [0, 1]; see `SURFACE_DICE_CONVENTION`.

    Raises
    ------
    BadInput
        If the shapes differ, a mask has no voxels or is not boolean, the tolerance is negative or not finite,
        or the spacing is not one positive number for each axis.

    References
    ----------
    .. [1] Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy:
       deep learning algorithm development and validation study", J Med Internet Res 23, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> reference, prediction = np.zeros((2, 9, 9), dtype=bool)
    >>> reference[3:6, 3:6] = prediction[3:6, 4:7] = True
    >>> surface_dice(prediction, reference, 0), surface_dice(prediction, reference, 1)
    (0.5, 1.0)
    """
    prediction, reference = check_pair(prediction, reference)
    check_tolerance(tolerance)
    if empty := empty_masks(prediction, reference):
        return 1.0 if empty == "both" else 0.0
    return share_within(np.concatenate(surface_distances(prediction, reference, spacing)), tolerance)


def check_tolerance(tolerance: float) -> None:
    """Refuse a tolerance that is negative, infinite or no number.

    Raises
    ------
    BadInput
        If it is.
    """
    if not (np.isfinite(tolerance) and tolerance >= 0):
        raise BadInput("tolerance", f"{tolerance} is not possible", "give a length such as 2, or 0")


def share_within(distances: NDArray[Any], tolerance: float) -> float:
    """The share of boundary distances, both directions pooled, that are at most the tolerance."""
    return float(np.mean(distances <= tolerance * (1 + _ROUNDING)))
