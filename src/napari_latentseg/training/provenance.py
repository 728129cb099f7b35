"""The entries of a trained model's card on its data and licence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from napari_latentseg.core.percent import percent
from napari_latentseg.models.card import TrainingData
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset
from napari_latentseg.training.dataset_config import DatasetConfig
from napari_latentseg.training.datasets import AnnotatedDataset

__all__ = ["combined_licence", "training_data_records"]

_RESEARCH_ONLY_PATTERN = re.compile(r"\bnc\b|non-?commercial|research", re.IGNORECASE)


def training_data_records(
    datasets: Sequence[AnnotatedDataset], data: Dataset, config: TrainingConfig
) -> tuple[TrainingData, ...]:
    """A record of each data set, in their order.

    Parameters
    ----------
    datasets
        The folders.
    data
        The slices that were read from them, and their split.
    config
        Its `split` and `datasets` are used.
    """
    split = config.split
    records = []
    for dataset in datasets:
        dataset_config = config.datasets.get(dataset.name, DatasetConfig())
        pattern = dataset_config.group_pattern or split.group_pattern
        records.append(
            TrainingData(
                name=dataset.config.name or dataset.name,
                licence=dataset.config.licence,
                reference=dataset.config.reference,
                images=len({s.content_sha256 for s in data.train if s.dataset == dataset.name}),
                validation_images=len(
                    {s.content_sha256 for s in data.validation if s.dataset == dataset.name}
                ),
                split=f"{percent(split.fraction)} by {_split_unit(pattern, split.block)}"
                + (", near duplicates together" if split.likeness_bits is not None else "")
                + f", seed {split.seed}",
                folder=dataset.name if dataset_config.labels else "",
                labels=dataset_config.labels,
                readers=max((s.reader_count for s in data.train if s.dataset == dataset.name), default=0),
            )
        )
    return tuple(records)


def _split_unit(pattern: str | None, block: int | None) -> str:
    """The unit of the split, in words."""
    if pattern:
        return "patient"
    return f"blocks of {block} files" if block else "image"


def combined_licence(stated_licence: str, licences: Iterable[str]) -> str:
    """The licence of the weights: as stated, but research use only where a data set allows no more."""
    if any(_RESEARCH_ONLY_PATTERN.search(licence) for licence in licences):
        return stated_licence if _RESEARCH_ONLY_PATTERN.search(stated_licence) else "research use only"
    return stated_licence
