"""The JSON lines of `evaluate --events`, for a program that runs it as a child process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from napari_latentseg.cli.console import json_text
from napari_latentseg.cli.interrupt import stop_on_stdin_line
from napari_latentseg.core.event_record import EventRecord
from napari_latentseg.errors import Cancelled

__all__ = ["event_progress", "print_note_event"]

_LEAST_STEP = 0.001  # of the progress bar of a window


def event_progress() -> Callable[[float], None]:
    """A function that prints the progress, and raises `Cancelled` after a line ``stop`` on the input."""
    from napari_latentseg.evaluation.events import EvaluationProgress

    stop_requested = threading.Event()
    stop_on_stdin_line(stop_requested)
    last = -1.0

    def show(done: float) -> None:
        nonlocal last
        if stop_requested.is_set():
            raise Cancelled
        if done - last >= _LEAST_STEP or done == 1:
            last = done
            _print_event(EvaluationProgress(done=done))

    return show


def print_note_event(text: str) -> None:
    """Print what was passed over in the folder."""
    from napari_latentseg.evaluation.events import EvaluationNote

    _print_event(EvaluationNote(text=text))


def _print_event(event: EventRecord) -> None:
    sys.stdout.write(json_text(event.as_dict()) + "\n")
    sys.stdout.flush()
