"""What can be installed from a file or folder, and under which names, before anything is installed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.models.archive import read_archive_card, unpacked_archive
from napari_latentseg.models.card import CARD, ModelCard, read_card
from napari_latentseg.models.codec_lookup import keep_given_codec
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.models.lineage import parent_model, version_with_weights
from napari_latentseg.models.store import load_model, model_folders, unversioned_model_folders
from napari_latentseg.models.versions import copy_as_version, next_version, revert, set_current_version
from napari_latentseg.utils.paths import data_home

__all__ = ["InstallPlan", "check_is_model", "install_as_version", "plan_install"]

_ZIP_MAGIC, _PICKLE_MAGIC = b"PK\x03\x04", b"\x80"  # torch has saved in both formats
_NO_MODEL_REMEDY = "give a zip file of models export, a model folder, or a .pth checkpoint of GMS"


@dataclass(frozen=True)
class InstallPlan:
    """What a file or folder would install.

    Attributes
    ----------
    name, title, version
        From its card; the name of a checkpoint is that of its file.
    is_taken
        Whether there is a model of that name.
    is_embedded
        Whether that model came with the package.
    parent
        The model here that it is a version of, by its lineage and the hashes of the weights; empty if none.
    parent_version
        The number that it gets as a version of that model, or has where it is here already.
    is_here
        Whether a version of that model has the same weights.
    free_name
        A name that no model has.
    has_lineage
        Whether it was fine-tuned from another model, here or elsewhere.
    is_same
        Whether the model of that name has the same weights.
    """

    name: str
    title: str
    version: str
    is_taken: bool
    is_embedded: bool
    parent: str
    parent_version: str
    is_here: bool
    free_name: str
    has_lineage: bool
    is_same: bool = False


def plan_install(source: str | Path) -> InstallPlan:
    """What a file or folder would install; nothing is installed yet.

    Parameters
    ----------
    source
        A zip file of `export_model`, a model folder, or a checkpoint of GMS.

    Raises
    ------
    BadInput
        If it is not a model.
    """
    path = Path(source)
    card = _card_of(path)
    name = path.stem.lower() if card is None else card.name
    parent = "" if card is None else parent_model(card)
    names, original = model_folders(), unversioned_model_folders().get(name)
    number = 2
    while f"{name}-{number}" in names:
        number += 1
    parent_version = "" if card is None or not parent else version_with_weights(parent, card)
    is_here = bool(parent_version)
    if card is not None and parent and not is_here:
        own = int(card.version) if card.version.isdecimal() else 1
        parent_version = str(max(int(next_version(parent)), own))
    return InstallPlan(
        name=name,
        title=path.name if card is None else card.title,
        version="1" if card is None else card.version,
        is_taken=name in names,
        is_embedded=original is not None and data_home() not in original.parents,
        parent=parent,
        parent_version=parent_version,
        is_here=is_here,
        free_name=f"{name}-{number}" if name in names else name,
        has_lineage=card is not None and bool(card.lineage),
        is_same=card is not None and name in names and _has_weights_of(names[name], card),
    )


def _has_weights_of(folder: Path, card: ModelCard) -> bool:
    try:
        return read_card(folder).files[WEIGHTS_FILE] == card.files[WEIGHTS_FILE]
    except (BadInput, KeyError):  # damaged: it may well be replaced
        return False


def check_is_model(path: Path) -> None:
    """Refuse what is not a model at all, before a codec is asked for.

    Raises
    ------
    BadInput
        Saying that it is not a model, and why.
    """
    if path.is_dir():
        if not (path / CARD).is_file():
            raise BadInput(path, f"is not a model: it holds no {CARD}", _NO_MODEL_REMEDY)
        return
    if not path.is_file():
        raise BadInput(path, "no such file or folder", _NO_MODEL_REMEDY)
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})", "ask for permission to read it") from error
    suffix = path.suffix.lower()
    if suffix == ".zip":
        if not zipfile.is_zipfile(path):
            raise BadInput(path, "is not a model: it is damaged, or not a zip file", "ask for the file again")
    elif suffix not in (".pth", ".pt"):
        raise BadInput(path, "is not a model: it is neither a .zip nor a .pth file", _NO_MODEL_REMEDY)
    elif start != _ZIP_MAGIC and not start.startswith(_PICKLE_MAGIC):
        raise BadInput(path, "is not a model: it is not a file that torch has written", _NO_MODEL_REMEDY)


def install_as_version(
    source: Path, *, codec: str | Path | None = None, on_note: Callable[[str], None] = lambda text: None
) -> Path:
    """Install a model as a version of the one here that it was fine-tuned from, and use it from now on.

    Parameters
    ----------
    source
        A zip file of `export_model`, or a model folder.
    codec
        Its codec, where it is not kept on this machine yet; from now on it is.
    on_note
        Called with a sentence on the codec, where it is kept from now on.

    Returns
    -------
    Path
        Its new folder. It keeps its number if that is above those of the versions here.

    Raises
    ------
    BadInput
        If it was not fine-tuned from a model with weights that are here, or is damaged.
    """
    with _folder_of(source) as folder:
        card = read_card(folder)
        parent = parent_model(card)
        if not parent:
            why = "was fine-tuned from no model with weights that are here"
            raise BadInput(card.name, why, "give it another name with --name")
        if same := version_with_weights(parent, card):
            return revert(parent, same)
        load_model(folder, codec)
        if (kept := keep_given_codec(codec, card.codec)) is not None:
            on_note(kept.describe())
        number = int(card.version) if card.version.isdecimal() else 1
        target = copy_as_version(folder, card, parent, at_least=number)
        set_current_version(parent, int(target.name))
        return target


@contextmanager
def _folder_of(source: Path) -> Iterator[Path]:
    if source.is_dir():
        yield source
    elif source.suffix.lower() == ".zip":
        with unpacked_archive(source) as folder:
            yield folder
    else:
        raise BadInput(source, "is not a version of another model", "give a zip file of models export")


def _card_of(path: Path) -> ModelCard | None:
    """The card of what is to be installed; None for a checkpoint, which has none."""
    check_is_model(path)
    if path.is_dir():
        return read_card(path)
    return read_archive_card(path) if path.suffix.lower() == ".zip" else None
