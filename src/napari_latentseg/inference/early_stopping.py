"""When further samples no longer change the mask."""

from __future__ import annotations

__all__ = ["FIRST_COMPARED_SAMPLE", "SampleStopper"]

FIRST_COMPARED_SAMPLE = 3
"""The first sample whose change is looked at."""

_REQUIRED_STABLE_SAMPLES = 2


class SampleStopper:
    """Settles how many samples a run draws, from how little the last ones changed.

    A plane has enough when two samples in a row, the third at the earliest, changed its mask by no more than
    the tolerance. The first plane where anything is found settles the number for all. A plane where nothing
    is found has enough in the same way, but settles nothing.

    Parameters
    ----------
    tolerance
        The largest change that counts as none: 1 - DSC between the masks before and after a sample.
    max_samples
        How many samples are drawn at most.

    Attributes
    ----------
    final_sample_count
        How many samples each plane is to have; None while that is not settled.
    """

    def __init__(self, tolerance: float, max_samples: int) -> None:
        self.tolerance = tolerance
        self.max_samples = max_samples
        self.final_sample_count: int | None = None
        self._stable_samples: dict[int, int] = {}

    def update(self, plane: int, sample_count: int, change: float | None) -> bool:
        """Whether a plane has enough with its latest sample.

        Parameters
        ----------
        plane
            Which.
        sample_count
            How many it has.
        change
            By the latest of them; None where neither mask shows anything.
        """
        if self.final_sample_count is not None:
            return sample_count >= self.final_sample_count
        is_stable = sample_count >= FIRST_COMPARED_SAMPLE and (change is None or change <= self.tolerance)
        self._stable_samples[plane] = self._stable_samples.get(plane, 0) + 1 if is_stable else 0
        is_complete = (
            self._stable_samples[plane] >= _REQUIRED_STABLE_SAMPLES or sample_count >= self.max_samples
        )
        if is_complete and change is not None:
            self.final_sample_count = sample_count
        return is_complete

    def finish(self, sample_count: int) -> None:
        """Settle the number where nothing was found in any plane: as many as the planes have."""
        if self.final_sample_count is None:
            self.final_sample_count = sample_count
