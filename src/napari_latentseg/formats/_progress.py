"""How far reading has come, told to whoever waits for it; they may stop it by raising there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["tell", "told_to"]

_LISTENER: ContextVar[Callable[[int, int], None] | None] = ContextVar("reading", default=None)


@contextmanager
def told_to(listener: Callable[[int, int], None]) -> Iterator[None]:
    """What is read in this block, and in this thread, tells a listener how far it is.

    Parameters
    ----------
    listener
        Called often, with how many parts are done and how many there are. What it raises ends the reading;
        `Cancelled` is for that.
    """
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def tell(done: int, total: int) -> None:
    """Say how far it is; not within `reading`, which would take a `Cancelled` for a broken file."""
    listener = _LISTENER.get()
    if listener is not None:
        listener(done, total)
