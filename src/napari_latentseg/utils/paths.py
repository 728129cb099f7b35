"""The folder of the user's models, codecs and annotations; where links lead; paths that people write."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["HOME_ENV_VAR", "data_home", "is_there", "real_path", "written_path"]

HOME_ENV_VAR = "NAPARI_LATENTSEG_HOME"
"""The environment variable that overrides the folder."""


def data_home() -> Path:
    """`NAPARI_LATENTSEG_HOME` if it is set, else the data folder of the operating system for this user."""
    from platformdirs import user_data_path

    override = os.environ.get(HOME_ENV_VAR)
    return Path(override) if override else user_data_path("napari-latentseg", appauthor=False)


def real_path(path: Path) -> Path:
    """The absolute path without links, to compare files by.

    `Path.resolve` raises RuntimeError for links that lead to one another; here they stay as they are.
    """
    return Path(os.path.realpath(path))


def written_path(text: str) -> Path:
    """A path as a person wrote it: ``~`` stands for a home folder, and stays where there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; False also where no file can have that name."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a null character
        return False
