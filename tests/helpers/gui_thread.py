"""Watches what the package does in the GUI thread: no stopwatch, but the calls that can hold a window.

A window is held by reading, computing, waiting or asking the network. Each of these is watched where it is
done, and is told with the lines of ours that led to it. What napari does by itself in that thread, such as
drawing, or slicing an array that it was given, is not ours to blame.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

from dask.callbacks import Callback
from qtpy.QtCore import QProcess, QThread, QThreadPool
from torch.utils._python_dispatch import TorchDispatchMode

PACKAGE = "napari_latentseg"
OTHERS = ("napari.", "vispy.", "tests.", "importlib", "_frozen_importlib")
"""Where one of these is nearer to the call than the package is, the call is theirs. A module that is imported
late is read once in the life of a program."""
STARTING = threading.Thread.start.__code__
"""To start a thread is to wait until it has begun, which is no wait for what it does."""
LARGE = 2**16
"""Bytes of a file that may be read in the GUI thread: a card or settings, but no image and no weights."""


def computing() -> dict[CodeType, str]:
    """Functions of the package that read, compute or hash as much as they are given, by their code."""
    from napari_latentseg.annotations import AnnotationStore
    from napari_latentseg.core.agreement import agreement_counts
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.io import read_scan
    from napari_latentseg.io.registry import read_scan_lazy
    from napari_latentseg.measure import class_sizes, measure
    from napari_latentseg.models.store import load_model, open_codec
    from napari_latentseg.review.ranking import rank, uncertainty_profile
    from napari_latentseg.review.scoring import score_objects, score_slices
    from napari_latentseg.widgets.opening.layer_data import layers_of_scan, survey_path

    store = (AnnotationStore.annotated_case, AnnotationStore.approve, AnnotationStore.save_draft,
             AnnotationStore.revoke, AnnotationStore.resume_draft, AnnotationStore.verify)  # fmt: skip
    kinds: dict[str, tuple[Any, ...]] = {
        "read": (read_scan, read_scan_lazy, survey_path, layers_of_scan, load_model, open_codec, *store),
        "compute": (agreement_counts, class_sizes, measure, rank, uncertainty_profile, score_slices,
                    score_objects, Segmentation.with_threshold, Segmentation.sample_volumes),
        "hash": (Scan.iter_sha256,),
    }  # fmt: skip
    return {_code(function): kind for kind, functions in kinds.items() for function in functions}


def _code(function: Any) -> CodeType:
    function = getattr(function, "__wrapped__", function)
    code: CodeType = function.__code__
    return code


@dataclass
class GuiThreadGuard:
    """Notes each call that can hold the window; see `watch`.

    Attributes
    ----------
    violations
        ``kind: what``, and the lines of the package that led there.
    seen
        How many calls of the package were looked at: none would mean that nothing was watched.
    """

    violations: list[str] = field(default_factory=list)
    seen: int = 0

    def note(self, kind: str, what: str, frame: FrameType | None) -> None:
        """Blame the package where it is nearer to this frame than anybody else."""
        if threading.current_thread() is not threading.main_thread():
            return
        at = frame
        while at is not None:
            module = str(at.f_globals.get("__name__", ""))
            if at.f_code is STARTING:
                return
            if at.f_globals is globals():  # this file
                at = at.f_back
                continue
            if module.startswith(PACKAGE):
                break
            if module.startswith(OTHERS):
                return
            at = at.f_back
        if at is None:
            return
        lines = [
            f"{line.filename.rpartition('/')[2]}:{line.lineno} {line.name}"
            # without their text, which would be read from files, and noted in turn
            for line in reversed(traceback.StackSummary.extract(traceback.walk_stack(at), lookup_lines=False))
            if PACKAGE in line.filename
        ]
        self.violations.append(f"{kind}: {what}, at {' > '.join(lines[-4:])}")

    @contextmanager
    def watch(self) -> Iterator[GuiThreadGuard]:
        """Watch the GUI thread, which is the one that this is called in."""
        with ExitStack() as stack:
            stack.enter_context(_audited(self))
            stack.enter_context(_waits(self))
            stack.enter_context(_Torch(self))
            stack.enter_context(_Dask(self))
            stack.enter_context(_profiled(self))
            yield self

    def check(self) -> None:
        """Raises AssertionError where the window was held, or nothing was watched."""
        assert self.seen, "nothing of the package ran in the GUI thread"
        assert not self.violations, "in the GUI thread:\n" + "\n".join(dict.fromkeys(self.violations))


class _Torch(TorchDispatchMode):
    """A mode is entered for one thread, so it sees the operations of this thread alone."""

    def __init__(self, guard: GuiThreadGuard) -> None:
        super().__init__()
        self._guard = guard

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._guard.note("compute", f"torch {function}", sys._getframe(1))
        return function(*args, **(kwargs or {}))


class _Dask(Callback):  # type: ignore[misc]
    """Dask calls this in the thread that asked for the result."""

    def __init__(self, guard: GuiThreadGuard) -> None:
        super().__init__()
        self._guard = guard

    def _start(self, graph: Any) -> None:
        self._guard.note("compute", f"dask, {len(graph)} tasks", sys._getframe(1))


@contextmanager
def _profiled(guard: GuiThreadGuard) -> Iterator[None]:
    """Functions of ours are known by their code, so it does not matter where else they are imported."""
    codes = computing()

    def see(frame: FrameType, event: str, _: Any) -> None:
        if event != "call":
            return
        if str(frame.f_globals.get("__name__", "")).startswith(PACKAGE):
            guard.seen += 1
            if frame.f_code in codes:
                guard.note(codes[frame.f_code], frame.f_code.co_qualname, frame.f_back)

    before = sys.getprofile()
    sys.setprofile(see)  # of this thread
    try:
        yield
    finally:
        sys.setprofile(before)


_guard: GuiThreadGuard | None = None
_is_hooked = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Called by Python for each file, pause, process and connection; cannot be taken away again."""
    if _guard is None or threading.current_thread() is not threading.main_thread():
        return
    if event == "open":
        _note_file(_guard, *arguments)
    elif event in ("subprocess.Popen", "os.system", "os.posix_spawn"):
        _guard.note("wait", event, sys._getframe(1))
    elif event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        _guard.note("network", event, sys._getframe(1))


