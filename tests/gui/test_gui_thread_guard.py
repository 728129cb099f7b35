"""The guard of the GUI thread sees each kind of call that holds a window, and blames nobody else for it."""

from __future__ import annotations

import threading

import pytest
from tests.helpers.gui_thread import GuiThreadGuard, WatchedLock

PRETEND = "napari_latentseg.pretend"

HOLDING = {
    "a large file": ("open(path, 'rb').close()", "read: a file of 100000 bytes"),
    "a function of ours": (
        "from napari_latentseg.measure import class_sizes; class_sizes(None)",
        "compute: class_sizes",
    ),
    "a scan": ("from napari_latentseg.io import read_scan; read_scan('none.nii')", "read: read_scan"),
    "a hash": (
        "from napari_latentseg.core.geometry import Geometry; from napari_latentseg.core.scan import Scan\n"
        "import numpy\n"
        "list(Scan(numpy.zeros((2, 3), 'u1'), 'yx', Geometry.from_spacing('yx')).iter_sha256())",
        "hash: Scan.iter_sha256",
    ),
    "torch": ("import torch; torch.ones(3) + 1", "compute: torch aten"),
    "dask": ("import dask.array; dask.array.ones(9, chunks=3).sum().compute()", "compute: dask"),
    "a pause": ("import time; time.sleep(0)", "wait: time.sleep"),
    "an event": ("import threading; threading.Event().wait(0)", "wait: Event.wait"),
    "a thread": ("import threading; t = threading.Thread(); t.start(); t.join()", "wait: Thread.join"),
    "a queue": ("import queue; queue.Queue().get(timeout=0)", "wait: Queue.get"),
    "a thread of Qt": ("from qtpy.QtCore import QThread; QThread().wait(0)", "wait: QThread.wait"),
    "a process of Qt": ("from qtpy.QtCore import QProcess; QProcess().waitForFinished(0)", "wait: QProcess."),
    "a process": ("import subprocess, sys; subprocess.run([sys.executable, '-c', ''])", "wait: subprocess"),
    "the disk": ("import os; f = os.open(path, os.O_RDONLY); os.fsync(f); os.close(f)", "wait: os.fsync"),
    "the network": (
        "import socket; socket.create_connection(('127.0.0.1', 9), 0.1)",
        "network: socket.connect",
    ),
}  # fmt: skip


def run(code: str, module: str, path: str) -> None:
    try:
        exec(compile(code, f"{module}.py", "exec"), {"__name__": module, "path": path})
    except Exception:  # what is asked for does not exist; that it was asked for is what counts
        return


@pytest.fixture
def large(tmp_path):
    file = tmp_path / "image.raw"
    file.write_bytes(bytes(100_000))
    return str(file)


@pytest.mark.parametrize("name", HOLDING)
def test_it_sees_what_holds_the_window(qapp, large, name):
    code, told = HOLDING[name]
    guard = GuiThreadGuard()
    with guard.watch():
        run(code, PRETEND, large)
    assert any(one.startswith(told) for one in guard.violations), guard.violations
    guard.seen = 1
    with pytest.raises(AssertionError, match="in the GUI thread"):
        guard.check()


@pytest.mark.parametrize("name", HOLDING)
def test_it_blames_neither_others_nor_other_threads(qapp, large, name):
    code, _ = HOLDING[name]
    guard = GuiThreadGuard()
    with guard.watch():
        run(code, "napari.pretend", large)
        thread = threading.Thread(target=run, args=(code, PRETEND, large))
        thread.start()
        thread.join()
    assert not guard.violations


def test_a_lock_that_another_thread_holds_is_waited_for(qapp):
    guard, lock = GuiThreadGuard(), threading.Lock()
    watched = WatchedLock(guard, lock, "busy")
    names = {"__name__": PRETEND, "lock": watched}
    exec("with lock: pass", names)
    assert not guard.violations
    lock.acquire()
    threading.Timer(0.05, lock.release).start()
    exec("with lock: pass", names)
    assert guard.violations[0].startswith("wait: the lock busy")


def test_what_watched_nothing_has_not_passed(qapp):
    guard = GuiThreadGuard()
    with guard.watch():
        pass
    with pytest.raises(AssertionError, match="nothing of the package ran"):
        guard.check()
