"""Segment the cases of a batch in workers of dask.distributed; one that dies costs its case a retry."""

from __future__ import annotations

import pickle
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any

from napari_latentseg.batches.case import BatchCase, BatchJob, CaseOutcome
from napari_latentseg.batches.clusters import check_address, check_distributed, connected, local_workers
from napari_latentseg.batches.executors import CaseFunction
from napari_latentseg.batches.worker_task import CaseTask, TaskResult, run_sealed
from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import is_archive_address

__all__ = ["Workers"]

_MAX_DEATHS = 3
_LOOK_S = 0.2
_COUNT_WORKERS_EVERY_S = 0.5
_NO_WORKER_S = 300.0  # workers of a cluster may wait in a queue
_RESULT_S = 30.0  # a few kilobytes; it is lost where its worker died just after it
_GIVE_UP_S = 3.0  # until a case that is given up has noticed; it looks after each batch of tiles


class Workers:
    """Segments cases in other processes, one at a time in each.

    Parameters
    ----------
    segment_case
        Segments one case.
    version
        Of this package.
    count, threads
        How many workers to start on this machine, and with how many threads each computes.
    prepare
        Called before they start.
    scheduler
        The address of a scheduler, whose workers then do the cases; each computes with its own threads.

    Raises
    ------
    BadInput
        If dask.distributed is not installed, or there can be no such address.
    """

    def __init__(
        self,
        segment_case: CaseFunction,
        version: str,
        *,
        count: int = 1,
        threads: int = 1,
        prepare: Callable[[], None] = lambda: None,
        scheduler: str | None = None,
    ) -> None:
        check_distributed("workers" if scheduler is None else "scheduler")
        if scheduler is not None:
            check_address(scheduler)
        self._segment_case, self._version = segment_case, version
        self._count, self._threads, self._prepare = count, threads, prepare
        self._scheduler = scheduler

    def outcomes(
        self,
        job: BatchJob,
        cases: Sequence[BatchCase],
        on_progress: Callable[[str, float], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[CaseOutcome]:
        """See `Executor.outcomes`.

        Raises
        ------
        BadInput
            If no worker can be reached, or none of them can do a case.
        """
        if not cases or should_stop():
            return
        with self._client(len(cases)) as client:
            dispatch = _Dispatch(client, self._scheduler, on_progress, should_stop)

            def make_task(attempt: _Attempt, key: str, topic: str) -> CaseTask:
                # workers of a scheduler run in folders of their own
                path = attempt.case.path
                case = replace(attempt.case, path=path if is_archive_address(path) else path.absolute())
                return CaseTask(
                    self._segment_case, job, case, key, topic, self._version,
                    self._threads if self._scheduler is None else None, attempt.deaths > 0,
                )  # fmt: skip

            yield from dispatch.outcomes(cases, make_task)

    def _client(self, cases: int) -> AbstractContextManager[Any]:
        if self._scheduler is not None:
            return connected(self._scheduler)
        self._prepare()
        return local_workers(min(self._count, cases), self._threads, CaseTask.__module__)


@dataclass
class _Attempt:
    """A case and how many workers have died of it."""

    case: BatchCase
    deaths: int = 0


@dataclass
class _Running:
    attempt: _Attempt
    worker: str
    future: Any
    started_at: float


@dataclass(frozen=True)
class _News:
    """What dask says of a task: the fraction done, that its worker is free, or that its result is there."""

    key: str
    done: float | None = None
    is_free: bool = False


class _Dispatch:
    """Gives each worker one case at a time.

    Not dask's own queue and retries: it counts a death against every task that the worker held, not only the
    one that ran, and how many deaths it allows is set where the scheduler is started.

    Parameters
    ----------
    client
        Of dask.
    scheduler
        Its address, or None for workers of our own.
    on_progress, should_stop
        As of `Executor.outcomes`.
    """

    def __init__(
        self,
        client: Any,
        scheduler: str | None,
        on_progress: Callable[[str, float], None],
        should_stop: Callable[[], bool],
    ) -> None:
        self._client, self._scheduler = client, scheduler
        self._on_progress, self._should_stop = on_progress, should_stop
        self._batch = f"latentseg-{uuid.uuid4().hex}"
        self._running: dict[str, _Running] = {}
        self._waiting: deque[_Attempt] = deque()
        self._news: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._workers: set[str] = set()
        self._counted_at = float("-inf")
        self._has_workers_at = time.monotonic()
        self._refused: dict[str, str] = {}
        self._submitted = 0

    def outcomes(
        self, cases: Sequence[BatchCase], make_task: Callable[[_Attempt, str, str], CaseTask]
    ) -> Iterator[CaseOutcome]:
        """Give the outcome of each case as it ends.

        Raises
        ------
        BadInput
            If there are no workers, none that can do a case, or the scheduler ends.
        """
        self._waiting.extend(_Attempt(case) for case in cases)
        self._client.subscribe_topic(self._batch, self._note_report)
        try:
            while self._waiting or self._running:
                if self._should_stop():
                    return
                self._count_workers()
                yield from self._lost_cases()
                self._start_cases(make_task)
                yield from self._ended_cases()
        finally:
            self._give_up()

    def _note_report(self, event: tuple[float, tuple[str, float | None]]) -> None:
        key, done = event[1]
        self._news.put(_News(key, done, is_free=done is None))

    def _count_workers(self) -> None:
        """Look which workers there are.

        Raises
        ------
        BadInput
            If the scheduler has ended, or there was no worker for long.
        """
        now = time.monotonic()
        if now - self._counted_at < _COUNT_WORKERS_EVERY_S:
            return
        if self._client.status != "running":
            raise self._scheduler_ended()
        try:
            self._workers = set(self._client.nthreads())
        except Exception as error:  # of whatever kind: the connection broke just now
            raise self._scheduler_ended() from error
        self._counted_at = time.monotonic()
        self._refused = {worker: why for worker, why in self._refused.items() if worker in self._workers}
        if self._workers:
            self._has_workers_at = now
            if not self._workers - self._refused.keys():
                raise BadInput("workers", self._refused.popitem()[1], "see docs/command-line.md, Many scans")
        elif now - self._has_workers_at > _NO_WORKER_S:
            name = "workers" if self._scheduler is None else f"scheduler {self._scheduler}"
            why = f"had no worker for {_NO_WORKER_S / 60:.0f} minutes"
            raise BadInput(name, why, "start some with `dask worker`, then continue with --resume")

    def _scheduler_ended(self) -> BadInput:
        name = "scheduler" if self._scheduler is None else f"scheduler {self._scheduler}"
        why = "has ended, or cannot be reached any more"
        return BadInput(name, why, "start it, then continue with --resume")

    def _start_cases(self, make_task: Callable[[_Attempt, str, str], CaseTask]) -> None:
        """Give each worker that has nothing to do a case."""
        busy = {running.worker for running in self._running.values()}
        for worker in sorted(self._workers - busy - self._refused.keys()):
            if not self._waiting:
                return
            attempt = self._waiting.popleft()
            self._submitted += 1
            key = f"{self._batch}-{self._submitted}"
            future = self._client.submit(
                run_sealed, make_task(attempt, key, self._batch).sealed(), key=key, workers=[worker],
                allow_other_workers=False, pure=False, retries=0,
            )  # fmt: skip
            self._running[key] = _Running(attempt, worker, future, time.monotonic())
            future.add_done_callback(lambda future: self._news.put(_News(future.key)))

    def _lost_cases(self) -> Iterator[CaseOutcome]:
        """Try the cases of workers that died again; gives those that were tried too often."""
        for key, running in list(self._running.items()):
            if running.worker not in self._workers and running.future.status != "finished":
                yield from self._count_death(key)

    def _count_death(self, key: str) -> Iterator[CaseOutcome]:
        running = self._running.pop(key)
        running.future.cancel()
        running.attempt.deaths += 1
        if running.attempt.deaths < _MAX_DEATHS:
            self._waiting.append(running.attempt)  # others first: it may kill the next one too
        else:
            why = f"its worker died {_MAX_DEATHS} times, as when memory runs out"
            yield _failed(running, why, "try it with fewer workers, or alone with `segment`")

    def _ended_cases(self) -> Iterator[CaseOutcome]:
        """Wait a moment for news, and give the cases that have ended."""
        try:
            news = [self._news.get(timeout=_LOOK_S)]
        except queue.Empty:
            return
        with suppress(queue.Empty):
            while True:
                news.append(self._news.get_nowait())
        for item in news:
            if item.key not in self._running or item.is_free:  # or of a task that was lost
                continue
            if item.done is not None:
                self._on_progress(self._running[item.key].attempt.case.name, item.done)
            else:
                yield from self._end(item.key)

    def _end(self, key: str) -> Iterator[CaseOutcome]:
        """Give the outcome of a task that is no longer computed, if it is one."""
        running = self._running[key]
        try:
            result: TaskResult = pickle.loads(running.future.result(timeout=_RESULT_S).content)
        except Exception as error:
            yield from self._task_error(key, error)
            return
        del self._running[key]
        if result.outcome is not None:
            yield result.outcome
            return
        self._waiting.appendleft(running.attempt)
        if result.refusal:  # else the worker is ending
            self._refused[running.worker] = result.refusal

    def _task_error(self, key: str, error: Exception) -> Iterator[CaseOutcome]:
        """Say what an error of dask means for a case: tasks of ours raise none."""
        import distributed

        if self._client.status != "running":
            raise self._scheduler_ended() from error
        running = self._running[key]
        if isinstance(error, distributed.KilledWorker | TimeoutError | OSError | CancelledError):
            yield from self._count_death(key)  # perhaps after its last step, before it could say so
        elif isinstance(error, ImportError):
            del self._running[key]
            self._waiting.appendleft(running.attempt)
            self._refused[running.worker] = "have no napari-latentseg"
        else:
            del self._running[key]
            yield _failed(running, f"failed in a worker ({type(error).__name__})")

    def _give_up(self) -> None:
        """Let running tasks end before they write: until then nobody else may write into the folder."""
        with suppress(Exception):  # of whatever kind: the scheduler ends at this moment
            if self._client.status == "running" and self._running:
                self._client.cancel([running.future for running in self._running.values()])
                self._wait_until_free()
            self._client.unsubscribe_topic(self._batch)

    def _wait_until_free(self) -> None:
        deadline = time.monotonic() + _GIVE_UP_S
        computing = {key for key, running in self._running.items() if running.worker in self._workers}
        while computing and time.monotonic() < deadline:
            with suppress(queue.Empty):
                news = self._news.get(timeout=_LOOK_S)
                if news.is_free:
                    computing.discard(news.key)


def _failed(running: _Running, why: str, remedy: str = "") -> CaseOutcome:
    case = running.attempt.case
    reason = str(BadInput(case.name, why, remedy))  # the path may be that of a patient who is to be hidden
    seconds = time.monotonic() - running.started_at
    return CaseOutcome(case=case.name, state="failed", reason=reason, seconds=seconds)
