"""The codes of the cases in a window, and the folder of the last export."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_latentseg.utils.atomic import atomic_path
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.paths import data_home
from napari_latentseg.widgets._shared.per_viewer import per_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = ["CaseCodes", "case_codes_of", "read_last_folder", "remember_folder"]


class CaseCodes(QObject):
    """The code of each image in a viewer: one that the user typed, else ``case-1``, ``case-2``, ..."""

    def __init__(self) -> None:
        super().__init__()
        self._codes: dict[str, str] = {}

    def code_of(self, image: Image) -> str:
        """The code of an image; the same in the whole session, and of no other image."""
        key = str(image.unique_id)
        if key not in self._codes:
            taken, number = set(self._codes.values()), 1
            while f"case-{number}" in taken:
                number += 1
            self._codes[key] = f"case-{number}"
        return self._codes[key]

    def set_code(self, image: Image, code: str) -> None:
        """Keep the code that the user gave an image."""
        self._codes[str(image.unique_id)] = code


@per_viewer
def case_codes_of(viewer: ViewerModel) -> CaseCodes:
    """The case codes of a viewer, or of the proxy that napari gives to plugins."""
    return CaseCodes()


def _memory_file() -> Path:
    return data_home() / "export.json"


def read_last_folder() -> str:
    """The folder of the user's last export; empty where there is none any more. Reads a file."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        folder = str(load_json(_memory_file().read_text("utf-8"))["folder"])
        return folder if Path(folder).is_dir() else ""
    return ""


def remember_folder(folder: Path) -> None:
    """Keep the folder of an export for the next one, also in another session. Writes a file."""
    with suppress(OSError, ValueError):  # it is only a convenience
        data_home().mkdir(parents=True, exist_ok=True)
        with atomic_path(_memory_file()) as temporary:
            temporary.write_text(json.dumps({"folder": str(folder.absolute())}), "utf-8")
