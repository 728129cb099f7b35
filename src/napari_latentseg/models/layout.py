"""The names and hashes of the files in a model folder."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, ModelCard
from napari_latentseg.utils.weights import file_sha256

__all__ = ["COMPARISON_FILE", "REPLAY_FILE", "SPLIT_FILE", "WEIGHTS_FILE", "check_files", "member_files"]

WEIGHTS_FILE = "weights.safetensors"
SPLIT_FILE = "split.json"  # hashes of training and validation images
REPLAY_FILE = "replay.safetensors"  # patches of training images, replayed in fine-tuning against forgetting
COMPARISON_FILE = "comparison.json"  # a fine-tuned model compared with its base model

_REMEDY = "install the model again"


def member_files(members: int) -> tuple[str, ...]:
    """Weight files of the second and further ensemble members; the first has `WEIGHTS_FILE`."""
    return tuple(f"member-{number}.safetensors" for number in range(2, members + 1))


def check_files(folder: Path, card: ModelCard) -> None:
    """Check every file of a model against the SHA-256 in its card.

    Raises
    ------
    BadInput
        If a file is missing, has another hash, or is not directly in the folder.
    """
    for name in (WEIGHTS_FILE, *member_files(card.members)):
        if name not in card.files:
            raise BadInput(f"{folder / CARD}, files", f"does not list {name}", _REMEDY)
    for name, expected_sha256 in card.files.items():
        if PureWindowsPath(name).name != name:  # splits at / and at backslashes
            raise BadInput(f"{folder / CARD}, files", f"{name!r} is not a plain file name", _REMEDY)
        path = folder / name
        if not path.is_file():
            raise BadInput(path, "is missing", _REMEDY)
        if file_sha256(path) != expected_sha256:
            raise BadInput(path, "is not the file listed in the card (its SHA-256 differs)", _REMEDY)
