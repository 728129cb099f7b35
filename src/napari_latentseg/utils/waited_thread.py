"""Threads that a program which ends tells to stop, and waits for, but not for long."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable

__all__ = ["waited_thread"]

_EXIT_WAIT_S = 10.0  # a library may stay in a damaged file for minutes, and napari must be able to end
_threads: weakref.WeakKeyDictionary[threading.Thread, Callable[[], object]] = weakref.WeakKeyDictionary()


def waited_thread(
    target: Callable[[], object], name: str, stop: Callable[[], object] = lambda: None
) -> threading.Thread:
    """A thread that is told to stop where the program ends, and is waited for then, but not for ever.

    Python ends a thread that is still in a library, such as SimpleITK or torch, in the middle of its C++
    code, which aborts the program.

    Parameters
    ----------
    target, name
        As for `threading.Thread`.
    stop
        Called at the end of the program; it must not hold the thread.
    """
    thread = threading.Thread(target=target, name=name, daemon=True)
    _threads[thread] = stop
    return thread


@atexit.register
def _wait_for_threads() -> None:
    until = time.monotonic() + _EXIT_WAIT_S
    running = [(thread, stop) for thread, stop in list(_threads.items()) if thread.is_alive()]
    for _, stop in running:
        stop()
    for thread, _ in running:
        thread.join(max(0.0, until - time.monotonic()))
