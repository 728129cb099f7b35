"""A case is held by one reader at a time: a lock of the operating system, which ends with its process."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["Holds"]


class Holds:
    """The cases that this process holds, by their keys.

    The files of the locks stay: to remove one could let two processes lock two files of one name.

    Parameters
    ----------
    folder
        Of the locks; made when the first case is held.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[str, FileLock] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._locks

    def take(self, key: str) -> bool:
        """Hold a case; False where another reader does.

        Raises
        ------
        OSError
            If the lock cannot be made.
        """
        if key in self._locks:
            return True
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / f"{key}.lock", timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            return False
        self._locks[key] = lock
        return True

    def release(self, key: str) -> None:
        """Let another reader have a case; one that is not held is passed over."""
        lock = self._locks.pop(key, None)
        if lock is not None:
            lock.release()

    def release_all(self) -> None:
        """Let other readers have all cases."""
        for key in list(self._locks):
            self.release(key)
