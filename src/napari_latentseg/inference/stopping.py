"""When further samples no longer change the mask."""

from __future__ import annotations

__all__ = ["FIRST_LOOK", "Stopping"]

FIRST_LOOK = 3
"""The first sample whose change is looked at."""

_IN_A_ROW = 2


class Stopping:
    """Settles how many samples a run draws, from how little the last ones changed.

    A plane has enough when two samples in a row, the third at the earliest, changed its mask by no more than
    the tolerance. The first plane where anything is found settles the number for all. A plane where nothing
    is found has enough in the same way, but settles nothing.

    Parameters
    ----------
    tolerance
        The largest change that counts as none: 1 - DSC between the masks before and after a sample.
    most
        How many samples are drawn at most.

    Attributes
    ----------
    number
        How many samples each plane is to have; None while that is not settled.
    """

    def __init__(self, tolerance: float, most: int) -> None:
        self.tolerance = tolerance
        self.most = most
        self.number: int | None = None
        self._calm: dict[int, int] = {}

    def is_enough(self, plane: int, samples: int, change: float | None) -> bool:
        """Whether a plane has enough with its latest sample.

        Parameters
        ----------
        plane
            Which.
        samples
            How many it has.
        change
            By the latest of them; None where neither mask shows anything.
        """
        if self.number is not None:
            return samples >= self.number
        is_calm = samples >= FIRST_LOOK and (change is None or change <= self.tolerance)
        self._calm[plane] = self._calm.get(plane, 0) + 1 if is_calm else 0
        enough = self._calm[plane] >= _IN_A_ROW or samples >= self.most
        if enough and change is not None:
            self.number = samples
        return enough

    def finish(self, samples: int) -> None:
        """Settle the number where nothing was found in any plane: as many as the planes have."""
        if self.number is None:
            self.number = samples
