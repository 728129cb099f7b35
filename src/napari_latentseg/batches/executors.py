"""Who segments the cases of a batch: this process, one case after another, or workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from napari_latentseg.batches.case import BatchCase, BatchJob, CaseOutcome
from napari_latentseg.errors import Cancelled
from napari_latentseg.utils.progress import Progress

__all__ = ["CaseFunction", "Executor", "InProcess"]

CaseFunction = Callable[[BatchJob, BatchCase, Progress], CaseOutcome]
"""Segments a case; of a module, so that it can be pickled. It raises nothing but what `Progress` raises."""


class Executor(Protocol):
    """Segments the cases of a batch."""

    def outcomes(
        self,
        job: BatchJob,
        cases: Sequence[BatchCase],
        on_progress: Callable[[str, float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[CaseOutcome]:
        """Give the outcome of each case as soon as it is known, in any order.

        Parameters
        ----------
        job, cases
            What to do.
        on_progress
            May be called, in the thread that iterates, with the name of a case and the fraction done.
        should_stop
            Asked often. Once it says True, what is being computed is given up, and the iterator ends.

        Yields
        ------
        CaseOutcome
            One for each case, fewer where it was stopped. Who closes the iterator wants no more cases.
        """
        ...


class InProcess:
    """Segments one case after another in this process.

    Parameters
    ----------
    segment_case
        Segments one case.
    """

    def __init__(self, segment_case: CaseFunction) -> None:
        self._segment_case = segment_case

    def outcomes(
        self,
        job: BatchJob,
        cases: Sequence[BatchCase],
        on_progress: Callable[[str, float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[CaseOutcome]:
        """See `Executor.outcomes`."""
        for case in cases:

            def report(done: float, name: str = case.name) -> None:
                if should_stop():
                    raise Cancelled
                on_progress(name, done)

            if should_stop():
                return
            try:
                outcome = self._segment_case(job, case, report)
            except Cancelled:
                return
            yield outcome
