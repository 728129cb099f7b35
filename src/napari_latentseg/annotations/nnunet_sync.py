"""Bringing the data set that nnU-Net reads up to date with the journal of the annotation store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from napari_latentseg.annotations.case_files import PlaneLayout, write_volume
from napari_latentseg.annotations.durable_io import commit, sync_folder
from napari_latentseg.annotations.mask_files import MergedMask
from napari_latentseg.annotations.nnunet_dataset import (
    DATASET_JSON,
    IMAGES_FOLDER,
    LABELS_FOLDER,
    NnunetCase,
    dataset_channels,
    dataset_json,
    ignore_label,
    label_states,
    read_dataset_json,
    timepoint_cases,
)
from napari_latentseg.annotations.store_index import StoreIndex
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.errors import BadInput

__all__ = ["NnunetSync", "write_label_file"]


_FEW_CASES = 20  # for more, listing a folder is quicker than asking for each file


class _Volumes(NamedTuple):
    """The volumes of an image: those with approved slices, and the others."""

    name: str
    visible: list[NnunetCase]
    hidden: list[NnunetCase]


class NnunetSync:
    """Brings `imagesTr`, `labelsTr` and `dataset.json` up to date with the journal.

    The first call looks at every image; the later ones only at those that the journal has new lines for,
    unless something has changed that all files depend on.

    Parameters
    ----------
    folder
        Folder of the store.
    pending
        Folder of the images without approved slices.
    """

    def __init__(self, folder: Path, pending: Path) -> None:
        self._folder = folder
        self._pending = pending
        self._visible: dict[str, list[NnunetCase]] = {}  # the volumes with approved slices, by image
        self._states: dict[str, dict[str, str]] = {}  # as they are in dataset.json
        self._shared: tuple[object, ...] | None = None  # what all files depend on; None: look at every image

    def update(
        self,
        index: StoreIndex,
        temporary: Callable[[str], Path],
        merge_case: Callable[[NnunetCase], MergedMask],
    ) -> list[str]:
        """Write what is behind. The caller holds the store's write lock.

        Each file is replaced as a whole. `dataset.json`, which records the approvals in each label file, is
        written last: what a killed process has not finished is done again at the next call.

        Parameters
        ----------
        index
            Of the store, up to date.
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
        records, changed_cases = index.cases, index.take_changed_cases()
        channels = dataset_channels(index.approved_channels())
        shared = (channels, index.classes, _identity(self._folder / DATASET_JSON))
        is_partial = changed_cases is not None and self._shared == shared
        self._shared = None  # after a failure, the next call looks at every image
        if not records:
            return []
        content = None
        if not is_partial:
            content = read_dataset_json(self._folder / DATASET_JSON)
            self._states, self._visible = label_states(content), {}
            changed_cases = set(records)
        changed = self._sync_files(
            [
                _Volumes(name, *timepoint_cases(record, index.approvals_of(name), channels))
                for name, record in records.items()
                if name in (changed_cases or ())
            ],
            ignore_label(index.classes),
            temporary,
            merge_case,
        )
        # in the order of the images, which a case that has been hidden for a while would have left
        self._visible = {name: self._visible[name] for name in records if name in self._visible}
        changed += self._write_dataset_json(index.classes, content, temporary)
        self._shared = (*shared[:-1], _identity(self._folder / DATASET_JSON))
        return changed

    def _sync_files(
        self,
        cases: Sequence[_Volumes],
        ignore_value: int,
        temporary: Callable[[str], Path],
        merge_case: Callable[[NnunetCase], MergedMask],
    ) -> list[str]:
        """Bring the images and labels of some images up to date, and what is known of them."""
        images, labels = self._folder / IMAGES_FOLDER, self._folder / LABELS_FOLDER
        image_names, label_names = _names(images, cases), _names(labels, cases)
        old_states = self._states
        changed = []
        for _, _, hidden in cases:
            for case in hidden:
                changed += _hide(
                    case, [*case.image_files, *case.hidden_files], images, self._pending, image_names
                )
                if case.label_file in label_names:
                    (labels / case.label_file).unlink(missing_ok=True)
                    changed.append(case.label_file)
                self._states.pop(case.name, None)
        for name, visible, _ in cases:
            self._visible[name] = visible
            for case in visible:
                changed += _hide(case, case.hidden_files, images, self._pending, image_names)
                changed += _show(case, images, self._pending, image_names, temporary)
                label_state = case.label_state(ignore_value)
                state = old_states.get(case.name)
                if state is not None and state["of"] == label_state and case.label_file in label_names:
                    continue
                try:
                    merged = merge_case(case)
                except BadInput:
                    # an approved mask is missing or damaged, which `verify` reports: keep the label file
                    continue
                path = temporary(".nii.gz")
                try:
                    sha256 = write_label_file(path, case, merged, ignore_value)
                    commit(path, labels / case.label_file)
                finally:
                    path.unlink(missing_ok=True)
                self._states[case.name] = {"of": label_state, "sha256": sha256}
                changed.append(case.label_file)
        return changed

    def _write_dataset_json(
        self, classes: Sequence[ClassInfo], content: object, temporary: Callable[[str], Path]
    ) -> list[str]:
        """Write `dataset.json` unless it holds the same; `content` is what it holds, where that is known."""
        path = self._folder / DATASET_JSON
        visible = [case for cases in self._visible.values() for case in cases]
        self._states = {case.name: self._states[case.name] for case in visible if case.name in self._states}
        text = dataset_json(visible, classes, self._states)
        if content is not None and json.loads(text) == content:
            return []
        part = temporary(".json")
        try:
            part.write_text(text, "utf-8")
            commit(part, path)
        finally:
            part.unlink(missing_ok=True)
        return [DATASET_JSON]


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Changes when a file is written again."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


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


def _names(folder: Path, cases: Sequence[_Volumes]) -> set[str]:
    """Which files of these images a folder holds, and of many images, which other files too."""
    if len(cases) > _FEW_CASES:
        return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names = [
        name
        for volumes in cases
        for case in (*volumes.visible, *volumes.hidden)
        for name in (*case.image_files, *case.hidden_files, case.label_file)
    ]
    return {name for name in names if (folder / name).exists()}


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
