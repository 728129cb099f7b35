"""Folders in the system's temporary folder, removed also where the process that made them was killed."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from napari_latentseg.utils.leftovers import is_own, newest_change

__all__ = ["make_scratch_folder", "remove_abandoned_scratch", "remove_scratch_folder"]

_PREFIX = "latentseg-"
_NAME = re.compile(rf"{_PREFIX}(training-data-)?[a-z0-9_]{{8}}")
_LOCK = ".lock"  # held by the process that uses the folder, and so released however that ends
_BEGUN_S = 60  # between the making of a folder and its lock
_UNLOCKED_AFTER_S = 7 * 86_400  # folders made by earlier versions have no lock; a run may take days

_locks: dict[Path, FileLock] = {}


def make_scratch_folder(kind: str = "") -> Path:
    """Make an empty folder that only this user can read; `remove_scratch_folder` removes it.

    Parameters
    ----------
    kind
        Part of its name: empty, or ``"training-data-"``.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    outer = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{kind}"))
    lock = FileLock(outer / _LOCK, thread_local=False)  # arrays may be collected in any thread
    with suppress(OSError, NotImplementedError):  # a file system without locks
        lock.acquire(timeout=0)
    folder = outer / "data"
    folder.mkdir()
    _locks[folder] = lock
    return folder


def remove_scratch_folder(folder: Path) -> None:
    """Remove a folder that `make_scratch_folder` has made in this process; any other stays."""
    lock = _locks.pop(folder, None)
    if lock is not None:
        lock.release()  # Windows removes no file that is open
        shutil.rmtree(folder.parent, ignore_errors=True)


def remove_abandoned_scratch() -> None:
    """Remove the scratch folders of processes of this user that have ended without removing them."""
    with suppress(OSError):
        for outer in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with suppress(OSError):
                if _NAME.fullmatch(outer.name) and is_own(outer) and _is_abandoned(outer):
                    shutil.rmtree(outer, ignore_errors=True)


def _is_abandoned(outer: Path) -> bool:
    now = time.time()
    if not (outer / _LOCK).exists():
        oldest_kept = now - _UNLOCKED_AFTER_S
        return outer.stat().st_mtime < oldest_kept and newest_change(outer) < oldest_kept
    if now - outer.stat().st_mtime < _BEGUN_S or outer / "data" in _locks:
        return False
    lock = FileLock(outer / _LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except (Timeout, NotImplementedError):
        return False
    lock.release()
    return True
