"""Let one process at a time write to a folder or a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from napari_latentseg.errors import BadInput

__all__ = ["holds_file", "path_lock"]

_TIMEOUT_S = 60.0  # moving files takes milliseconds, comparing the hashes of a large earlier result seconds


@contextmanager
def path_lock(
    lock_file: Path, subject: Path, timeout_s: float = _TIMEOUT_S, *, keeps_file: bool = False
) -> Iterator[None]:
    """Keep other processes from writing while the block runs.

    It is a lock of the operating system, so it ends with the process, however that ends.

    Parameters
    ----------
    lock_file
        A file beside what is written.
    subject
        What it guards, for the message.
    timeout_s
        Seconds to wait for another process.
    keeps_file
        Whether the file of the lock stays when the block ends.

    Raises
    ------
    BadInput
        If another process keeps it for longer.
    OSError
        If the lock cannot be created.
    """
    lock = FileLock(lock_file, timeout=timeout_s)
    try:
        lock.acquire()
        while not holds_file(lock, lock_file):
            lock.release()
            lock.acquire()
    except Timeout as error:
        raise BadInput(
            subject, "is being written by another window or program", "try again in a moment"
        ) from error
    try:
        yield
    finally:
        if not keeps_file:
            with suppress(OSError):  # Windows keeps a file that is open
                lock_file.unlink()
        lock.release()


def holds_file(lock: FileLock, lock_file: Path) -> bool:
    """Whether the file that was locked still has its name.

    Between our opening and locking it, the holder before may have removed it; a third process would then lock
    a new file of this name. Only from 4.2.11 on does filelock look itself.
    """
    descriptor = lock._context.lock_file_fd
    try:
        return descriptor is not None and os.path.samestat(os.fstat(descriptor), lock_file.stat())
    except OSError:
        return False
