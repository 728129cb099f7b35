"""Reading, computing and using batches at the same time, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from napari_latentseg.utils.waited_thread import waited_thread

__all__ = ["computed_ahead"]

T = TypeVar("T")
R = TypeVar("R")

_HEARTBEAT_S = 0.1  # how often a caller can stop; half a second without an answer passes for broken
_AHEAD = 2  # items under way while the caller uses one: one is computed, and the next is read


@dataclass(frozen=True)
class _Outcome:
    """What a thread gave: a value, an error, or the end of the items."""

    value: Any = None
    error: BaseException | None = None
    is_end: bool = False


def computed_ahead(
    items: Iterable[T], compute: Callable[[T], R]
) -> Generator[tuple[T, R] | None, None, None]:
    """Each item with what is computed of it, in order, one ahead of the caller.

    While the caller uses the result of an item, the next is computed and the one after it is read, each in a
    thread of its own: arrays and networks release the interpreter's lock.

    Parameters
    ----------
    items
        Iterated over in a thread. An error there is raised when the results of all items before it were
        used.
    compute
        Called in another thread, for one item at a time.

    Yields
    ------
    tuple or None
        An item and its result; None every tenth of a second while there is none yet, so that the caller can
        show progress or stop.

    Notes
    -----
    Closing the generator waits for what is being read and computed, and gives it up.

    Examples
    --------
    >>> list(filter(None, computed_ahead([1, 2, 3], lambda number: number**2)))
    [(1, 1), (2, 4), (3, 9)]
    """
    is_stopped = threading.Event()
    free_slots = threading.Semaphore(_AHEAD)
    was_read: SimpleQueue[_Outcome] = SimpleQueue()
    was_computed: SimpleQueue[_Outcome] = SimpleQueue()

    def read() -> None:
        iterator = iter(items)
        while free_slots.acquire() and not is_stopped.is_set():
            outcome = _attempt(lambda: next(iterator, is_stopped))
            if outcome.value is is_stopped:  # no item can be this object: the items are at their end
                outcome = _Outcome(is_end=True)
            was_read.put(outcome)
            if outcome.is_end or outcome.error is not None:
                return

    def work() -> None:
        while not (outcome := was_read.get()).is_end and not is_stopped.is_set():
            if outcome.error is None:
                item = outcome.value
                outcome = _attempt(lambda: (item, compute(item)))  # noqa: B023
            was_computed.put(outcome)
            if outcome.error is not None:
                return
        was_computed.put(_Outcome(is_end=True))

    def stop() -> None:
        is_stopped.set()
        free_slots.release()
        was_read.put(_Outcome(is_end=True))

    threads = [waited_thread(target, "latentseg-run", stop) for target in (read, work)]
    for thread in threads:
        thread.start()
    try:
        while True:
            try:
                outcome = was_computed.get(timeout=_HEARTBEAT_S)
            except Empty:
                yield None
                continue
            if outcome.error is not None:
                raise outcome.error
            if outcome.is_end:
                return
            free_slots.release()
            yield outcome.value
    finally:
        stop()
        for thread in threads:
            thread.join()


def _attempt(function: Callable[[], Any]) -> _Outcome:
    try:
        return _Outcome(function())
    except BaseException as error:  # raised in the thread of the caller
        return _Outcome(error=error)
