"""How far reading has come, told to whoever waits for it; they may stop it by raising there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["report_progress", "report_progress_to"]

_PROGRESS_LISTENER: ContextVar[Callable[[int, int], None] | None] = ContextVar("reading", default=None)


@contextmanager
def report_progress_to(listener: Callable[[int, int], None]) -> Iterator[None]:
    """What is read in this block, and in this thread, tells a listener how far it is.

    Parameters
    ----------
    listener
        Called often, with how many parts are done and how many there are. What it raises ends the reading;
        `Cancelled` is for that.
    """
    token = _PROGRESS_LISTENER.set(listener)
    try:
        yield
    finally:
        _PROGRESS_LISTENER.reset(token)


def report_progress(parts_done: int, total: int) -> None:
    """Say how far it is; not within `reading`, which would take a `Cancelled` for a broken file."""
    listener = _PROGRESS_LISTENER.get()
    if listener is not None:
        listener(parts_done, total)
