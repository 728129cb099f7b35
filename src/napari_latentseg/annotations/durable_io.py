"""Writing files that survive a killed process and a power cut."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.path_lock import path_lock

__all__ = ["commit", "os_errors_as_bad_input", "store_lock", "sync_file", "sync_folder"]

LOCK_TIMEOUT_S = 10.0
"""Seconds that a write waits for another process, which holds the lock for a fraction of one as a rule."""


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the operating system can tell."""
    if sys.platform == "win32":  # a folder cannot be opened there, and renames are written through
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def commit(source: Path, target: Path) -> None:
    """Move a complete file to its final path, atomically and durably.

    Parameters
    ----------
    source
        On the same disk as `target`.
    target
        Is replaced where it exists. Its folder is made.
    """
    sync_file(source)
    if not target.parent.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(target.parent.parent)
    source.replace(target)
    sync_folder(target.parent)


@contextmanager
def store_lock(path: Path, subject: Path, timeout_s: float | None = None) -> Iterator[None]:
    """Keep other processes from writing while the block runs.

    It is a lock of the operating system, so it ends with the process, however that ends.

    Parameters
    ----------
    path
        The file of the lock.
    subject
        What it guards, for the message.
    timeout_s
        Seconds to wait for another process; `LOCK_TIMEOUT_S` unless given.

    Raises
    ------
    BadInput
        If another process keeps it for longer.
    """
    seconds = LOCK_TIMEOUT_S if timeout_s is None else timeout_s
    with path_lock(path, subject, seconds, keeps_file=True):
        yield


@contextmanager
def os_errors_as_bad_input(folder: Path) -> Iterator[None]:
    """Turn OSError into one line for people.

    Raises
    ------
    BadInput
        For any OSError, also one that the writer of a format has turned into a BadInput already.
    """
    try:
        yield
    except BadInput as error:
        if not isinstance(error.__cause__, OSError) or isinstance(error.__cause__, Timeout):
            raise
        raise _write_refused(folder, error.__cause__) from error
    except OSError as error:
        raise _write_refused(folder, error) from error


def _write_refused(folder: Path, error: OSError) -> BadInput:
    return BadInput(
        folder,
        f"the annotations cannot be written ({error.strerror or 'no reason given'})",
        "free some disk space, or choose another folder; earlier approvals are kept",
    )
