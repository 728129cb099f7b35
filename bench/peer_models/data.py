"""The images of a data set, split as the training of our model splits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.data.cases import Case
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.datasets import class_infos, find_datasets
from peer_models.jobs import DATA_SETS


@dataclass(frozen=True)
class ImageCase:
    """An image with its mask.

    Attributes
    ----------
    unit
        The patient, sequence or image that a bootstrap draws as one.
    """

    case: Case
    label_map: LabelMap
    unit: str

    def class_numbers(self, shape: Sequence[int]) -> NDArray[np.uint8]:
        """The reference mask in class numbers, in the shape of its image."""
        return self.case.read_class_numbers(self.label_map).reshape(shape)


@dataclass(frozen=True)
class Images:
    """What every competitor gets.

    Attributes
    ----------
    config
        Of our model's training.
    slices
        Training and validation slices at working size.
    train, validation
        The same images as files.
    """

    config: TrainingConfig
    slices: Dataset
    train: tuple[ImageCase, ...]
    validation: tuple[ImageCase, ...]

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        return class_infos(self.config)


def configuration(name: str, folder: Path | None) -> TrainingConfig:
    """The configuration of our model, from a file in `folder` where there is one of its name."""
    own = folder / f"{name}.json" if folder else None
    return load_config(own if own is not None and own.is_file() else name)


def read_images(data_set: str, data: Path, configs: Path | None) -> Images:
    """Read a data set, and split it by the configuration of our model for it."""
    row = DATA_SETS[data_set]
    # float32 for all: bfloat16 would be quicker for some networks than for others
    config = configuration(row.config, configs).replace(precision="float32")
    folders = [data / folder for folder in row.folders]
    slices = read_dataset(folders, config)
    hashes = {part: set(keys) for part, keys in slices.content_hashes().items()}
    train, validation = (
        tuple(
            ImageCase(case, dataset.label_map, group)
            for dataset in find_datasets(folders, config)
            for case, group in zip(dataset.cases, dataset.groups, strict=True)
            if case.content_sha256 in hashes[part]
        )
        for part in ("train", "validation")
    )
    return Images(config, slices, train, validation)
