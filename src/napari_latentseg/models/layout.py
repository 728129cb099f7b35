"""The files of a model folder, without loading what is in them."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import CARD, ModelCard
from napari_latentseg.utils.weights import file_sha256

__all__ = ["COMPARISON_FILE", "REPLAY_FILE", "SPLIT_FILE", "WEIGHTS_FILE", "check_files", "member_files"]

WEIGHTS_FILE = "weights.safetensors"
SPLIT_FILE = "split.json"
REPLAY_FILE = "replay.safetensors"
COMPARISON_FILE = "comparison.json"

_REMEDY = "install the model again"


def member_files(members: int) -> tuple[str, ...]:
    """The weights of every member after the first, whose weights are the model's own."""
    return tuple(f"member-{number}.safetensors" for number in range(2, members + 1))


def check_files(folder: Path, card: ModelCard) -> None:
    """Hold every file of a model against the card's hashes.

    Raises
    ------
    BadInput
        Where one is missing or is another, or lies outside the folder.
    """
    for name in (WEIGHTS_FILE, *member_files(card.members)):
        if name not in card.files:
            raise BadInput(f"{folder / CARD}, files", f"says nothing of {name}", _REMEDY)
    for name, expected_sha256 in card.files.items():
        if PureWindowsPath(name).name != name:  # knows the separators of both worlds
            raise BadInput(f"{folder / CARD}, files", f"{name!r} is not a name in this folder", _REMEDY)
        path = folder / name
        if not path.is_file():
            raise BadInput(path, "is missing", _REMEDY)
        if file_sha256(path) != expected_sha256:
            raise BadInput(path, "is not the file that the card describes (its SHA-256 differs)", _REMEDY)
