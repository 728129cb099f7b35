"""The data sets of a training: folders of annotated images, and what their labels mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.data.cases import Case, find_cases
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.split import groups_by_block, groups_by_name
from napari_latentseg.errors import BadInput
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset_config import DatasetConfig

__all__ = ["AnnotatedDataset", "class_infos", "find_datasets"]


@dataclass(frozen=True)
class AnnotatedDataset:
    """A folder of annotated images.

    Attributes
    ----------
    name
        Of the folder.
    cases
        Its images with their masks.
    label_map
        From its labels to the classes of the model.
    config
        What the configuration says of it.
    groups
        The patient of each case, as the file names tell.
    """

    name: str
    cases: list[Case]
    label_map: LabelMap
    config: DatasetConfig
    groups: list[str]


def class_infos(config: TrainingConfig) -> tuple[ClassInfo, ...]:
    """The classes of the model, labelled from 1 in their order.

    Raises
    ------
    BadInput
        If two have the same name, or one includes something that is no other class.
    """
    if not config.classes:
        return (ClassInfo(label=1, name=config.card.class_name, color=config.card.color),)
    names = [c.name for c in config.classes]
    for c in config.classes:
        if names.count(c.name) > 1:
            raise BadInput(f"classes, {c.name}", "is there twice", "give each class one name")
        for included_name in c.includes:
            if included_name not in names or included_name == c.name:
                raise BadInput(
                    f"classes, {c.name}", f"includes {included_name!r}, which is no other class", "correct it"
                )
    if len(names) > 254:
        raise BadInput("classes", f"{len(names)} are too many for a mask", "train 254 or fewer")
    return tuple(ClassInfo(label=k, **c.model_dump()) for k, c in enumerate(config.classes, start=1))


def find_datasets(folders: Sequence[Path], config: TrainingConfig) -> list[AnnotatedDataset]:
    """The cases of each folder, and what their labels mean.

    Parameters
    ----------
    folders
        Each holds `images/` and `masks/`.
    config
        Its `classes`, `datasets` and `split` are used.

    Raises
    ------
    BadInput
        If a folder is incomplete, two have the same name, or the classes of a label are not known.
    """
    classes = class_infos(config)
    datasets: list[AnnotatedDataset] = []
    for folder in folders:
        cases = find_cases(folder)
        name = folder.absolute().name
        if name in {d.name for d in datasets}:
            raise BadInput(folder, f"is a second data set {name!r}", "rename the folder")
        label_map, dataset_config = _label_map_for(name, classes, config), config.datasets.get(name)
        pattern = (dataset_config and dataset_config.group_pattern) or config.split.group_pattern
        names, block = [case.name for case in cases], config.split.block
        if block is not None and not pattern:
            groups = groups_by_block(names, block)
        else:
            groups = groups_by_name(names, pattern)
        if len(folders) > 1:  # equal names in two sets are two patients
            groups = [f"{name}/{group}" for group in groups]
        datasets.append(
            AnnotatedDataset(
                name, cases, label_map, dataset_config or _default_dataset_config(config), groups
            )
        )
    return datasets


def _label_map_for(name: str, classes: tuple[ClassInfo, ...], config: TrainingConfig) -> LabelMap:
    if not config.classes:
        return LabelMap(classes, None, name)
    if name in config.datasets:
        if labels := config.datasets[name].labels:
            return LabelMap(classes, labels, name, others_are_background=True)
    elif config.datasets:
        raise BadInput(
            name, "has no map of its labels", f"add it to datasets, beside {', '.join(config.datasets)}"
        )
    return LabelMap.for_model(classes)


def _default_dataset_config(config: TrainingConfig) -> DatasetConfig:
    card = config.card
    return DatasetConfig(name=card.data_name, licence=card.data_licence, reference=card.data_reference)
