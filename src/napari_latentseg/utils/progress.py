"""How a long computation reports its progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

__all__ = ["Progress", "StepCount", "no_progress"]

_T = TypeVar("_T")

Progress = Callable[[float], None]
"""Called with the fraction done, in [0, 1]."""


def no_progress(done: float) -> None:
    """Report nothing."""


class StepCount:
    """Reports the progress of work in several parts, of which the number of steps is known.

    Parameters
    ----------
    total
        Of all parts.
    progress
        Called after each step.
    """

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress = max(1, total), progress
        self._done = 0

    def each(self, steps: Iterable[_T]) -> Iterator[_T]:
        """Pass on the steps of one part, and count them."""
        for step in steps:
            self._done += 1
            self._progress(min(1.0, self._done / self._total))
            yield step
