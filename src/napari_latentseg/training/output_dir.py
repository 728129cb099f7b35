"""The folders that a training writes: the model, and beside it the checkpoint of a stopped training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.layout import check_files
from napari_latentseg.utils.atomic import check_unused_folder
from napari_latentseg.utils.json_text import load_json

__all__ = [
    "CLAIM_FILE",
    "STATE_FILE",
    "TRAINING_FILE",
    "check_output_dir",
    "checkpoint_folder",
    "is_model_of_stopped_training",
    "is_without_state",
    "read_state",
]

STATE_FILE = "state.json"
CLAIM_FILE = ".lock"  # held by the training that writes the folder, see `OutputClaim`
TRAINING_FILE = "training.json"

_REMEDY = "delete that folder, and train from the beginning"


def checkpoint_folder(out: Path) -> Path:
    """The folder of the checkpoint of a training, beside its output folder."""
    out = Path(out)
    return out.with_name(f"{out.name}.checkpoint")


def check_output_dir(out: Path, *, resume: bool) -> None:
    """Refuse an output folder that a training must not write to; nothing is created yet.

    Parameters
    ----------
    out
        The model folder.
    resume
        Whether a stopped training is resumed. It may replace the model that it wrote when it was stopped, and
        no other folder.

    Raises
    ------
    BadInput
        If there is no checkpoint to resume, the checkpoint of a stopped training would be lost, or the
        folder holds something else.
    """
    checkpoint = checkpoint_folder(out)
    if not resume:
        if checkpoint.exists() and not is_without_state(checkpoint):
            raise BadInput(
                checkpoint, "holds a training that was stopped", "go on with --resume, or delete that folder"
            )
        check_unused_folder(out)
        return
    if not (checkpoint / STATE_FILE).is_file():
        raise BadInput(checkpoint, "holds no stopped training to go on with", "leave --resume out")
    if not is_model_of_stopped_training(out, str(read_state(checkpoint).get("training"))):
        check_unused_folder(out)


def is_without_state(checkpoint: Path) -> bool:
    """Whether the folder of a checkpoint holds no training to resume, and nothing else of value.

    So it is at the beginning of a training, and where one was killed before its first checkpoint.
    """
    if (checkpoint / STATE_FILE).exists() or not checkpoint.is_dir():
        return False
    return all(
        path.name == CLAIM_FILE or path.match("tensors-*.safetensors") for path in checkpoint.iterdir()
    ) and any(checkpoint.iterdir())


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The metadata of a checkpoint.

    Raises
    ------
    BadInput
        If it cannot be read.
    """
    path = checkpoint / STATE_FILE
    try:
        state = load_json(path.read_text("utf-8"))
        if isinstance(state, dict) and state.get("format") == 1:
            return state
    except (OSError, ValueError) as error:
        raise BadInput(path, "is not readable", _REMEDY) from error
    raise BadInput(path, "is not the checkpoint of a training", _REMEDY)


def is_model_of_stopped_training(folder: Path, training_id: str) -> bool:
    """Whether a folder is the model that this training wrote when it was stopped, or before it was judged.

    It must be unchanged.

    Parameters
    ----------
    folder
        The output folder.
    training_id
        Of the training, see `Checkpoint`.
    """
    try:
        run = load_json((folder / TRAINING_FILE).read_text("utf-8"))["run"]
        card = read_card(folder)
        is_unfinished = run.get("stopped") is True or card.unjudged
        if not (is_unfinished and run["training"] == training_id):
            return False
        check_files(folder, card)
        return {p.name for p in folder.iterdir()} == {CARD, *card.files}
    except (BadInput, OSError, ValueError, TypeError, KeyError):
        return False
