"""Writing so that what is there stays there, also after a power cut."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from napari_latentseg.errors import BadInput

__all__ = ["locked", "settle", "sync_file", "sync_folder", "told"]

PATIENCE = 10.0
"""Seconds that a write waits for that of another process."""


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can say so."""
    if sys.platform == "win32":  # a folder cannot be opened there, and renames are written through
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def settle(temporary: Path, path: Path) -> None:
    """Move a complete file to its place; after this it is there, or the former one is, and never a half.

    Parameters
    ----------
    temporary
        On the same disk as `path`.
    path
        Is replaced where it is there. Its folder is made.
    """
    sync_file(temporary)
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent.parent)
    temporary.replace(path)
    sync_folder(path.parent)


@contextmanager
def locked(path: Path, what: Path, patience: float | None = None) -> Iterator[None]:
    """Keep other processes from writing for as long as the block lasts.

    The lock is the system's own, so it ends with the process that holds it, however that ends.

    Parameters
    ----------
    path
        The file of the lock.
    what
        What it guards, for the message.
    patience
        Seconds to wait for another process; `PATIENCE` unless given.

    Raises
    ------
    BadInput
        Where another process keeps it for longer.
    """
    try:
        lock = FileLock(path, timeout=PATIENCE if patience is None else patience)
        lock.acquire()
    except Timeout as error:
        raise BadInput(
            what, "is being written by another window or program", "try again in a moment"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line.

    Raises
    ------
    BadInput
        For any OSError, also one that a format's writer has put into words of its own.
    """
    try:
        yield
    except BadInput as error:
        if not isinstance(error.__cause__, OSError) or isinstance(error.__cause__, Timeout):
            raise
        raise _refused(folder, error.__cause__) from error
    except OSError as error:
        raise _refused(folder, error) from error


def _refused(folder: Path, error: OSError) -> BadInput:
    return BadInput(
        folder,
        f"the annotations cannot be written ({error.strerror or 'no reason given'})",
        "make room, or choose another folder; what was approved before is there",
    )
