"""The data sets of a training: folders of annotated images, and what their labels mean."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_latentseg.annotations.annotated_folder import read_annotated_folder
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.data.cases import Case
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.label_names import LabelNames
from napari_latentseg.data.readers import with_readers
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
    notes
        What was passed over in the folder.
    """

    name: str
    cases: list[Case]
    label_map: LabelMap
    config: DatasetConfig
    groups: list[str]
    notes: tuple[str, ...] = ()

    def without(self, names: Collection[str]) -> AnnotatedDataset:
        """The same data set without the cases of these names."""
        kept = [i for i, case in enumerate(self.cases) if case.name not in names]
        return replace(self, cases=[self.cases[i] for i in kept], groups=[self.groups[i] for i in kept])


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
        Of any kind that `read_annotated_folder` takes.
    config
        Its `classes`, `datasets` and `split` are used.

    Raises
    ------
    BadInput
        If a folder is incomplete, two have the same name, the classes of a label are not known, or a reader's
        mask is missing.
    """
    classes = class_infos(config)
    datasets: list[AnnotatedDataset] = []
    for folder in folders:
        annotated = read_annotated_folder(folder)
        name = folder.absolute().name
        if name in {d.name for d in datasets}:
            raise BadInput(folder, f"is a second data set {name!r}", "rename the folder")
        label_map = _label_map_for(name, classes, config, annotated.label_names)
        dataset_config = config.datasets.get(name)
        ignore_label = annotated.label_names.ignore_label if annotated.label_names else None
        if dataset_config and dataset_config.ignore_label is not None:
            ignore_label = dataset_config.ignore_label
        cases = [replace(case, ignore_label=ignore_label, label_map=label_map) for case in annotated.cases]
        if config.readers == "random":
            own_readers = dataset_config.reader_masks if dataset_config else ()
            cases = with_readers(cases, folder, own_readers or config.reader_masks)
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
                name,
                cases,
                label_map,
                dataset_config or _default_dataset_config(config),
                groups,
                annotated.notes,
            )
        )
    return datasets


def _label_map_for(
    name: str, classes: tuple[ClassInfo, ...], config: TrainingConfig, label_names: LabelNames | None
) -> LabelMap:
    if name in config.datasets:
        if config.datasets[name].several_are_one_class:
            return LabelMap(classes, None, name, several_are_one_class=True)
        if labels := config.datasets[name].labels:
            return LabelMap(classes, labels, name, others_are_background=True)
    elif config.classes and config.datasets:
        raise BadInput(
            name, "has no map of its labels", f"add it to datasets, beside {', '.join(config.datasets)}"
        )
    if label_names is None or not label_names.by_label:
        label_map = LabelMap.for_model(classes)
        return replace(label_map, several_remedy="--classes NAME,NAME learns each label as a class, ")
    if len(classes) == len(label_names.by_label) == 1:  # whatever the two call it, it is the one class
        return LabelMap(classes, dict.fromkeys(label_names.by_label, classes[0].name), name)
    label_map, unknown_labels = label_names.label_map(classes, by_person=False)
    return replace(label_map, name=name, others_are_background=bool(unknown_labels))


def _default_dataset_config(config: TrainingConfig) -> DatasetConfig:
    card = config.card
    return DatasetConfig(name=card.data_name, licence=card.data_licence, reference=card.data_reference)
