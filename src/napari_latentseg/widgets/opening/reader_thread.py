"""Reading beside the window: in a plain thread, which is asked now and then how far it is.

A worker of Qt tells its window by signals, and takes the program down when the window is gone by then; this
one is looked at by a timer that goes with the window.
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

__all__ = ["BackgroundTask"]

_POLL_MS = 10
_YIELD_S = 0.001  # s: Python lets one thread run at a time, and the window goes first
_YIELD_EVERY_FILES = 10  # parts
_COLLECT_EVERY_FILES = 100  # parts
_lock = threading.Lock()
_active_readers = 0
_gc_was_enabled = True  # whether Python collected by itself before anything was read


class BackgroundTask(QObject):
    """One job of a thread, and what becomes of it in the GUI thread.

    Parameters
    ----------
    window
        When it goes, the thread is told to stop, and nothing more is called.
    function
        Done in the thread. It is given this errand, to call `report_progress`.
    on_done, on_error
        One of them is called in the GUI thread, unless it was stopped.
    on_progress
        Called in the GUI thread with the parts that are done, and their number, when these have changed.
    """

    def __init__(
        self,
        window: QObject,
        function: Callable[[BackgroundTask], Any],
        on_done: Callable[[Any], None],
        on_error: Callable[[BaseException], None],
        on_progress: Callable[[int, int], None] = lambda at, total: None,
    ) -> None:
        super().__init__(window)
        self._function, self._on_done, self._on_error, self._on_progress = (
            function,
            on_done,
            on_error,
            on_progress,
        )
        self._stop = stop = threading.Event()
        self._progress, self._reported_progress = (0, 0), (0, 0)
        self._results: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._poll)
        # a bound method, of which PyQt keeps a weak reference: a closure may have been cleared by the garbage
        # collector when the window goes, and to call it then ends the program
        self.destroyed.connect(stop.set)
        # not a daemon: Python waits for it at its end, and it has been told to stop by then
        self._thread = threading.Thread(target=self._run, name="latentseg-reading")

    def start(self) -> None:
        """Begin."""
        self._timer.start(_POLL_MS)
        self._thread.start()

    def stop(self) -> None:
        """Forget it: nothing more is called, and the thread ends at its next step."""
        self._stop.set()
        self._timer.stop()
        self.deleteLater()

    def report_progress(self, done: int, total: int) -> None:
        """Say how far it is; from the thread.

        Raises
        ------
        Cancelled
            Where it was stopped.
        """
        if self._stop.is_set():
            raise Cancelled
        self._progress = (done, total)
        if done % _YIELD_EVERY_FILES == 0:
            time.sleep(_YIELD_S)
        if done % _COLLECT_EVERY_FILES == 0:
            gc.collect(1)

    def _run(self) -> None:
        results, function = self._results, self._function
        try:
            with _no_full_collection():
                outcome = (True, function(self))
        except Exception as error:  # whatever it is, the person is told
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
    """Keep Python from looking through all objects of the program while it reads, which stops every thread.

    The headers of many files make and leave many small objects, so it would, and in napari that takes a third
    of a second. What is young is still collected, by `Errand.report_progress`.
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
                if not gc.get_freeze_count():  # count anew what was made meanwhile, or it would look at once
                    gc.freeze()
                    gc.unfreeze()
                gc.enable()
