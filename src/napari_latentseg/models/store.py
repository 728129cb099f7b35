"""Finding models and codecs on this machine: embedded in the package, installed, or fine-tuned here.

Nothing here needs torch until a model is loaded.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.models.codec_lookup import codec_folder, codec_for, embedded_codec, open_codec
from napari_latentseg.utils.argument_types import shown
from napari_latentseg.utils.atomic import bring_back_replaced
from napari_latentseg.utils.fork_guard import check_not_forked
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.leftovers import remove_leftovers
from napari_latentseg.utils.paths import data_home

if TYPE_CHECKING:
    from napari_latentseg.models.folder import Model

__all__ = [
    "CURRENT_FILE",
    "LocatedModel",
    "codec_folder",
    "codec_for",
    "data_home",
    "embedded_codec",
    "find_model",
    "list_cards",
    "load_model",
    "locate_model",
    "model_folders",
    "open_codec",
    "subfolders",
    "unversioned_model_folders",
    "version_folder",
]

CURRENT_FILE = "current.json"


def _embedded_root() -> Path:
    return Path(str(files("napari_latentseg.models"))) / "embedded"


def version_folder(name: str, version: str) -> Path:
    """The folder of a fine-tuned version of a model."""
    return data_home() / "versions" / name / version


def model_folders() -> dict[str, Path]:
    """The folders of all models on this machine, by name, each in its current version.

    An adopted fine-tuned version has precedence over an installed model, and that over an embedded one.
    """
    folders = unversioned_model_folders()
    root = data_home() / "versions"
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        current_version = _current_version(folder)
        if current_version is not None:
            folders[folder.name] = current_version
    return folders


def _current_version(folder: Path) -> Path | None:
    """The folder that the `current.json` of a model points to; None without one, or if it is missing."""
    if not re.fullmatch(NAME_PATTERN, folder.name):
        return None
    try:
        number = load_json((folder / CURRENT_FILE).read_text("utf-8"))["version"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    version_path = folder / str(number)
    return version_path if isinstance(number, int) and (version_path / CARD).is_file() else None


def unversioned_model_folders() -> dict[str, Path]:
    """As `model_folders`, but only installed and embedded models, without fine-tuned versions."""
    folders: dict[str, Path] = {}
    for root in (data_home() / "models", _embedded_root()):
        for folder in subfolders(root):
            if (folder / CARD).is_file() and folder.name not in folders:
                folders[folder.name] = folder
    return folders


def subfolders(root: Path) -> list[Path]:
    """What is in a folder of models, by name, without what is being installed or removed.

    What a process that was killed has left there is put right: a model that it was replacing is back, and its
    temporary files are removed after a day.

    Parameters
    ----------
    root
        Need not exist.
    """
    if not root.is_dir():
        return []
    paths = list(root.iterdir())
    if any(path.name.startswith(".part-") for path in paths):
        bring_back_replaced(root)
        remove_leftovers(root)
        paths = list(root.iterdir())
    return sorted(path for path in paths if not path.name.startswith("."))


def find_model(name: str | Path) -> Path:
    """The folder of a model.

    Parameters
    ----------
    name
        Name or folder of a model. A string is tried as a name first, a `Path` as a folder first.

    Raises
    ------
    BadInput
        If there is no such model.
    """
    if not isinstance(name, str | os.PathLike):
        raise BadInput(
            "model", f"{shown(name)} is not a model", "give its name, its folder, or what load_model returned"
        )
    try:
        is_folder = bool(str(name)) and (Path(name) / CARD).is_file()
    except (OSError, ValueError):  # too long for a file name, or with a character that none can have
        is_folder = False
    if is_folder and isinstance(name, Path):
        return name
    folders = model_folders()
    if str(name) in folders:
        return folders[str(name)]
    if is_folder:
        return Path(name)
    if _is_folder(name) and str(name):
        raise BadInput(name, f"holds no {CARD}", "give the folder of a model, or its name")
    if _is_file(name):
        raise BadInput(name, "is a file, and no folder of a model", "give the folder of a model, or its name")
    raise BadInput(
        "model",
        f"no model {str(name)!r}",
        f"{choose_from(name, folders)}, or the folder of a model"
        if folders
        else "give the folder of a model",
    )


def _is_folder(name: str | Path) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def _is_file(name: str | Path) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class LocatedModel:
    """A model on disk: its folder and its card. No weights are loaded.

    Attributes
    ----------
    folder
        Holds `card.json` and the weights.
    card
        As it was read from there.

    Examples
    --------
    >>> from napari_latentseg import locate_model
    >>> locate_model("retina-vessels").card.sources
    ('augment', 'none')
    """

    folder: Path
    card: ModelCard

    def __repr__(self) -> str:
        return f"LocatedModel({self.card.name!r}, version {self.card.version})"


def locate_model(name: str | Path | LocatedModel) -> LocatedModel:
    """Find a model and read its card, once for all that a command does with it.

    Parameters
    ----------
    name
        As for `find_model`; a model that was located before is returned as it is.

    Raises
    ------
    BadInput
        If there is no such model, or its card cannot be read.
    """
    if isinstance(name, LocatedModel):
        return name
    folder = find_model(name)
    return LocatedModel(folder, read_card(folder))


def list_cards() -> dict[str, ModelCard]:
    """The cards of all models on this machine, by name, without those whose card cannot be read."""
    cards = {}
    for name, folder in model_folders().items():
        try:
            cards[name] = read_card(folder)
        except BadInput:
            continue
    return cards


def load_model(name: str | Path | LocatedModel, codec: str | Path | None = None) -> Model:
    """Load a model with its codec.

    Parameters
    ----------
    name
        An embedded or installed model, a folder, or a model that was located.
    codec
        Its codec, as for `codec_folder`; found by its hash where not given.

    Raises
    ------
    BadInput
        If the model or its codec is not on this machine, or damaged.
    """
    check_not_forked()  # already the loading of large weights would never end
    from napari_latentseg.models.folder import load_model_folder

    model = locate_model(name)
    return load_model_folder(model.folder, lambda spec: codec_for(spec, codec), model.card)
