"""SHA-256 of files and of OME-Zarr folders, read in parts."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["path_sha256"]

# files that a file manager leaves in a folder that somebody looks into
_IGNORED_NAMES = {".DS_Store", "Thumbs.db", "desktop.ini"}


def path_sha256(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and hashes of the files in it.

    Parameters
    ----------
    path
        A file, read in parts, or a folder.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for name in sorted(
        p.relative_to(path).as_posix()
        for p in path.rglob("*")
        if p.is_file() and p.name not in _IGNORED_NAMES
    ):
        digest.update(f"{name}\0{path_sha256(path / name)}\n".encode())
    return digest.hexdigest()
