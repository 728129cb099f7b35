"""STAPLE: which voxels are foreground, and how reliable each reader is, estimated together.

Warfield et al., "Simultaneous truth and performance level estimation (STAPLE): an algorithm for the
validation of image segmentation", IEEE TMI 23, 2004.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput

__all__ = ["check_staple_available", "staple"]

# ITK goes on until the estimates no longer change in double precision, which takes some dozen steps: a bound
# for masks with which it never ends.
_MAX_ITERATIONS = 1000


def check_staple_available() -> None:
    """Refuse STAPLE, before anything is read, where SimpleITK is not installed.

    Raises
    ------
    BadInput
        If it is not.
    """
    _simpleitk()


def staple(
    masks: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], tuple[float, ...] | None, tuple[float, ...] | None]:
    """The probability of foreground, and sensitivity and specificity of each reader, by ITK's STAPLE.

    The prior is the share of foreground in the whole array, so a larger image gives another estimate.

    Parameters
    ----------
    masks
        Of one class by n readers, `(n, ...)`.

    Returns
    -------
    probability : ndarray
        float64 in [0, 1], in the shape of a mask.
    sensitivity, specificity : tuple of float, or None
        Of each reader, against the estimated truth; None where all masks are empty or all are full, which
        leaves nothing to estimate: the probability is then 0 or 1 everywhere.

    Raises
    ------
    BadInput
        If SimpleITK is not installed.
    """
    sitk = _simpleitk()
    if not masks.any() or masks.all():
        return masks[0].astype(np.float64), None, None
    # STAPLE sees each voxel by itself, so the shape of the image does not matter
    images = [sitk.GetImageFromArray(mask.reshape(1, -1).astype(np.uint8)) for mask in masks]
    estimator = sitk.STAPLEImageFilter()
    estimator.SetForegroundValue(1.0)
    estimator.SetMaximumIterations(_MAX_ITERATIONS)
    probability: NDArray[np.float64] = sitk.GetArrayFromImage(estimator.Execute(images))
    return (
        probability.reshape(masks.shape[1:]),
        tuple(float(value) for value in estimator.GetSensitivity()),
        tuple(float(value) for value in estimator.GetSpecificity()),
    )


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        raise BadInput(
            "STAPLE",
            "needs SimpleITK, which is not installed",
            'pip install "napari-latentseg[readers]", or take the majority',
        ) from error
    return SimpleITK
