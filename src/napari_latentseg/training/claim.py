"""The exclusive right to write an output folder, from the beginning of a training to its end."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from napari_latentseg.training.output_dir import CLAIM_FILE, checkpoint_folder, is_without_state
from napari_latentseg.utils.atomic import ensure_writable_folder
from napari_latentseg.utils.path_lock import holds_file

__all__ = ["OutputClaim"]


class OutputClaim:
    """Claims an output folder, by a lock of the operating system in the folder of its checkpoint.

    The lock ends with its process, so that a claim of a process that was killed does not stand in the way.

    Parameters
    ----------
    out
        The output folder; need not exist yet.
    """

    def __init__(self, out: Path) -> None:
        self._folder = checkpoint_folder(out)
        self._lock = FileLock(self._folder / CLAIM_FILE)

    def take(self) -> bool:
        """Claim the folder; False if another training has claimed it.

        Raises
        ------
        BadInput
            If the folder cannot be written.
        """
        while True:
            ensure_writable_folder(self._folder, what="checkpoint")
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                return False
            except FileNotFoundError:  # the training that had it has just ended
                continue
            if holds_file(self._lock, self._folder / CLAIM_FILE):  # not removed in the meantime
                return True
            self._lock.release()

    def release(self) -> None:
        """Give the claim up; the folder is removed, unless it holds a checkpoint."""
        if not self._lock.is_locked:
            return
        if is_without_state(self._folder):
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()
