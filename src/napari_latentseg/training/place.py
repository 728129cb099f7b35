"""Where a training writes: the model folder to be, and beside it what a stopped training goes on from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_latentseg.errors import BadInput
from napari_latentseg.files import free_folder
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.layout import check_files

__all__ = ["STATE", "TRAINING", "check_place", "checkpoint_folder", "is_stopped_model", "read_state"]

STATE = "state.json"
TRAINING = "training.json"

_OVER = "delete that folder, and train from the beginning"


def checkpoint_folder(out: Path) -> Path:
    """Where the checkpoint of a training lies."""
    out = Path(out)
    return out.with_name(f"{out.name}.checkpoint")


def check_place(out: Path, *, resume: bool) -> None:
    """Refuse a place where a training cannot write; nothing is made yet.

    Parameters
    ----------
    out
        The model folder to be.
    resume
        Whether a stopped training is to go on. It may then replace the model that it left when it was
        stopped, and no other folder.

    Raises
    ------
    BadInput
        Where there is nothing to go on from, or a stopped training would be forgotten, or the folder holds
        something else.
    """
    checkpoint = checkpoint_folder(out)
    if not resume:
        if checkpoint.exists():
            raise BadInput(
                checkpoint, "holds a training that was stopped", "go on with --resume, or delete that folder"
            )
        free_folder(out)
        return
    if not (checkpoint / STATE).is_file():
        raise BadInput(checkpoint, "holds no stopped training to go on with", "leave --resume out")
    if not is_stopped_model(out, str(read_state(checkpoint).get("training"))):
        free_folder(out)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint tells beside its tensors.

    Raises
    ------
    BadInput
        Where it cannot be read.
    """
    path = checkpoint / STATE
    try:
        found = json.loads(path.read_text("utf-8"))
        if isinstance(found, dict) and found.get("format") == 1:
            return found
    except (OSError, ValueError) as error:
        raise BadInput(path, "is not readable", _OVER) from error
    raise BadInput(path, "is not the checkpoint of a training", _OVER)


def is_stopped_model(folder: Path, training: str) -> bool:
    """Whether a folder is the model that this very training left when it was stopped, and nothing was added.

    Parameters
    ----------
    folder
        Where the model may lie.
    training
        The mark of the training.
    """
    try:
        run = json.loads((folder / TRAINING).read_text("utf-8"))["run"]
        if not (run["stopped"] is True and run["training"] == training):
            return False
        card = read_card(folder)
        check_files(folder, card)
        return {p.name for p in folder.iterdir()} == {CARD, *card.files}
    except (BadInput, OSError, ValueError, TypeError, KeyError):
        return False
