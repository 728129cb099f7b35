"""Where the user's own files lie: models, codecs and annotations."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["VARIABLE", "home"]

VARIABLE = "NAPARI_LATENTSEG_HOME"
"""The environment variable that names the folder."""


def home() -> Path:
    """The folder of all that is the user's: `NAPARI_LATENTSEG_HOME`, or the user's data folder."""
    from platformdirs import user_data_path

    found = os.environ.get(VARIABLE)
    return Path(found) if found else user_data_path("napari-latentseg", appauthor=False)
