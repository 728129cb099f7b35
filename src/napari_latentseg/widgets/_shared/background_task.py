"""Reading in a plain thread, whose progress a timer polls.

A Qt worker signals its window, and crashes the program when the window no longer exists; this thread is
polled by a timer that is deleted with the window.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from qtpy.QtCore import QObject, QTimer

from napari_latentseg.errors import Cancelled
from napari_latentseg.utils.waited_thread import waited_thread

__all__ = ["BackgroundTask"]

_POLL_MS = 10  # less than one frame of a 60 Hz screen
_YIELD_S = 0.001  # releases the interpreter lock, so that the window can draw
_YIELD_EVERY = 10  # steps (files or slices), so that sleeping costs 0.1 ms a step
_COLLECT_EVERY = 100  # steps, see `_no_full_collection`
_lock = threading.Lock()
_active_readers = 0
_gc_was_enabled = True  # whether garbage collection was on before reading started


class BackgroundTask(QObject):
    """A job in a thread, with callbacks in the GUI thread.

    Parameters
    ----------
    window
        When it is closed, the thread stops, and nothing is called.
    function
        Called in the thread with this task, whose `report_progress` it calls after each step.
    on_done, on_error
        One of them is called with the result or the exception, unless the task was stopped.
    on_progress
        Called with the number of steps (files or slices) that are done and their total, when these have
        changed.
    """

    def __init__(
        self,
        window: QObject,
        function: Callable[[BackgroundTask], Any],
        on_done: Callable[[Any], None],
        on_error: Callable[[BaseException], None],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        super().__init__(window)
        self._function = function
        self._on_done, self._on_error, self._on_progress = on_done, on_error, on_progress
        self._stop = threading.Event()
        self._progress, self._reported_progress = (0, 0), (0, 0)
        self._results: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        # not the `destroyed` signal of this object: a method connected to that may be freed before it is
        # called, and crash
        window.destroyed.connect(self._on_window_destroyed)
        self._thread = waited_thread(self._run, "latentseg-reading", self._stop.set)

    def start(self) -> None:
        """Start the thread."""
        self._timer.start(_POLL_MS)
        self._thread.start()

    def stop(self) -> None:
        """Stop: no callback is called any more, and the thread ends at its next step."""
        self._stop.set()
        self._timer.stop()
        self.deleteLater()

    def _on_window_destroyed(self) -> None:
        self._stop.set()

    def report_progress(self, done: int, total: int) -> None:
        """Report progress; called in the thread.

        Raises
        ------
        Cancelled
            After `stop`.
        """
        if self._stop.is_set():
            raise Cancelled
        self._progress = (done, total)
        if done % _YIELD_EVERY == 0:
            time.sleep(_YIELD_S)
        if done % _COLLECT_EVERY == 0:
            gc.collect(1)

    def _run(self) -> None:
        results, function = self._results, self._function
        try:
            with _no_full_collection():
                outcome = (True, function(self))
        except BaseException as error:  # shown to the user; a panic of Rust is no Exception
            outcome = (False, error)
        results.put(outcome)

    def _poll(self) -> None:
        if self._reported_progress != self._progress:
            self._reported_progress = self._progress
            self._on_progress(*self._progress)
        try:
            succeeded, value = self._results.get_nowait()
        except Empty:
            return
        self.stop()
        (self._on_done if succeeded else self._on_error)(value)


@contextmanager
def _no_full_collection() -> Iterator[None]:
    """Prevent full garbage collections while reading, which stop all threads.

    Headers of many files create many small objects, which trigger full collections, and each takes 0.3 s in
    napari. Young generations are still collected, by `BackgroundTask.report_progress`.
    """
    global _active_readers, _gc_was_enabled
    with _lock:
        if not _active_readers:
            _gc_was_enabled = gc.isenabled()
        _active_readers += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _active_readers -= 1
            if not _active_readers and _gc_was_enabled:
                # Freezing resets the allocation counters, or a full collection would follow at once. Left out
                # if other code has frozen objects, which `unfreeze` would release.
                if not gc.get_freeze_count():
                    gc.freeze()
                    gc.unfreeze()
                gc.enable()
