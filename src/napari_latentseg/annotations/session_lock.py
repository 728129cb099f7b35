"""Each writing process has a folder of its own in the store, with a lock that ends with the process."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["SessionLock", "is_alive", "remove_dead_sessions"]

_LOCK_FILE = "alive"


class SessionLock:
    """The folder of a process for temporary files and drafts, locked for as long as the process lives.

    Parameters
    ----------
    root
        The folder of all sessions.
    """

    def __init__(self, root: Path) -> None:
        self.token = secrets.token_hex(8)
        self.folder = root / self.token
        self._lock: FileLock | None = None

    @property
    def is_claimed(self) -> bool:
        """Whether the folder exists and is locked."""
        return self._lock is not None

    def claim(self) -> Path:
        """Make and lock the folder unless that is done; only under the store's lock.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        if self._lock is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / _LOCK_FILE, timeout=10, thread_local=False)
            lock.acquire()
            self._lock = lock
        return self.folder

    def temporary_path(self, suffix: str) -> Path:
        """A path for a temporary file."""
        return self.folder / f".part-{secrets.token_hex(8)}{suffix}"

    def release(self) -> None:
        """Release the lock; temporary files are removed, drafts stay."""
        if self._lock is not None:
            _remove_temporaries(self.folder)
            self._lock.release()
            self._lock = None
            _remove_if_empty(self.folder)


def is_alive(folder: Path, timeout_s: float = 0.1) -> bool:
    """Whether the process of a session is still running, or that cannot be found out."""
    lock = FileLock(folder / _LOCK_FILE, timeout=timeout_s, thread_local=False)
    try:
        lock.acquire(poll_interval=0.01)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def remove_dead_sessions(root: Path, own_token: str) -> int:
    """Remove temporary files of processes that have ended; only under the store's lock.

    Returns
    -------
    int
        How many files that were.
    """
    removed = 0
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.name != own_token and folder.is_dir() and not is_alive(folder, 0):
            removed += _remove_temporaries(folder)
            _remove_if_empty(folder)
    return removed


def _remove_temporaries(folder: Path) -> int:
    removed = 0
    for path in folder.glob(".part-*"):
        with suppress(OSError):
            path.unlink()
            removed += 1
    return removed


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        if {p.name for p in folder.iterdir()} <= {_LOCK_FILE}:
            shutil.rmtree(folder)
