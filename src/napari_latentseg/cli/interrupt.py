"""Stop a long command in good order: by Ctrl+C, by a signal, or by a line on the standard input."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Terminated", "exit_on_termination", "stop_on_interrupt", "stop_on_stdin_line"]


_ONE_REQUEST_S = 1.0  # a scheduler signals the whole group, and a launcher each of its processes once more


class Terminated(SystemExit):
    """SIGTERM or SIGHUP arrived; `code` is what a shell reports for it."""


@contextmanager
def exit_on_termination() -> Iterator[None]:
    """Raise `Terminated` at SIGTERM and SIGHUP, so that temporary files are removed; a second ends at once.

    Signals that were ignored before, as with nohup, still are. Outside the main thread, to which Python sends
    all signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated(128 + number)

    names = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    previous = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) == signal.SIG_DFL}
    for number in previous:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl+C or SIGTERM sets; a second one of either ends the command at once.

    Must be entered in the main thread, as Python allows no other to handle signals. The handlers of before
    are restored at the end.
    """
    stop_requested = threading.Event()
    first_request = 0.0

    def request_stop(*_: Any) -> None:
        nonlocal first_request
        first_request = time.monotonic()
        stop_requested.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, end)

    def end(number: int, _: Any) -> None:
        if time.monotonic() - first_request >= _ONE_REQUEST_S:
            signal.signal(number, signal.SIG_DFL)
            raise Terminated(128 + number)

    previous_handlers = {s: signal.signal(s, request_stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop_requested
    finally:
        for number, handler in previous_handlers.items():
            signal.signal(number, handler)


def stop_on_stdin_line(stop_requested: threading.Event) -> None:
    """Set an event when a line ``stop`` arrives on the standard input; wait for it in a thread.

    Windows has no SIGTERM that a program could handle, so the widgets stop their child process this way. The
    end of the input is not a request to stop.
    """

    def wait_for_line() -> None:
        try:
            for line in sys.stdin:
                if line.strip() == "stop":
                    stop_requested.set()
                    return
        except (OSError, ValueError):  # the input was closed
            return

    threading.Thread(target=wait_for_line, daemon=True).start()
