"""What a training writes about itself: names, notes and records."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.events import TrainEpoch

__all__ = [
    "as_json",
    "model_name_of",
    "name_and_version",
    "selection_note",
    "split_record",
    "total_seconds",
    "weighted_mean",
]


def selection_note(config: TrainingConfig, best_epochs: Sequence[int]) -> str:
    """How the weights were selected, for the figures in the card.

    Parameters
    ----------
    config
        Of the training.
    best_epochs
        Of each member, the epoch whose weights were kept.
    """
    epochs = ", ".join(map(str, best_epochs))
    note = (
        "the weights are those of the last epoch, not selected on them"
        if config.select == "last"
        else f"the weights of epoch {epochs} were selected on them, so this figure is optimistic"
    )
    return f"they are the test list; {note}" if config.split.select_on == "test" else note


def split_record(config: TrainingConfig) -> dict[str, Any]:
    """How the images were split; lists by the name of their file, for they may hold names of patients."""
    split = config.split
    names = {"lists": [Path(file).name for file in split.lists], "of_model": Path(split.of_model).name}
    return split.model_dump(mode="json") | names


def name_and_version(card: ModelCard) -> str:
    """Both, as a record names a model."""
    return f"{card.name} {card.version}"


def model_name_of(folder: Path) -> str:
    """A valid model name, made from that of a folder."""
    return re.sub(r"[^a-z0-9._-]+", "-", folder.absolute().name.lower()).strip("-._")


def as_json(value: Any) -> bytes:
    """The content of a JSON file."""
    return (json.dumps(value, indent=1) + "\n").encode()


def weighted_mean(values: Sequence[float], counts: Sequence[int]) -> float:
    """The mean over all images, from the mean of each data set and its number of images."""
    return sum(v * n for v, n in zip(values, counts, strict=True)) / sum(counts)


def total_seconds(events: Sequence[TrainEpoch]) -> float:
    """Seconds of the whole training; `TrainEpoch.seconds` starts at zero in every stage and member."""
    last_seconds = {(event.member, event.stage): event.seconds for event in events}
    return sum(last_seconds.values())
