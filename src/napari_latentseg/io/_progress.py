"""Progress of reading many files. A listener may raise `Cancelled` to stop the reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["report_progress", "report_progress_to"]

_PROGRESS_LISTENER: ContextVar[Callable[[int, int], None] | None] = ContextVar("reading", default=None)


@contextmanager
def report_progress_to(listener: Callable[[int, int], None]) -> Iterator[None]:
    """Report the progress of all reading in this block, in this thread, to a listener.

    Parameters
    ----------
    listener
        Called often, with the number of files done and their total. What it raises ends the reading; use
        `napari_latentseg.errors.Cancelled`.
    """
    token = _PROGRESS_LISTENER.set(listener)
    try:
        yield
    finally:
        _PROGRESS_LISTENER.reset(token)


def report_progress(parts_done: int, total: int) -> None:
    """Tell the listener. Not inside `read_errors`, which would take its `Cancelled` for a broken file."""
    listener = _PROGRESS_LISTENER.get()
    if listener is not None:
        listener(parts_done, total)
