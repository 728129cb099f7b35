"""Bringing the data set that nnU-Net reads up to date with the journal of the annotation store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from napari_latentseg.annotations.case_files import PlaneLayout, write_volume
from napari_latentseg.annotations.durable_io import commit, sync_folder
from napari_latentseg.annotations.mask_files import MergedMask
from napari_latentseg.annotations.nnunet_dataset import (
    DATASET_JSON,
    IMAGES_FOLDER,
    LABELS_FOLDER,
    NnunetCase,
    dataset_json,
    ignore_label,
    read_label_states,
)
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.errors import BadInput

__all__ = ["sync", "write_label_file"]


def sync(
    folder: Path,
    visible_cases: Sequence[NnunetCase],
    hidden_cases: Sequence[NnunetCase],
    classes: Sequence[ClassInfo],
    pending: Path,
    temporary: Callable[[str], Path],
    merge_case: Callable[[NnunetCase], MergedMask],
) -> list[str]:
    """Bring `imagesTr`, `labelsTr` and `dataset.json` up to date. The caller holds the store's write lock.

    Each file is replaced as a whole. `dataset.json`, which records the approvals in each label file, is
    written last: what a killed process has not finished is done again at the next call.

    Parameters
    ----------
    folder
        Folder of the store.
    visible_cases, hidden_cases
        Volumes with approved slices, and those without, which nnU-Net must not see.
    classes
        Classes of the store.
    pending
        Folder of the images without approved slices.
    temporary
        Returns the path of a new temporary file with the given suffix.
    merge_case
        Merges the approved slices of a volume into one mask.

    Returns
    -------
    list of str
        Names of the files that were written, moved or removed.

    Raises
    ------
    BadInput, OSError
        If a file cannot be written, moved or removed.
    """
    images, labels = folder / IMAGES_FOLDER, folder / LABELS_FOLDER
    image_names, label_names = _names(images), _names(labels)
    old_states = read_label_states(folder / DATASET_JSON)
    ignore_value = ignore_label(classes)
    states = {}
    changed = []
    for case in hidden_cases:
        changed += _hide(case, [*case.image_files, *case.hidden_files], images, pending, image_names)
        if case.label_file in label_names:
            (labels / case.label_file).unlink(missing_ok=True)
            changed.append(case.label_file)
    for case in visible_cases:
        changed += _hide(case, case.hidden_files, images, pending, image_names)
        changed += _show(case, images, pending, image_names, temporary)
        label_state = case.label_state(ignore_value)
        current_state = old_states.get(case.name)
        if current_state is None or current_state["of"] != label_state or case.label_file not in label_names:
            try:
                merged = merge_case(case)
            except BadInput:
                # an approved mask is missing or damaged, which `verify` reports; keep the label file as it is
                if current_state is not None:
                    states[case.name] = current_state
                continue
            path = temporary(".nii.gz")
            try:
                current_state = {
                    "of": label_state,
                    "sha256": write_label_file(path, case, merged, ignore_value),
                }
                commit(path, labels / case.label_file)
            finally:
                path.unlink(missing_ok=True)
            changed.append(case.label_file)
        states[case.name] = current_state
    text = dataset_json(visible_cases, classes, states)
    if not (folder / DATASET_JSON).is_file() or (folder / DATASET_JSON).read_text("utf-8") != text:
        path = temporary(".json")
        try:
            path.write_text(text, "utf-8")
            commit(path, folder / DATASET_JSON)
        finally:
            path.unlink(missing_ok=True)
        changed.append(DATASET_JSON)
    return changed


def write_label_file(path: Path, nnunet_case: NnunetCase, merged: MergedMask, ignore_value: int) -> str:
    """Write the label file of a volume; returns its SHA-256.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    case = nnunet_case.case
    layout = PlaneLayout(case.spatial_axes, case.spatial_shape)
    geometry = layout.timepoint_geometry(case.place.geometry, nnunet_case.time)
    return write_volume(path, merged.with_ignore_label(ignore_value), geometry, {}, "mask")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _hide(
    case: NnunetCase, names: Sequence[str], images: Path, pending: Path, image_names: set[str]
) -> list[str]:
    """Take files of an image out of `imagesTr`: those of the store are moved, copies are removed."""
    shown = [name for name in names if name in image_names]
    copies = [name for name in shown if name not in case.case.files]
    for name in copies:
        (images / name).unlink(missing_ok=True)
    return copies + _move(images, pending, [name for name in shown if name in case.case.files])


def _show(
    case: NnunetCase,
    images: Path,
    pending: Path,
    image_names: set[str],
    temporary: Callable[[str], Path],
) -> list[str]:
    """Put the files of an image into `imagesTr`; of a grey one beside images in colour also two copies."""
    missing = {name: source for name, source in case.image_sources.items() if name not in image_names}
    moved = _move(pending, images, [name for name, source in missing.items() if name == source])
    copied = []
    for name, source in missing.items():
        if name != source and (images / source).is_file():
            path = temporary(".nii.gz")
            try:
                shutil.copyfile(images / source, path)
                commit(path, images / name)
            finally:
                path.unlink(missing_ok=True)
            copied.append(name)
    return moved + copied


def _move(source: Path, target: Path, names: Sequence[str]) -> list[str]:
    """Move those of the named files that are in `source`; returns their names."""
    moved_names = [name for name in names if (source / name).is_file()]
    for name in moved_names:
        commit(source / name, target / name)
    if moved_names:
        sync_folder(source)
    return moved_names
