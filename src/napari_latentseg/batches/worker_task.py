"""What runs in a worker: one case at a time, given up when nobody waits for it any more.

Schedulers and workers write what they are given into their logs when something fails. So a task shows
nothing of itself, and raises nothing: it returns what became of the case.
"""

from __future__ import annotations

import pickle
import signal
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_latentseg.batches.case import BatchCase, BatchJob, CaseOutcome
    from napari_latentseg.batches.executors import CaseFunction

__all__ = ["CaseTask", "Sealed", "TaskResult", "dask_setup", "run_sealed"]

_PROGRESS_EVERY_S = 0.5
_LOOK_AGAIN_S = 0.5
# a folder that was just made can take some seconds to appear on another machine of a network file system
_FOLDER_APPEARS_WITHIN_S = 10.0

# A worker may have several threads, for tasks of others; a model computes in one of them.
_one_case = threading.Lock()


class Sealed:
    """Content that crosses a scheduler without being looked into.

    Parameters
    ----------
    content
        Pickled.
    """

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple[type[Sealed], tuple[bytes]]:
        return Sealed, (self.content,)

    def __repr__(self) -> str:
        return "Sealed"


@dataclass(frozen=True)
class CaseTask:
    """One attempt at one case.

    Attributes
    ----------
    segment_case
        Segments it.
    job, case
        What to do.
    key
        The name of the task at the scheduler, which says nothing about the case.
    topic
        Where progress is reported.
    version
        Of this package, where the batch was started.
    threads
        With how many threads to compute; None for as many as the worker was given.
    is_retry
        Whether an earlier attempt may have finished the case, and was lost before it could say so.
    """

    segment_case: CaseFunction
    job: BatchJob
    case: BatchCase
    key: str
    topic: str
    version: str
    threads: int | None = None
    is_retry: bool = False

    def sealed(self) -> Sealed:
        """The task as a scheduler may have it."""
        return Sealed(pickle.dumps(self))


@dataclass(frozen=True)
class TaskResult:
    """What became of an attempt.

    Attributes
    ----------
    outcome
        None where it was given up, or refused.
    refusal
        Why this worker can do no case of this batch.
    """

    outcome: CaseOutcome | None = None
    refusal: str = ""


def dask_setup(worker: Any) -> None:
    """Prepare a worker of our own: Ctrl+C reaches it too, but the process that started it decides."""
    from napari_latentseg.batches.clusters import silence_logs

    silence_logs()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_sealed(sealed: Sealed) -> Sealed:
    """Do the task inside; gives a `TaskResult`."""
    from distributed import get_worker

    task: CaseTask = pickle.loads(sealed.content)
    watch = _Watch(get_worker(), task)
    while not _one_case.acquire(timeout=_LOOK_AGAIN_S):
        if not watch.is_wanted():
            return _seal(TaskResult())
    try:
        return _seal(_run(task, watch))
    finally:
        _one_case.release()
        watch.report(None)


def _seal(result: TaskResult) -> Sealed:
    return Sealed(pickle.dumps(result))


def _run(task: CaseTask, watch: _Watch) -> TaskResult:
    from napari_latentseg import __version__
    from napari_latentseg.errors import Cancelled
    from napari_latentseg.utils.threads import limit_threads

    if __version__ != task.version:
        return TaskResult(refusal=f"have napari-latentseg {__version__}, not {task.version}")
    deadline = time.monotonic() + _FOLDER_APPEARS_WITHIN_S
    while not task.job.work.is_dir():
        if not watch.is_wanted():
            return TaskResult()
        if time.monotonic() > deadline:
            return TaskResult(refusal="do not see the folder of the results")
        time.sleep(_LOOK_AGAIN_S)
    limit_threads(task.threads or watch.threads)
    job = replace(task.job, resume=True) if task.is_retry else task.job
    try:
        outcome = task.segment_case(job, task.case, watch.progress)
    except Cancelled:
        return TaskResult()
    if task.is_retry and outcome.state == "skipped":
        outcome = outcome.replace(state="done")
    return TaskResult(outcome)


class _Watch:
    """Reports progress, and knows whether the case is still wanted.

    Parameters
    ----------
    worker
        Of dask.
    task
        The task that it runs.
    """

    def __init__(self, worker: Any, task: CaseTask) -> None:
        self._worker, self._task = worker, task
        self._reported_at = time.monotonic()

    @property
    def threads(self) -> int:
        """How many threads the worker was given."""
        count: int = self._worker.state.nthreads
        return count

    def is_wanted(self) -> bool:
        """Whether anybody waits for the case: not once the batch or the scheduler has ended or was killed.

        dask interrupts no task that runs, so the task must look itself.
        """
        state = self._worker.state.tasks.get(self._task.key)
        is_ending = self._worker.status.name in ("closing", "closed", "failed", "stopping", "stopped")
        return not is_ending and state is not None and state.state != "cancelled"

    def progress(self, done: float) -> None:
        """Report the fraction that is done.

        Raises
        ------
        Cancelled
            If the case is not wanted any more.
        """
        from napari_latentseg.errors import Cancelled

        if not self.is_wanted():
            raise Cancelled
        if time.monotonic() - self._reported_at >= _PROGRESS_EVERY_S:
            self._reported_at = time.monotonic()
            self.report(float(done))

    def report(self, done: float | None) -> None:
        """Tell the batch the fraction that is done, or by None that this worker is free."""
        self._worker.log_event(self._task.topic, [self._task.key, done])
