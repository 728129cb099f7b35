"""Where the stores of annotations lie: one for each model, in the data folder."""

from __future__ import annotations

import re
from pathlib import Path

from napari_latentseg.annotations.directory import DRAFTS_FOLDER, is_store
from napari_latentseg.annotations.drafts import DRAFT_SUFFIX
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.paths import data_home

__all__ = ["list_stores", "store_folder"]

_NAME_PATTERN = r"[a-z0-9][a-z0-9._-]*"


def store_folder(name: str) -> Path:
    """The folder of the annotations for a model; each model has its own, since classes differ.

    Raises
    ------
    BadInput
        If no model can have the name.
    """
    if not re.fullmatch(_NAME_PATTERN, name):
        raise BadInput(
            "name", f"{name!r} is not a valid model name", "use small letters, digits, dots and dashes"
        )
    return data_home() / "annotations" / name


def list_stores() -> dict[str, Path]:
    """The folders of all stores with approvals or drafts, by the name of the model.

    Raises
    ------
    BadInput
        If the folder that they are in cannot be read.
    """
    root = data_home() / "annotations"
    try:
        folders = sorted(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        raise BadInput(root, f"cannot be read ({error.strerror})", "ask for permission to read it") from error
    return {
        folder.name: folder
        for folder in folders
        if is_store(folder) or any((folder / DRAFTS_FOLDER).glob(f"*/*{DRAFT_SUFFIX}"))
    }
