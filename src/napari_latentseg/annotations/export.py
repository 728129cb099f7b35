"""A plain copy of a store as a raw data set of nnU-Net."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_latentseg.annotations.dataset import IMAGES, JSON, LABELS, Target, dataset_json, ignore_label
from napari_latentseg.annotations.labels import Merged
from napari_latentseg.annotations.view import write_label
from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.files import atomic_folder, free_folder

__all__ = ["export"]


def export(
    folder: Path,
    found: Sequence[Target],
    classes: Sequence[ClassInfo],
    image: Callable[[str], Path],
    merge_of: Callable[[Target], Merged],
) -> Path:
    """Write the data set, whole or not at all.

    Parameters
    ----------
    folder
        To be; must not hold anything.
    found
        Images with their masks.
    classes
        Of the store.
    image
        Where an image file lies.
    merge_of
        The mask of a target.

    Raises
    ------
    BadInput
        Where nothing is approved, the folder is taken or cannot be written, or a file here is damaged.
    """
    if not found:
        raise BadInput("annotations", "nothing is approved yet", "approve at least one slice")
    free_folder(folder)
    try:
        with atomic_folder(folder) as temporary:
            for name in (IMAGES, LABELS):
                (temporary / name).mkdir()
            for target in found:
                for name in target.images:
                    _copy(image, name, temporary / IMAGES / name)
                path = temporary / LABELS / target.label
                write_label(path, target, merge_of(target), ignore_label(classes))
            (temporary / JSON).write_text(dataset_json(found, classes), "utf-8")
    except OSError as error:
        raise BadInput(
            folder, f"cannot be written ({error.strerror})", "make room, or choose another folder"
        ) from error
    return folder


def _copy(image: Callable[[str], Path], name: str, to: Path) -> None:
    try:
        shutil.copyfile(image(name), to)
    except FileNotFoundError:  # another process has just moved it
        try:
            shutil.copyfile(image(name), to)
        except FileNotFoundError as error:
            raise BadInput(name, "is missing in the annotations", "see annotations verify") from error
