"""A plain copy of a store as a raw data set of nnU-Net."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_latentseg.annotations.mask_files import MergedMask
from napari_latentseg.annotations.nnunet_dataset import (
    DATASET_JSON,
    IMAGES_FOLDER,
    LABELS_FOLDER,
    NnunetCase,
    dataset_json,
    ignore_label,
)
from napari_latentseg.annotations.nnunet_sync import write_label_file
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.atomic import atomic_folder, check_unused_folder

__all__ = ["export_dataset"]


def export_dataset(
    folder: Path,
    cases: Sequence[NnunetCase],
    classes: Sequence[ClassInfo],
    image_path: Callable[[str], Path],
    merge_case: Callable[[NnunetCase], MergedMask],
) -> Path:
    """Write the data set, whole or not at all.

    Parameters
    ----------
    folder
        To be; must not hold anything.
    cases
        The volumes with approved slices.
    classes
        Of the store.
    image_path
        Gives the path of an image file by its name.
    merge_case
        Gives the mask of a volume.

    Raises
    ------
    BadInput
        If nothing is approved, the folder is taken or cannot be written, or a file here is damaged.
    """
    if not cases:
        raise BadInput("annotations", "nothing is approved yet", "approve at least one slice")
    check_unused_folder(folder)
    try:
        with atomic_folder(folder, is_private=True) as temporary:
            for name in (IMAGES_FOLDER, LABELS_FOLDER):
                (temporary / name).mkdir()
            for case in cases:
                for name, source in case.image_sources.items():
                    _copy(image_path, source, temporary / IMAGES_FOLDER / name)
                path = temporary / LABELS_FOLDER / case.label_file
                write_label_file(path, case, merge_case(case), ignore_label(classes))
            (temporary / DATASET_JSON).write_text(dataset_json(cases, classes), "utf-8")
    except OSError as error:
        raise BadInput(
            folder, f"cannot be written ({error.strerror})", "free some disk space, or choose another folder"
        ) from error
    return folder


def _copy(image_path: Callable[[str], Path], name: str, target: Path) -> None:
    try:
        shutil.copyfile(image_path(name), target)
    except FileNotFoundError:  # another process has just moved it to imagesTr: find it again
        try:
            shutil.copyfile(image_path(name), target)
        except FileNotFoundError as error:
            raise BadInput(name, "is missing in the annotations", "see annotations verify") from error
