"""Early stopping: when further samples no longer change the mask."""

from __future__ import annotations

__all__ = ["FIRST_COMPARED_SAMPLE", "SampleStopper"]

FIRST_COMPARED_SAMPLE = 3
"""The first sample whose change counts: the mean of two samples says little about the spread."""

_REQUIRED_STABLE_SAMPLES = 2  # in a row, since one small change can be chance


class SampleStopper:
    """Decides how many samples a run draws, from how little the last samples changed the mask.

    A plane is complete when two samples in a row, the third at the earliest, changed its mask by at most the
    tolerance. The first plane with foreground fixes the number of samples for all planes. An empty plane is
    complete by the same rule, but fixes nothing.

    Parameters
    ----------
    tolerance
        Largest change that counts as none, in (0, 1): 1 - Dice between the masks before and after a sample.
    max_samples
        Most samples of a plane.

    Attributes
    ----------
    final_sample_count
        The number of samples of every plane; None until it is fixed.
    """

    def __init__(self, tolerance: float, max_samples: int) -> None:
        self.tolerance = tolerance
        self.max_samples = max_samples
        self.final_sample_count: int | None = None
        self._stable_samples: dict[int, int] = {}

    def update(self, plane: int, sample_count: int, change: float | None) -> bool:
        """Add the latest sample of a plane, and say whether the plane is complete.

        Parameters
        ----------
        plane
            Index of the plane.
        sample_count
            How many samples it has.
        change
            Change of its mask by the latest sample (1 - Dice); None if both masks are empty.
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
        """Fix the number of samples if all planes are empty."""
        if self.final_sample_count is None:
            self.final_sample_count = sample_count
