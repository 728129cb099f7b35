"""Remove the temporary files of processes that were killed."""

from __future__ import annotations

import os
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["is_own", "newest_change", "remove_leftovers"]

_ABANDONED_AFTER_S = 86_400  # neither a result nor the copy of a model takes a day to be written
# as `tempfile` names folders, and `napari_latentseg.utils.atomic` files and folders
_PART = re.compile(r"\.part-([a-z0-9_]{8}|[0-9a-f]{16}(\.[A-Za-z0-9.]+)?)")


def remove_leftovers(folder: Path, *, kept_with: str | None = None) -> None:
    """Remove the hidden temporary files and folders of processes that were killed before these were complete.

    Those of the last day may belong to a process that is still writing.

    Parameters
    ----------
    folder
        Where results, models or other files are written.
    kept_with
        Temporary folders that hold a file of this name stay.
    """
    with suppress(OSError):
        for path in folder.glob(".part-*"):
            with suppress(OSError):
                if not _PART.fullmatch(path.name) or not is_own(path):
                    continue
                if kept_with is not None and (path / kept_with).exists():
                    continue
                if time.time() - newest_change(path) < _ABANDONED_AFTER_S:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def is_own(path: Path) -> bool:
    """Whether a file or folder is this user's, and no link to another."""
    return not path.is_symlink() and (not hasattr(os, "getuid") or path.stat().st_uid == os.getuid())


def newest_change(path: Path) -> float:
    """When a file, or anything in a folder, was changed last, in seconds since the epoch."""
    return max(part.lstat().st_mtime for part in (path, *path.rglob("*")))
