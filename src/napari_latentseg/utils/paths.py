"""The folder of the user's models, codecs and annotations; where links lead."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["HOME_ENV_VAR", "data_home", "real_path"]

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
