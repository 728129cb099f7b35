"""How near the probability of a voxel is to a half."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["MAX_DOUBT", "doubt_of"]

MAX_DOUBT = 0.5
"""The doubt where in and out are equally probable."""


def doubt_of(mean: Any) -> Any:
    """min(p, 1 - p) of probabilities p: how often a cut at 0.5 would be wrong, if p is calibrated.

    Parameters
    ----------
    mean
        Probabilities in [0, 1], of any shape; NumPy or dask.

    Returns
    -------
    array
        Of the same kind, shape and type, in [0, 0.5].

    Examples
    --------
    >>> doubt_of(np.array([0.0, 0.25, 0.5, 1.0]))
    array([0.  , 0.25, 0.5 , 0.  ])
    """
    return np.minimum(mean, 1 - mean)
