"""What conformal bounds share: the rank of a bound, and leaving one image out."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIN_CASES", "conformal_bound", "leave_one_out"]

MIN_CASES = 20
"""Images that a class needs for contours and for an expected Dice: with fewer, leaving one out would leave
less than two images in each tenth."""


def conformal_bound(scores: NDArray[np.float64], level: float) -> float:
    """The bound that a further score of the same kind keeps with a probability of `level` or more.

    Parameters
    ----------
    scores
        Of n cases.
    level
        In (0, 1).

    Returns
    -------
    float
        The score of rank ``ceil((n + 1) level)``; infinite with too few cases.

    Examples
    --------
    >>> conformal_bound(np.arange(19.0), 0.9), conformal_bound(np.arange(5.0), 0.9)
    (17.0, inf)
    """
    rank = math.ceil((len(scores) + 1) * level - 1e-9)  # 1e-9 against rounding of 20 * 0.9
    return float(np.sort(scores)[rank - 1]) if 1 <= rank <= len(scores) else math.inf


def leave_one_out(groups: Sequence[Hashable]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Indices of the other cases, and of the cases of one group, for each group.

    Parameters
    ----------
    groups
        Of each case; cases of one group are left out together, such as one image in two files.
    """
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    everything = np.arange(len(groups))
    for left_out in members.values():
        yield np.setdiff1d(everything, left_out), np.array(left_out, dtype=np.intp)
