"""Installing models in the user's data folder, and removing them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput
from napari_latentseg.io.result_names import check_case_code
from napari_latentseg.models.card import CARD, NAME_PATTERN, ModelCard, read_card
from napari_latentseg.models.codec_lookup import keep_given_codec
from napari_latentseg.models.store import (
    CURRENT_FILE,
    data_home,
    load_model,
    model_folders,
)
from napari_latentseg.utils.atomic import atomic_folder, remove_folder

if TYPE_CHECKING:
    from napari_latentseg.codecs.base import Codec
    from napari_latentseg.codecs.spec import CodecSpec

__all__ = [
    "install_folder",
    "install_gms_checkpoint",
    "install_path",
    "remove_model",
    "reset_current_version",
]


def install_path(name: str, *, replace: bool = False) -> Path:
    """The folder for a model of this name.

    Raises
    ------
    BadInput
        If the name is not valid, or is taken and `replace` is not set.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise BadInput(
            "name", f"{name!r} is not a valid model name", "use small letters, digits, dots and dashes"
        )
    check_case_code(name, "name")
    if name in model_folders() and not replace:
        raise BadInput(
            "name", f"a model {name!r} exists already", "give another with --name, or add --overwrite"
        )
    return data_home() / "models" / name


def install_folder(
    source: Path,
    name: str | None = None,
    *,
    codec: str | Path | None = None,
    replace: bool = False,
    on_note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Install a model folder by copying it, after loading it once as a check.

    Only the card and the files that it names are copied.

    Parameters
    ----------
    source
        A model folder.
    name
        Name to install it under; by default the name in its card.
    codec
        Its codec, where it is not kept on this machine yet; from now on it is.
    replace
        Whether to replace an installed model of that name.
    on_note
        Called with a sentence on the codec, where it is kept from now on.

    Returns
    -------
    Path
        The folder of the installed model.

    Raises
    ------
    BadInput
        If the model or its codec is damaged or missing, or the name is taken.
    """
    if not (source / CARD).is_file():
        raise BadInput(source, f"is not a model: it holds no {CARD}", "give the folder of a model")
    card = read_card(source)
    target = install_path(name or card.name, replace=replace)
    load_model(source, codec)
    if (kept := keep_given_codec(codec, card.codec)) is not None:
        on_note(kept.describe())
    with atomic_folder(target, replace=replace) as temporary:
        for file in card.files:
            shutil.copyfile(source / file, temporary / file)
        card.replace(name=target.name).write(temporary / CARD)
    reset_current_version(target.name)
    return target


def install_gms_checkpoint(
    source: Path,
    card: ModelCard,
    codec: Codec,
    *,
    replace: bool = False,
    given_codec: str | Path | None = None,
    on_note: Callable[[str], None] = lambda text: None,
) -> Path:
    """Convert a checkpoint published by the authors of GMS, and install it as a model.

    Parameters
    ----------
    source
        Their .pth file; see `read_gms_checkpoint`.
    card
        The card of the model, with its settings and its codec.
    codec
        The SD-VAE that the checkpoints were trained with, or another where the card says so.
    replace
        Whether to replace an installed model of that name.
    given_codec
        The codec as it was given, to be kept; None where it was found.
    on_note
        Called with a sentence on the codec, where it is kept from now on.

    Returns
    -------
    Path
        The folder of the installed model.

    Raises
    ------
    BadInput
        If weights are missing or have other shapes, or the codec is not an SD-VAE, unless the card says so.
    """
    from napari_latentseg.methods.registry import build_method
    from napari_latentseg.models.folder import save_model_folder
    from napari_latentseg.models.gms_checkpoint import read_gms_checkpoint
    from napari_latentseg.utils.weights import load_state

    target = install_path(card.name, replace=replace)
    if card.method != "gms":
        raise BadInput("config", f"is for {card.method}, but the checkpoints are of GMS", "use gms-busi")
    if not card.deviations_from_paper:
        _check_sd_vae(card.codec)
    method = build_method(card.method, codec, card.settings)
    if list(method.trainable_modules) != ["mapper"]:
        raise BadInput(
            "config", "has a trained conditioner, which the checkpoints do not have", "use gms-busi"
        )
    load_state(method.trainable_modules["mapper"], read_gms_checkpoint(source), source)
    if (kept := keep_given_codec(given_codec, card.codec)) is not None:
        on_note(kept.describe())
    save_model_folder(target, method, card, replace=replace)
    reset_current_version(target.name)
    return target


def reset_current_version(name: str) -> None:
    """Make a name load the embedded or installed model again, not a version fine-tuned from it.

    Raises
    ------
    BadInput
        If the folder cannot be written.
    """
    path = data_home() / "versions" / name / CURRENT_FILE
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise BadInput(path, f"cannot be removed ({error.strerror})", "check who owns it") from error


def _check_sd_vae(spec: CodecSpec | None) -> None:
    spec_values = None if spec is None else (spec.kind, spec.channels, spec.scale)
    if spec_values != ("kl", 4, 0.18215):
        raise BadInput(
            "codec",
            "is not an SD-VAE, which the checkpoints were trained with",
            "give the folder of one with --codec",
        )


def remove_model(name: str) -> Path:
    """Remove an installed model with all versions that were fine-tuned from it.

    Of an embedded model only the versions are removed.

    Returns
    -------
    Path
        The folder of its current version, which was removed.

    Raises
    ------
    BadInput
        If there is no such model, or it is embedded and has no versions.
    """
    folders = model_folders()
    root, versions = data_home() / "models", data_home() / "versions"
    # versions count also where none of them is the current one
    removable = [n for n in folders if (root / n).is_dir() or (versions / n).is_dir()]
    if name not in removable:
        why = "came with the package, and stays" if name in folders else "is not installed"
        remedy = f"use one of {', '.join(removable)}" if removable else "none is installed"
        raise BadInput(name, why, remedy)
    reset_current_version(name)  # first, so that the name never points to a half-removed version
    for folder in (versions / name, root / name):
        if folder.exists():
            remove_folder(folder)
    return folders[name]
