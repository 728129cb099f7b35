"""The lock of a folder or a file: one process at a time, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from filelock import FileLock

from napari_latentseg.utils import path_lock as path_lock_module
from napari_latentseg.utils.path_lock import path_lock

COUNT = """
import sys
from pathlib import Path
from napari_latentseg.utils.path_lock import path_lock
counter, lock_file = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(200):
    with path_lock(lock_file, counter):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


def test_processes_take_turns(tmp_path: Path) -> None:
    counter, lock_file = tmp_path / "counter", tmp_path / ".lock"
    counter.write_text("0")
    command = [sys.executable, "-c", COUNT, str(counter), str(lock_file)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert counter.read_text() == "400"
    assert not lock_file.exists()


def test_a_file_that_its_holder_removes_while_we_open_it_is_locked_anew(tmp_path: Path) -> None:
    lock_file = tmp_path / ".lock"
    acquire, removed = FileLock.acquire, []

    def acquire_a_removed_file(lock: FileLock) -> object:
        proxy = acquire(lock)
        if not removed:
            removed.append(lock_file)
            lock_file.unlink()
        return proxy

    with (
        patch.object(path_lock_module.FileLock, "acquire", acquire_a_removed_file),
        path_lock(lock_file, tmp_path),
    ):
        assert removed
        assert lock_file.exists()  # a third process finds this very file
