"""What the card of a trained model says of its classes and its data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from napari_latentseg.models.card import TrainingData
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.data_config import DatasetConfig
from napari_latentseg.training.dataset import Dataset
from napari_latentseg.training.sets import DataSet

__all__ = ["licence_of", "training_data"]

_NOT_FREE = re.compile(r"\bnc\b|non-?commercial|research", re.IGNORECASE)


def training_data(sets: Sequence[DataSet], data: Dataset, config: TrainingConfig) -> tuple[TrainingData, ...]:
    """A record of each data set, in their order.

    Parameters
    ----------
    sets
        What was given.
    data
        What became of it.
    config
        Its `split` and `datasets` are used.
    """
    split = config.split
    found = []
    for one in sets:
        mapped = config.datasets.get(one.name, DatasetConfig())
        pattern = mapped.group_pattern or split.group_pattern
        found.append(
            TrainingData(
                name=one.about.name or one.name,
                licence=one.about.licence,
                reference=one.about.reference,
                images=len({e.key for e in data.train if e.dataset == one.name}),
                kept_apart=len({e.key for e in data.apart if e.dataset == one.name}),
                split=f"{split.fraction:.0%} by {_unit(pattern, split.block)}"
                + (", near duplicates together" if split.likeness_bits is not None else "")
                + f", seed {split.seed}",
                folder=one.name if mapped.labels else "",
                labels=mapped.labels,
            )
        )
    return tuple(found)


def _unit(pattern: str | None, block: int | None) -> str:
    """What stays together, in words."""
    if pattern:
        return "patient"
    return f"blocks of {block} files" if block else "image"


def licence_of(said: str, licences: Iterable[str]) -> str:
    """What the weights may be used for: what was said, but research alone where a data set allows no more."""
    if any(_NOT_FREE.search(licence) for licence in licences):
        return said if _NOT_FREE.search(said) else "research use only"
    return said
