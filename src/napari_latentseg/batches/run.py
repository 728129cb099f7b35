"""The loop of a batch: cases to an executor, outcomes to the table and to whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass

from napari_latentseg.batches.batch_folder import BatchFolder
from napari_latentseg.batches.bids_cases import bids_root
from napari_latentseg.batches.bids_layout import describe_data_set
from napari_latentseg.batches.case import BatchCase, BatchJob, CaseOutcome, State
from napari_latentseg.batches.events import BatchEnd, BatchEvent, BatchStart, CaseEnd, CaseProgress
from napari_latentseg.batches.executors import Executor
from napari_latentseg.batches.table import BatchTable
from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import ModelCard

__all__ = ["BatchRun", "run_batch"]


@dataclass(frozen=True)
class BatchRun:
    """What became of the cases of a batch.

    Attributes
    ----------
    outcomes
        In the order in which they ended.
    is_stopped
        Whether it was stopped before the last case.
    """

    outcomes: tuple[CaseOutcome, ...]
    is_stopped: bool = False

    def count(self, state: State) -> int:
        """How many cases ended in a state."""
        return sum(outcome.state == state for outcome in self.outcomes)


def run_batch(
    folder: BatchFolder,
    job: BatchJob,
    cases: Sequence[BatchCase],
    executor: Executor,
    card: ModelCard,
    *,
    fail_fast: bool = False,
    on_event: Callable[[BatchEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> BatchRun:
    """Segment the cases of a batch or of a part of it.

    Parameters
    ----------
    folder
        Of the batch; it is locked while this runs.
    job, cases
        What to do.
    executor
        Who does it.
    card
        Of the model: its classes are columns of the table.
    fail_fast
        Whether the first failure ends the batch.
    on_event
        Called in this thread.
    should_stop
        Asked often; once it says True, the batch ends without the case at hand.

    Returns
    -------
    BatchRun
        What became of the cases.

    Raises
    ------
    BadInput
        If the folder is in use or cannot be written, its disk is full, or the model cannot be loaded.
    """
    with folder.in_use():
        folder.keep_layout(job.layout)
        if job.layout == "bids":
            raw = next((bids_root(case.path) for case in cases if case.folder), None)
            describe_data_set(folder.out, card.name, card.version, raw)
        class_names = job.settings.classes or tuple(info.name for info in card.classes)
        table = BatchTable(folder, cases, class_names, has_paths=not job.outputs.get("deidentify"))
        table.close()  # one that cannot be written is refused before anything is computed
        on_event(BatchStart(cases=len(cases)))
        running = _outcomes(executor, job, cases, on_event, should_stop)
        with closing(table), closing(running):
            outcomes: list[CaseOutcome] = []
            for outcome in running:
                outcomes.append(outcome)
                table.add(outcome)
                on_event(_case_event(folder, outcome))
                if fail_fast and outcome.state == "failed":
                    break
    run = BatchRun(tuple(outcomes), should_stop() and len(outcomes) < len(cases))
    done, failed, skipped = (run.count(state) for state in ("done", "failed", "skipped"))
    on_event(BatchEnd(done=done, failed=failed, skipped=skipped, stopped=run.is_stopped))
    return run


def _outcomes(
    executor: Executor,
    job: BatchJob,
    cases: Sequence[BatchCase],
    on_event: Callable[[BatchEvent], None],
    should_stop: Callable[[], bool],
) -> Generator[CaseOutcome]:
    """What the executor gives; raises `BadInput` at an outcome that stops the batch."""

    def report(case: str, done: float) -> None:
        on_event(CaseProgress(case=case, done=min(1.0, max(0.0, done))))

    running = executor.outcomes(job, cases, report, should_stop)
    with closing(running):  # type: ignore[type-var]
        for outcome in running:
            if outcome.stops_batch:
                what, _, why = outcome.reason.partition(": ")
                raise BadInput(what, why, "then continue with --resume")
            yield outcome


def _case_event(folder: BatchFolder, outcome: CaseOutcome) -> CaseEnd:
    return CaseEnd(
        case=outcome.case,
        state=outcome.state,
        reason=outcome.reason,
        seconds=round(outcome.seconds, 3),
        result=str(folder.out / outcome.result) if outcome.result else "",
    )
