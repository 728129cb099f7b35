"""Every folder of annotated images, annotation stores among them, as cases for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_latentseg.annotations.directory import JOURNAL_FILE
from napari_latentseg.annotations.nnunet_dataset import COLOR_CHANNEL_COUNTS
from napari_latentseg.annotations.store import AnnotationStore
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.data.cases import Case
from napari_latentseg.data.folders import AnnotatedFolder, find_annotated
from napari_latentseg.data.label_names import LabelNames
from napari_latentseg.errors import BadInput

__all__ = ["cases_for_classes", "check_annotated_folders", "read_annotated_folder"]


def read_annotated_folder(folder: Path) -> AnnotatedFolder:
    """The annotated images of a folder of any kind; no image is decoded.

    Parameters
    ----------
    folder
        As `find_annotated` takes it, or an `AnnotationStore`.

    Raises
    ------
    BadInput
        If it is none of these, or nothing in it is approved.
    """
    if not (folder / JOURNAL_FILE).is_file():
        return find_annotated(folder)
    with AnnotationStore(folder) as store:
        cases, classes, records = store.annotated_cases(), store.classes, store.case_records()
    if not cases:
        raise BadInput(folder, "no slice is approved", "approve at least one")
    if records[0].channels not in COLOR_CHANNEL_COUNTS:  # the others of a store are alike then
        raise BadInput(folder, "its images have several channels", "give images of one channel, or in RGB")
    names = LabelNames({c.label: c.name for c in classes}, source=str(folder))
    return AnnotatedFolder(folder, cases, names)


def check_annotated_folders(folders: Sequence[Path]) -> None:
    """Refuse folders without annotated images, before anything slow such as importing torch.

    Raises
    ------
    BadInput
        As `read_annotated_folder`, or if there is no folder.
    """
    if not folders:
        raise BadInput("data", "is missing", "give a folder of annotated images")
    for folder in folders:
        read_annotated_folder(folder)


def cases_for_classes(
    annotated: AnnotatedFolder, classes: Sequence[ClassInfo], label_names: LabelNames | None = None
) -> list[Case]:
    """The cases of a folder, with what their labels mean for a model.

    Parameters
    ----------
    annotated
        From `read_annotated_folder`.
    classes
        Of the model.
    label_names
        What the labels mean, where a person says it; None for what the folder says, else the model's own.

    Returns
    -------
    list of Case
        Without a `label_map` where nothing says what the labels mean.

    Raises
    ------
    BadInput
        If no label is a class of the model.
    """
    names = label_names or annotated.label_names
    if names is None:
        return annotated.cases
    label_map, unknown_labels = names.label_map(tuple(classes), by_person=label_names is not None)
    return [
        replace(case, label_map=label_map, unknown_labels=unknown_labels, ignore_label=names.ignore_label)
        for case in annotated.cases
    ]
