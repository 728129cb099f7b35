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
from napari_latentseg.models.layout import SPLIT_FILE
from napari_latentseg.models.split import read_split
from napari_latentseg.training.config import SplitConfig, TrainingConfig
from napari_latentseg.training.dataset_config import DatasetConfig
from napari_latentseg.training.split_lists import ListPart, read_split_lists

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
    parts
        Of each case ``"train"`` or ``"validation"``, where lists say it; None where validation images are
        still to be chosen among all.
    """

    name: str
    cases: list[Case]
    label_map: LabelMap
    config: DatasetConfig
    groups: list[str]
    notes: tuple[str, ...] = ()
    parts: list[str] | None = None

    def without(self, names: Collection[str]) -> AnnotatedDataset:
        """The same data set without the cases of these names."""
        kept = [i for i, case in enumerate(self.cases) if case.name not in names]
        return self._with_cases(kept)

    def _with_cases(self, indices: Sequence[int]) -> AnnotatedDataset:
        """The same data set with some of its cases."""
        cases, groups, parts = self.cases, self.groups, self.parts
        return replace(
            self,
            cases=[cases[i] for i in indices],
            groups=[groups[i] for i in indices],
            parts=None if parts is None else [parts[i] for i in indices],
        )


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
                    f"classes, {c.name}",
                    f"includes {included_name!r}, which is not another class",
                    "correct it",
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
        If a folder is incomplete, two have the same name, the classes of a label are not known, a reader's
        mask is missing, or a list names images that are not there.
    """
    classes = class_infos(config)
    datasets: list[AnnotatedDataset] = []
    for number, folder in enumerate(folders):
        if folder.resolve() in {other.resolve() for other in folders[:number]}:
            raise BadInput(folder, "is given twice", "give each folder once")
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
    if config.split.of_model:
        return _of_model(datasets, Path(config.split.of_model))
    return _listed(datasets, config.split) if config.split.lists else datasets


def _listed(datasets: list[AnnotatedDataset], split: SplitConfig) -> list[AnnotatedDataset]:
    """The data sets with the cases that the lists give to training and validation."""
    lists = read_split_lists([Path(path) for path in split.lists])
    if lists.has(""):
        remedy = "call the files train.txt, validation.txt and test.txt"
        raise BadInput(lists.subject, "does not say which images are for training", remedy)
    needed: list[ListPart] = ["train", "test"] if split.select_on == "test" else ["train"]
    for part in needed:
        if not lists.has(part):
            raise BadInput(lists.subject, f"has no list of {part} images", "give one that has")
    parts = lists.part_of_each(
        [case for dataset in datasets for case in dataset.cases],
        [dataset.name for dataset in datasets for _ in dataset.cases],
    )
    # where the weights are selected on the test images, these are the validation images of the training
    role_of: dict[ListPart | None, str] = {"train": "train", split.select_on: "validation"}
    has_validation = lists.has(split.select_on)
    listed = []
    for dataset in datasets:
        own_parts, parts = parts[: len(dataset.cases)], parts[len(dataset.cases) :]
        kept = [i for i, part in enumerate(own_parts) if part in role_of]
        if not kept:
            why = f"names no image of {dataset.name} for training or validation"
            raise BadInput(lists.subject, why, "leave out this folder, or list its images")
        roles = [role_of[own_parts[i]] for i in kept]
        notes = list(dataset.notes)
        if unused := own_parts.count(None):
            notes.append(f"{unused} images of {dataset.name} are in no list and are not used")
        if split.select_on == "test":
            notes.append(
                f"the weights are selected on the {roles.count('validation')} images of the test list of"
                f" {dataset.name}, so that their score is not a test result"
            )
        elif kept_out := sum(part == "test" for part in own_parts):
            notes.append(f"{kept_out} images of {dataset.name} are in the test list and are not used")
        chosen = dataset._with_cases(kept)
        listed.append(replace(chosen, parts=roles if has_validation else None, notes=tuple(notes)))
    return listed


def _of_model(datasets: list[AnnotatedDataset], folder: Path) -> list[AnnotatedDataset]:
    """The data sets with the images that a model was trained and validated on, each in its part.

    Raises
    ------
    BadInput
        If the model does not say which images these were, or some of them are not in the data sets.
    """
    split = read_split(folder)
    if not split.is_known:
        why = f"has no {SPLIT_FILE}, which says what it was trained on"
        raise BadInput(folder, why, "give another model")
    earlier = split.earlier_train | split.earlier_validation
    chosen, missing = [], set(split.train | split.validation | earlier)
    for dataset in datasets:
        parts = [split.part_of(case) for case in dataset.cases]
        kept = [i for i, part in enumerate(parts) if part]
        for i in kept:
            missing -= {dataset.cases[i].content_sha256, dataset.cases[i].file_sha256 if earlier else None}
        notes = list(dataset.notes)
        if unused := parts.count(""):
            notes.append(f"{unused} images of {dataset.name} were not in the training and are not used")
        own = dataset._with_cases(kept)
        chosen.append(replace(own, parts=[parts[i] for i in kept], notes=tuple(notes)))
    if missing:
        raise BadInput(
            "data",
            f"lacks {len(missing)} of {len(split)} images that {folder.name} was trained and validated on",
            "give the folders that it was trained on",
        )
    return chosen


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
