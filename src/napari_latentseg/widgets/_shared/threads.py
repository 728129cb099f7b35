"""Small jobs off the GUI thread; the long one has a file of its own, `runner`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from qtpy.compat import isalive
from qtpy.QtCore import QObject

__all__ = ["run_in_thread", "show_exception"]

_T = TypeVar("_T")


def show_exception(error: BaseException) -> None:
    """Show what went wrong as a notification."""
    show_error(str(error) or type(error).__name__)


def run_in_thread(
    function: Callable[[], _T],
    on_done: Callable[[_T], Any] = lambda value: None,
    on_error: Callable[[BaseException], None] = show_exception,
    owner: QObject | None = None,
) -> Any:
    """Call a function in a worker thread, then `on_done` or `on_error` in the GUI thread.

    Where there is an `owner`, nothing is told once it is gone: a widget may be closed in the meantime.

    The exception is caught in the worker: left to Qt, it would end a program that has no handler of its own.
    """

    def guarded() -> tuple[bool, Any]:
        try:
            return True, function()
        except Exception as error:  # whatever it is, the person is told
            return False, error

    def deliver(outcome: tuple[bool, Any]) -> None:
        if owner is not None and not isalive(owner):
            return
        succeeded, value = outcome
        (on_done if succeeded else on_error)(value)

    worker = create_worker(guarded)
    worker.returned.connect(deliver)
    worker.start()
    return worker
