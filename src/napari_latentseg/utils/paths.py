"""Where the user's own files lie: models, codecs and annotations."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["HOME_ENV_VAR", "data_home"]

HOME_ENV_VAR = "NAPARI_LATENTSEG_HOME"
"""The environment variable that names the folder."""


def data_home() -> Path:
    """The folder of all that is the user's: `NAPARI_LATENTSEG_HOME`, or the user's data folder."""
    from platformdirs import user_data_path

    override = os.environ.get(HOME_ENV_VAR)
    return Path(override) if override else user_data_path("napari-latentseg", appauthor=False)
