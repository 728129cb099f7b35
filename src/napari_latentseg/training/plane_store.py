"""Slices of training images on the disk, found again by a key of what they were made from.

A training on volumes has more slices than fit into memory. Those of each case are one file, which every
process of a training reads, and a later training on the same images at the same size too.
"""

# Read by offset, not as memory maps: a map keeps its file open, and a large data set has more cases than a
# process may have open files. The operating system holds what is read often in memory either way.

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.atomic import atomic_path, ensure_writable_folder
from napari_latentseg.utils.leftovers import remove_leftovers
from napari_latentseg.utils.paths import HOME_ENV_VAR, data_home

__all__ = ["PlaneFile", "PlaneStore"]

_FOLDER = "planes"
_SUFFIX = ".planes"
_LOCK_SUFFIX, _NAMES_SUFFIX = ".lock", ".names"
_MAGIC = b"latentseg planes 1\n"
_MAX_UNUSED_BYTES = 20 * 2**30  # kept for later trainings: some hundred CT volumes at 1.5 mm
_FREE_RESERVE = 2 * 2**30  # of the disk, for checkpoints and the model
_BEGUN_S = 60  # between the making of a lock's file and its locking


@dataclass(frozen=True)
class PlaneFile:
    """The slices of one case in a file.

    Attributes
    ----------
    path
        The file.
    facts
        What is known of them, as `PlaneStore.write` was given it.
    shape
        `(N, C, H, W)`; values are uint8.
    offset
        Bytes before the first slice.
    """

    path: Path
    facts: dict[str, Any]
    shape: tuple[int, int, int, int]
    offset: int

    def read(self, number: int) -> NDArray[np.uint8]:
        """Slice `number`, `(C, H, W)`.

        Raises
        ------
        BadInput
            If the file was removed or cut short meanwhile.
        """
        size = int(np.prod(self.shape[1:]))
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset + number * size)
                values = np.fromfile(file, np.uint8, size)
        except OSError:
            values = np.empty(0, np.uint8)
        if len(values) < size:
            raise BadInput(
                self.path.parent,
                "slices of this training were removed from it",
                "start it again, or --resume",
            )
        return values.reshape(self.shape[1:])


@dataclass
class PlaneStore:
    """The files of a training in the user's folder; `close` when they are no longer read.

    What no training uses is kept up to 20 GB, and removed earlier where the disk is full.
    """

    folder: Path = field(default_factory=lambda: data_home() / _FOLDER)
    _token: str = field(init=False, default_factory=lambda: secrets.token_hex(8))
    _lock: FileLock | None = field(init=False, default=None)

    def find(self, key: str) -> PlaneFile | None:
        """The slices under a key; None where there are none.

        Parameters
        ----------
        key
            Made of all that the slices depend on: letters and digits.
        """
        path = self.folder / f"{key}{_SUFFIX}"
        if not path.exists():
            return None
        self._hold(path.name)  # before it is opened, so that no other training removes it now
        try:
            with path.open("rb") as file:
                if file.readline(64) != _MAGIC:
                    return None
                header = json.loads(file.readline(2**30))
                shape = tuple(header["shape"])
                found = PlaneFile(path, header["facts"], shape, file.tell())
            if path.stat().st_size != found.offset + int(np.prod(shape)):
                return None
            os.utime(path)
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return found

    def write(self, key: str, values: NDArray[np.uint8], facts: dict[str, Any]) -> PlaneFile:
        """Write the slices of a case `(N, C, H, W)`, with what is known of them.

        Raises
        ------
        BadInput
            If the folder cannot be written or the disk is full.
        """
        ensure_writable_folder(self.folder, what="folder of training slices")
        path = self.folder / f"{key}{_SUFFIX}"
        self._hold(path.name)
        self._make_room(values.nbytes)
        header = _MAGIC + json.dumps({"shape": values.shape, "facts": facts}).encode() + b"\n"
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(header)
            np.ascontiguousarray(values).tofile(file)
        n, c, h, w = values.shape
        return PlaneFile(path, facts, (n, c, h, w), len(header))

    def close(self) -> None:
        """Allow the files to be removed when space is needed."""
        if self._lock is None:
            return
        self._lock.release()
        self._lock = None
        for suffix in (_LOCK_SUFFIX, _NAMES_SUFFIX):
            with suppress(OSError):
                (self.folder / f"{self._token}{suffix}").unlink()
        self._trim(_MAX_UNUSED_BYTES)

    def _hold(self, name: str) -> None:
        """Note that this training reads a file."""
        with suppress(OSError, NotImplementedError):  # a folder that cannot be written, or without locks
            if self._lock is None:
                lock = FileLock(self.folder / f"{self._token}{_LOCK_SUFFIX}", thread_local=False)
                lock.acquire(timeout=0)
                self._lock = lock
            with (self.folder / f"{self._token}{_NAMES_SUFFIX}").open("a", encoding="utf-8") as file:
                file.write(f"{name}\n")

    def _make_room(self, size: int) -> None:
        """Remove unused files where the disk has not enough room."""
        if shutil.disk_usage(self.folder).free >= size + _FREE_RESERVE:
            return
        self._trim(0)
        free = shutil.disk_usage(self.folder).free
        if free < size + _FREE_RESERVE:
            raise BadInput(
                self.folder,
                f"the disk has {free / 2**30:.1f} GB left, too little for the slices of this training",
                f"free disk space, or set {HOME_ENV_VAR} to a folder on another disk",
            )

    def _trim(self, max_bytes: int) -> None:
        """Remove the files that were not used for longest, until those in no use are not above the limit."""
        with suppress(OSError):
            remove_leftovers(self.folder)
            held = self._held_names()
            unused = [path for path in self.folder.glob(f"*{_SUFFIX}") if path.name not in held]
            stats = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in unused)
            total = sum(size for _, size, _ in stats)
            for _, size, path in stats:
                if total <= max_bytes:
                    return
                with suppress(OSError):
                    path.unlink()
                total -= size

    def _held_names(self) -> set[str]:
        """The files that running trainings read; what ended trainings have left of their lists is removed."""
        held: set[str] = set()
        for lock_file in self.folder.glob(f"*{_LOCK_SUFFIX}"):
            names = lock_file.with_suffix(_NAMES_SUFFIX)
            if lock_file.stem != self._token and _is_free(lock_file):
                for path in (names, lock_file):
                    with suppress(OSError):
                        path.unlink()
                continue
            with suppress(OSError):
                held.update(names.read_text("utf-8").split("\n"))
        return held


def _is_free(lock_file: Path) -> bool:
    try:
        if time.time() - lock_file.stat().st_mtime < _BEGUN_S:
            return False
        lock = FileLock(lock_file, thread_local=False)
        lock.acquire(timeout=0)
    except (Timeout, NotImplementedError, OSError):
        return False
    lock.release()
    return True
