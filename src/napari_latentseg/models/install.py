"""Bringing models into the user's store, and taking them out."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput
from napari_latentseg.files import atomic_folder
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.models.store import CURRENT, home, load_model, model_folders, own_folders

if TYPE_CHECKING:
    from napari_latentseg.codecs.base import Codec
    from napari_latentseg.codecs.spec import CodecSpec

__all__ = [
    "forget_current",
    "install_folder",
    "install_released",
    "installed_place",
    "remove_model",
    "take_away",
]


def installed_place(name: str, *, replace: bool = False) -> Path:
    """Where a model of this name is to be installed.

    Raises
    ------
    BadInput
        Where no card can have the name, or a model has it already and is not to be replaced.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise BadInput("name", f"{name!r} is no model's", "use small letters, digits, dots and dashes")
    if name in model_folders() and not replace:
        raise BadInput(
            "name", f"there is a model {name!r} already", "give another with --name, or add --replace"
        )
    return home() / "models" / name


def install_folder(
    source: Path, name: str | None = None, *, codec: Path | None = None, replace: bool = False
) -> Path:
    """Copy a model folder into the store, after it has been loaded once to see that all of it fits.

    Only the card and the files that it names are copied.

    Parameters
    ----------
    source
        A model folder.
    name
        In place of the card's.
    codec
        The folder of its codec, where it lies in a place of its own.
    replace
        Whether an installed model of that name is replaced.

    Returns
    -------
    Path
        Where it was installed.

    Raises
    ------
    BadInput
        Where the model or its codec is damaged or missing, or the name is taken.
    """
    card = read_card(source)
    place = installed_place(name or card.name, replace=replace)
    load_model(source, codec)
    with atomic_folder(place, replace=replace) as temporary:
        for file in card.files:
            shutil.copyfile(source / file, temporary / file)
        card.replace(name=place.name).write(temporary / CARD)
    forget_current(place.name)
    return place


def install_released(source: Path, card: ModelCard, codec: Codec, *, replace: bool = False) -> Path:
    """Convert a checkpoint that the authors of GMS published into a model of the store.

    Parameters
    ----------
    source
        Their .pth file; see `read_released`.
    card
        What the model is to be, its settings and its codec among it.
    codec
        The SD-VAE, which the checkpoints were trained on.
    replace
        Whether an installed model of that name is replaced.

    Returns
    -------
    Path
        Where it was installed.

    Raises
    ------
    BadInput
        Where names or shapes do not fit, or the codec is no SD-VAE.
    """
    from napari_latentseg.methods.registry import build_method
    from napari_latentseg.models.folder import save_model_folder
    from napari_latentseg.models.released import read_released
    from napari_latentseg.weights import fill

    place = installed_place(card.name, replace=replace)
    if card.method != "gms":
        raise BadInput("config", f"is one of {card.method}, but the checkpoints are GMS's", "use gms-busi")
    _check_sd_vae(card.codec)
    method = build_method(card.method, codec, card.settings)
    if list(method.trained) != ["mapper"]:
        raise BadInput(
            "config", "has more parts than the checkpoints, which are as published", "use gms-busi"
        )
    fill(method.trained["mapper"], read_released(source), source)
    save_model_folder(place, method, card, replace=replace)
    forget_current(place.name)
    return place


def forget_current(name: str) -> None:
    """Have a name load what came with the package or was installed, and no version that was taught from it.

    Raises
    ------
    BadInput
        Where the folder cannot be written.
    """
    path = home() / "versions" / name / CURRENT
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(path, f"cannot be removed ({error.strerror})", "check whose it is") from error


def _check_sd_vae(spec: CodecSpec | None) -> None:
    found = None if spec is None else (spec.kind, spec.channels, spec.scale)
    if found != ("kl", 4, 0.18215):
        raise BadInput(
            "codec",
            "is no SD-VAE, which the checkpoints were trained on",
            "give the folder of one with --codec",
        )


def remove_model(name: str) -> Path:
    """Take an installed model out of the store, with all versions that were taught from it.

    Of a model that came with the package the versions alone are removed.

    Returns
    -------
    Path
        Where it lay.

    Raises
    ------
    BadInput
        Where there is no such model, or it came with the package and has no versions.
    """
    known = model_folders()
    root, versions = home() / "models", home() / "versions"
    here = own_folders()
    installed = [n for n, folder in known.items() if folder != here.get(n) or folder.parent == root]
    if name not in installed:
        why = "came with the package, and stays" if name in known else "is not installed"
        remedy = f"use one of {', '.join(installed)}" if installed else "none is installed"
        raise BadInput(name, why, remedy)
    forget_current(name)  # first, so that the name never points to a version that is on its way out
    for folder in (versions / name, root / name):
        if folder.exists():
            take_away(folder)
    return known[name]


def take_away(folder: Path) -> None:
    """Remove a folder: out of sight in one step, then file by file."""
    aside = folder.with_name(f".part-{secrets.token_hex(8)}")
    try:
        folder.rename(aside)
    except OSError as error:
        raise BadInput(folder, f"cannot be removed ({error.strerror})", "check whose it is") from error
    shutil.rmtree(aside, ignore_errors=True)
