"""Bringing models into the user's store, and taking them out."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.models.store import (
    CURRENT_FILE,
    data_home,
    load_model,
    model_folders,
    unversioned_model_folders,
)
from napari_latentseg.utils.atomic import atomic_folder

if TYPE_CHECKING:
    from napari_latentseg.codecs.base import Codec
    from napari_latentseg.codecs.spec import CodecSpec

__all__ = [
    "install_folder",
    "install_gms_checkpoint",
    "install_path",
    "remove_folder",
    "remove_model",
    "reset_current_version",
]


def install_path(name: str, *, replace: bool = False) -> Path:
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
    return data_home() / "models" / name


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
    target = install_path(name or card.name, replace=replace)
    load_model(source, codec)
    with atomic_folder(target, replace=replace) as temporary:
        for file in card.files:
            shutil.copyfile(source / file, temporary / file)
        card.replace(name=target.name).write(temporary / CARD)
    reset_current_version(target.name)
    return target


def install_gms_checkpoint(source: Path, card: ModelCard, codec: Codec, *, replace: bool = False) -> Path:
    """Convert a checkpoint that the authors of GMS published into a model of the store.

    Parameters
    ----------
    source
        Their .pth file; see `read_gms_checkpoint`.
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
    from napari_latentseg.models.gms_checkpoint import read_gms_checkpoint
    from napari_latentseg.utils.weights import load_state

    target = install_path(card.name, replace=replace)
    if card.method != "gms":
        raise BadInput("config", f"is one of {card.method}, but the checkpoints are GMS's", "use gms-busi")
    _check_sd_vae(card.codec)
    method = build_method(card.method, codec, card.settings)
    if list(method.trainable_modules) != ["mapper"]:
        raise BadInput(
            "config", "has more parts than the checkpoints, which are as published", "use gms-busi"
        )
    load_state(method.trainable_modules["mapper"], read_gms_checkpoint(source), source)
    save_model_folder(target, method, card, replace=replace)
    reset_current_version(target.name)
    return target


def reset_current_version(name: str) -> None:
    """Have a name load what came with the package or was installed, and no version that was taught from it.

    Raises
    ------
    BadInput
        Where the folder cannot be written.
    """
    path = data_home() / "versions" / name / CURRENT_FILE
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(path, f"cannot be removed ({error.strerror})", "check whose it is") from error


def _check_sd_vae(spec: CodecSpec | None) -> None:
    spec_values = None if spec is None else (spec.kind, spec.channels, spec.scale)
    if spec_values != ("kl", 4, 0.18215):
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
    folders = model_folders()
    root, versions = data_home() / "models", data_home() / "versions"
    own = unversioned_model_folders()
    installed = [n for n, folder in folders.items() if folder != own.get(n) or folder.parent == root]
    if name not in installed:
        why = "came with the package, and stays" if name in folders else "is not installed"
        remedy = f"use one of {', '.join(installed)}" if installed else "none is installed"
        raise BadInput(name, why, remedy)
    reset_current_version(name)  # first, so that the name never points to a version that is on its way out
    for folder in (versions / name, root / name):
        if folder.exists():
            remove_folder(folder)
    return folders[name]


def remove_folder(folder: Path) -> None:
    """Remove a folder: out of sight in one step, then file by file."""
    hidden = folder.with_name(f".part-{secrets.token_hex(8)}")
    try:
        folder.rename(hidden)
    except OSError as error:
        raise BadInput(folder, f"cannot be removed ({error.strerror})", "check whose it is") from error
    shutil.rmtree(hidden, ignore_errors=True)
