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

__all__ = ["Errand"]

_LOOK_MS = 10
_BREATH = 0.001  # s: Python lets one thread run at a time, and the window goes first
_BREATHE_EVERY = 10  # parts
_YOUNG_EVERY = 100  # parts
_lock = threading.Lock()
_reading = 0
_was = True  # whether Python collected by itself before anything was read


class Errand(QObject):
    """One job of a thread, and what becomes of it in the GUI thread.

    Parameters
    ----------
    window
        When it goes, the thread is told to stop, and nothing more is called.
    work
        Done in the thread. It is given this errand, to call `step`.
    done, failed
        One of them is called in the GUI thread, unless it was stopped.
    moved
        Called in the GUI thread with the parts that are done, and their number, when these have changed.
    """

    def __init__(
        self,
        window: QObject,
        work: Callable[[Errand], Any],
        done: Callable[[Any], None],
        failed: Callable[[BaseException], None],
        moved: Callable[[int, int], None] = lambda at, total: None,
    ) -> None:
        super().__init__(window)
        self._work, self._done, self._failed, self._moved = work, done, failed, moved
        self._stop = stop = threading.Event()
        self._at, self._shown = (0, 0), (0, 0)
        self._box: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._look)
        self.destroyed.connect(lambda: stop.set())
        # not a daemon: Python waits for it at its end, and it has been told to stop by then
        self._thread = threading.Thread(target=self._run, name="latentseg-reading")

    def start(self) -> None:
        """Begin."""
        self._timer.start(_LOOK_MS)
        self._thread.start()

    def stop(self) -> None:
        """Forget it: nothing more is called, and the thread ends at its next step."""
        self._stop.set()
        self._timer.stop()
        self.deleteLater()

    def step(self, at: int, total: int) -> None:
        """Say how far it is; from the thread.

        Raises
        ------
        Cancelled
            Where it was stopped.
        """
        if self._stop.is_set():
            raise Cancelled
        self._at = (at, total)
        if at % _BREATHE_EVERY == 0:
            time.sleep(_BREATH)
        if at % _YOUNG_EVERY == 0:
            gc.collect(1)

    def _run(self) -> None:
        box, work = self._box, self._work
        try:
            with _no_full_collection():
                found = (True, work(self))
        except Exception as error:  # whatever it is, the person is told
            found = (False, error)
        box.put(found)

    def _look(self) -> None:
        if self._shown != self._at:
            self._shown = self._at
            self._moved(*self._at)
        try:
            well, value = self._box.get_nowait()
        except Empty:
            return
        self.stop()
        (self._done if well else self._failed)(value)


@contextmanager
def _no_full_collection() -> Iterator[None]:
    """Keep Python from looking through all objects of the program while it reads, which stops every thread.

    The headers of many files make and leave many small objects, so it would, and in napari that takes a third
    of a second. What is young is still collected, by `Errand.step`.
    """
    global _reading, _was
    with _lock:
        if not _reading:
            _was = gc.isenabled()
        _reading += 1
        gc.disable()
    try:
        yield
    finally:
        with _lock:
            _reading -= 1
            if not _reading and _was:
                if not gc.get_freeze_count():  # count anew what was made meanwhile, or it would look at once
                    gc.freeze()
                    gc.unfreeze()
                gc.enable()
