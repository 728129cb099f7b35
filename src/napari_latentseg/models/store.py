"""Finding models and codecs on this machine: embedded in the package, installed, or fine-tuned here.

Nothing here needs torch until a model is loaded.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.utils.argument_types import shown
from napari_latentseg.utils.atomic import bring_back_replaced
from napari_latentseg.utils.fork_guard import check_not_forked
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.leftovers import remove_leftovers
from napari_latentseg.utils.paths import data_home

if TYPE_CHECKING:
    from napari_latentseg.codecs.base import Codec
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

EMBEDDED_CODEC = "latentseg-compact"
CURRENT_FILE = "current.json"


def _embedded_root() -> Path:
    return Path(str(files("napari_latentseg.models"))) / "embedded"


def embedded_codec() -> Path:
    """The folder of the codec that comes with the package."""
    return _embedded_root() / "codec"


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
            "model", f"{shown(name)} is no model", "give its name, its folder, or what load_model returned"
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
        Folder of its codec, if that is neither installed nor in the cache of the hub.

    Raises
    ------
    BadInput
        If the model or its codec is not on this machine, or damaged.
    """
    check_not_forked()  # already the loading of large weights would never end
    from napari_latentseg.models.folder import load_model_folder

    model = locate_model(name)
    codec_path = None if codec is None else Path(codec)
    return load_model_folder(model.folder, lambda spec: codec_for(spec, codec_path), model.card)


def codec_for(spec: CodecSpec, folder: Path | None = None) -> Codec:
    """Load the codec of a model card, with exactly the weights in the card.

    Latents of another codec have the same shape but give wrong masks, so the hash of the weights must agree.

    Parameters
    ----------
    spec
        From the card.
    folder
        Folder of the codec; found by the name in the card where not given.

    Raises
    ------
    BadInput
        If the codec is not on this machine, or has other weights.
    """
    from napari_latentseg.codecs.loading import weights_hash

    if folder is None:
        folder = codec_folder(spec.name, spec.revision or None)
    sha256 = weights_hash(folder)
    if sha256 != spec.sha256:
        raise BadInput(
            folder,
            f"has other weights than {spec.name}, which the model was trained with (their SHA-256 differs)",
            "give the folder of that codec with --codec",
        )
    return _load_cached(folder, sha256)


# The embedded codec and one other, so that models that share a codec share its memory.
@lru_cache(maxsize=2)
def _load_cached(folder: Path, sha256: str) -> Codec:
    from napari_latentseg.codecs.loading import load_codec

    return load_codec(folder)


def codec_folder(name: str, revision: str | None = None) -> Path:
    """The folder of a codec: embedded, installed, or in the cache of the hub. Never downloads.

    Parameters
    ----------
    name
        ``"embedded"``, an installed name, a folder, or a repository on the hub.
    revision
        Commit, tag or branch of the repository.

    Raises
    ------
    BadInput
        If it is not on this machine.
    """
    from napari_latentseg.models.hub import cached_snapshot

    if name in (EMBEDDED_CODEC, "embedded"):
        return embedded_codec()
    installed = data_home() / "codecs" / name.replace("/", "--")
    if installed.is_dir():
        return installed
    if Path(name).exists():
        return Path(name)
    cached = cached_snapshot(name, revision)
    if cached is not None:
        return cached
    pinned = f" (revision {revision})" if revision else ""
    raise BadInput(
        "codec",
        f"{name}{pinned} is not on this machine",
        "give its folder with --codec, or download it with --download",
    )


def open_codec(name: str, *, revision: str | None = None, download: bool = False) -> tuple[Codec, CodecSpec]:
    """Load a codec by name or folder, with its entry for a model card.

    Parameters
    ----------
    name
        ``"embedded"``, an installed name, a folder, or a repository on the hub.
    revision
        Commit, tag or branch of a repository.
    download
        Whether a codec that is not on this machine may be downloaded; otherwise there is no network access.

    Raises
    ------
    BadInput
        If it is not on this machine and cannot be downloaded, or is damaged.
    """
    from napari_latentseg.models.hub import commit_of, download_codec

    try:
        folder = codec_folder(name, revision)
    except BadInput:
        if not download or "/" not in name:
            raise
        folder = download_codec(name, revision)
    from napari_latentseg.codecs.loading import load_codec, weights_hash  # torch: not before it is needed

    codec = load_codec(folder)
    spec = CodecSpec(
        kind=codec.kind,
        name=_codec_display_name(name, folder),
        channels=codec.channels,
        scale=codec.scale,
        sha256=weights_hash(folder),
        revision=commit_of(folder),
    )
    return codec, spec


def _codec_display_name(name: str, folder: Path) -> str:
    """Name of a codec in a card; of a folder its last part only, as a path may contain a user's name."""
    if folder == embedded_codec():
        return EMBEDDED_CODEC
    return (folder.resolve().name or "codec") if folder == Path(name) else name
