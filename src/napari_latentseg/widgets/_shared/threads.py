"""Short jobs off the GUI thread; for runs see `runner`."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from napari.qt.threading import create_worker
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QThreadPool
from superqt.utils import FunctionWorker

from napari_latentseg.errors import system_failure
from napari_latentseg.widgets._shared.plain_text import show_error

__all__ = ["ThreadWorker", "run_in_thread", "show_exception"]

_EXIT_WAIT_MS = 10_000  # a run that was told to stop ends after its batch; a file may be read for longer


@atexit.register
def _wait_for_workers() -> None:
    """At the end of a program: a worker that outlives Qt's objects would abort it."""
    pool = QThreadPool.globalInstance()
    if pool is not None:
        pool.waitForDone(_EXIT_WAIT_MS)


_T = TypeVar("_T")

ThreadWorker: TypeAlias = FunctionWorker[Any]
"""A function that runs in a thread, with signals such as `returned` and `finished`."""


def show_exception(error: BaseException) -> None:
    """Show an error as a notification."""
    if isinstance(error, OSError):
        error = system_failure(error) or error
    show_error(str(error) or type(error).__name__)


def run_in_thread(
    function: Callable[[], _T],
    on_done: Callable[[_T], Any] = lambda value: None,
    on_error: Callable[[BaseException], None] = show_exception,
    owner: QObject | None = None,
) -> ThreadWorker:
    """Call a function in a worker thread, then `on_done` or `on_error` in the GUI thread.

    Parameters
    ----------
    function
        Its exception is caught in the worker, because Qt would end the program.
    on_done
        Called with what the function returned.
    on_error
        Called with the exception; shows it where not given.
    owner
        No callback is called after this was deleted: a widget may be closed before the worker has finished.

    Returns
    -------
    ThreadWorker
        Started.
    """
    # napari lists each worker as long as its window is open, so a finished worker must not hold the
    # callbacks, and with them a widget or a result
    work = [function]
    callbacks = [(on_done, on_error)]

    def guarded() -> tuple[_T | None, BaseException | None]:
        try:
            return work.pop()(), None
        except BaseException as error:  # shown to the user; a panic of Rust is no Exception
            return None, error

    owner_ref = weakref.ref(owner) if owner is not None else None

    def deliver(outcome: tuple[Any, BaseException | None]) -> None:
        show_value, show_error = callbacks.pop()
        if owner_ref is not None:
            living_owner = owner_ref()
            if living_owner is None or not isalive(living_owner):
                return
        value, error = outcome
        if error is None:
            show_value(value)
        else:
            show_error(error)

    worker: ThreadWorker = create_worker(guarded)
    worker.returned.connect(deliver)
    worker.start()
    return worker