def _note_file(guard: GuiThreadGuard, path: Any, mode: Any, flags: Any) -> None:
    if not isinstance(path, str | bytes | os.PathLike) or not Path(os.fsdecode(path)).is_file():
        return
    size = Path(os.fsdecode(path)).stat().st_size
    if size > LARGE:
        guard.note(
            "read", f"a file of {size} bytes ({os.fsdecode(path).rpartition('.')[2]})", sys._getframe(2)
        )


@contextmanager
def _audited(guard: GuiThreadGuard) -> Iterator[None]:
    global _guard, _is_hooked
    if not _is_hooked:
        sys.addaudithook(_audit)
        _is_hooked = True
    _guard = guard
    try:
        yield
    finally:
        _guard = None


@contextmanager
def _waits(guard: GuiThreadGuard) -> Iterator[None]:
    """Calls that wait for another thread, a process or the disk, or that pause."""
    import concurrent.futures
    import queue
    import time

    waits: list[tuple[Any, str]] = [
        (time, "sleep"), (os, "fsync"), (threading.Event, "wait"), (threading.Condition, "wait"),
        (threading.Thread, "join"), (queue.Queue, "get"), (queue.Queue, "join"),
        (concurrent.futures.Future, "result"), (subprocess.Popen, "wait"), (subprocess.Popen, "communicate"),
        (QThread, "wait"), (QThreadPool, "waitForDone"), (QProcess, "waitForFinished"),
        (QProcess, "waitForStarted"),
    ]  # fmt: skip
    with ExitStack() as stack:
        for owner, name in waits:
            stack.enter_context(patch.object(owner, name, _noted(guard, getattr(owner, name), owner, name)))
        for owner, name in _locks():
            stack.enter_context(patch.object(owner, name, WatchedLock(guard, getattr(owner, name), name)))
        yield


def _noted(guard: GuiThreadGuard, function: Callable[..., Any], owner: Any, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        guard.note("wait", f"{owner.__name__}.{name}", sys._getframe(1))
        return function(*args, **kwargs)

    return call


def _locks() -> list[tuple[Any, str]]:
    kinds = (type(threading.Lock()), type(threading.RLock()))
    modules = [m for name, m in list(sys.modules.items()) if name.startswith(PACKAGE) and m is not None]
    return [(m, name) for m in modules for name, value in list(vars(m).items()) if isinstance(value, kinds)]


class WatchedLock:
    """A lock of the package; to find it taken is to wait for it."""

    def __init__(self, guard: GuiThreadGuard, lock: Any, name: str) -> None:
        self._guard, self._lock, self._name = guard, lock, name

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._lock.acquire(blocking=False):
            return True
        if blocking:
            self._guard.note("wait", f"the lock {self._name}", sys._getframe(1))
        return bool(self._lock.acquire(blocking, timeout))

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


__all__ = ["GuiThreadGuard", "WatchedLock"]
