"""Reading, computing and using batches at the same time, in order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["computed_ahead"]

T = TypeVar("T")
R = TypeVar("R")

_HEARTBEAT_S = 0.1  # how often a caller can stop; half a second without an answer passes for broken


def computed_ahead(items: Iterable[T], compute: Callable[[T], R]) -> Iterator[tuple[T, R] | None]:
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
    iterator = iter(items)
    with (
        ThreadPoolExecutor(1, "latentseg-read") as reader,
        ThreadPoolExecutor(1, "latentseg-compute") as computer,
    ):

        def submit_next() -> Future[tuple[T, R] | None]:
            """Read the next item and, in the other thread, compute it; None at the end of the items."""
            reading = reader.submit(lambda: list(islice(iterator, 1)))
            return computer.submit(lambda: next(((item, compute(item)) for item in reading.result()), None))

        # two under way: the second is read while the first is computed, and computed while that is used
        pending = [submit_next(), submit_next()]
        try:
            while (result := (yield from _await(pending[0]))) is not None:
                pending = [*pending[1:], submit_next()]
                yield result
        finally:
            for future in pending:
                future.cancel()
            reader.shutdown(wait=False, cancel_futures=True)


def _await(future: Future[R]) -> Generator[None, None, R]:
    """The result of a future, with a heartbeat while there is none."""
    while True:
        try:
            return future.result(timeout=_HEARTBEAT_S)
        except TimeoutError:
            if future.done():  # the error of the work itself
                raise
            yield None
