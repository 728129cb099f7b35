"""The slices of a training and its validation, read from folders of annotated images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.cases import Case
from napari_latentseg.data.mask_file import UnreadableFile
from napari_latentseg.data.split import groups_by_hash, groups_by_likeness, hold_out
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.models.split import Split
from napari_latentseg.training.case_slices import MAX_BYTES_IN_MEMORY, CaseSlices, SliceReader
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.datasets import find_datasets
from napari_latentseg.training.mask_checks import check_marked, mask_notes
from napari_latentseg.training.plane_store import PlaneStore
from napari_latentseg.training.stored_slices import ClassTable, TrainingSlice

__all__ = [
    "Dataset",
    "read_dataset",
]


@dataclass(frozen=True)
class Dataset:
    """Training and validation slices.

    Attributes
    ----------
    train, validation
        Slices; those of one image are never in both.
    copies
        How many files hold an image that another file holds too. They are not left out, since another data
        set may have annotated other classes of the same image; all copies are on one side of the split.
    other_masks
        How many of these files have another mask than the first, as of a second reader.
    left_out
        Why the files of an image could not be read, by the name of its case.
    notes
        What was passed over in the folders.
    values_sha256
        Of all slices and masks at working size, in their order.
    store
        The files that hold the slices that are too many for memory; None where there are none.
    """

    train: list[TrainingSlice]
    validation: list[TrainingSlice]
    copies: int = 0
    other_masks: int = 0
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    values_sha256: str = ""
    store: PlaneStore | None = None

    def close(self) -> None:
        """Allow the files of the slices to be removed when space is needed; nothing may be read then."""
        if self.store is not None:
            self.store.close()

    def content_hashes(self) -> dict[str, list[str]]:
        """`Case.content_sha256` of every image, for training and validation."""
        return {
            "train": sorted({s.content_sha256 for s in self.train}),
            "validation": sorted({s.content_sha256 for s in self.validation}),
        }

    def split(self) -> Split:
        """The split, as a model folder records it."""
        keys = self.content_hashes()
        return Split(frozenset(keys["train"]), frozenset(keys["validation"]))


def read_dataset(
    folders: Path | Sequence[Path],
    config: TrainingConfig,
    progress: Callable[[int, int], bool] = lambda done, total: True,
    max_bytes_in_memory: int = MAX_BYTES_IN_MEMORY,
) -> Dataset:
    """Read `images/` and `masks/` of each folder, bring them to working size, and split them.

    Of every folder a part is for validation.

    Parameters
    ----------
    folders
        One or several that hold `images/` and `masks/`.
    config
        Its `preprocess`, `split`, `classes` and `datasets` are used.
    progress
        Called with the number of files read and their total; False stops.
    max_bytes_in_memory
        Slices of further cases are written to files, and read again when they are needed.

    Raises
    ------
    BadInput
        If a folder is incomplete, an image and its mask differ in size, or every mask is empty or marks the
        whole image.
    Cancelled
        If `progress` said so.
    """
    store = PlaneStore()
    try:
        return _read(folders, config, progress, SliceReader(config, store, max_bytes_in_memory))
    except BaseException:
        store.close()
        raise


@dataclass
class _ReadSlices:
    """What was read of all data sets; the lists have one entry a slice.

    Attributes
    ----------
    groups
        Slices of one group are all on one side of the split.
    parts
        ``"train"`` or ``"validation"`` where the data set comes with lists.
    left_out
        Why a case could not be read, by its name.
    masks_of_image
        The digest of each mask of an image, by the digest of the image.
    marked_whole
        The names of the cases whose masks mark the whole image.
    digest
        Of all values, in their order.
    """

    slices: list[TrainingSlice] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    parts: list[str | None] = field(default_factory=list)
    likeness_hashes: list[NDArray[np.bool_]] = field(default_factory=list)
    left_out: dict[str, BadInput] = field(default_factory=dict)
    masks_of_image: dict[str, list[str]] = field(default_factory=dict)
    marked_whole: list[str] = field(default_factory=list)
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def add(self, case: CaseSlices, source: Case, group: str, part: str | None) -> None:
        """Add the slices of a case."""
        count = len(case.slices)
        self.slices += case.slices
        self.groups += [group] * count
        self.parts += [part] * count
        self.likeness_hashes += case.likeness_hashes
        if count:
            self.masks_of_image.setdefault(source.content_sha256, []).append(case.masks_sha256)
            if all(s.uniform for s in case.slices):
                self.marked_whole.append(source.name)


def _read(
    folders: Path | Sequence[Path],
    config: TrainingConfig,
    progress: Callable[[int, int], bool],
    reader: SliceReader,
) -> Dataset:
    datasets = find_datasets([folders] if isinstance(folders, Path) else folders, config)
    total, done = sum(len(dataset.cases) for dataset in datasets), 0
    found = _ReadSlices()
    for dataset in datasets:
        first_index = len(found.slices)
        table = ClassTable(dataset.label_map)
        dataset_parts: list[str] | list[None] = dataset.parts or [None] * len(dataset.cases)
        for case, group, part in zip(dataset.cases, dataset.groups, dataset_parts, strict=True):
            try:
                case_slices = reader.read(case, dataset, table)
            except UnreadableFile as error:
                found.left_out[case.name] = error
            else:
                found.add(case_slices, case, group, part)
                values = f"{dataset.name}/{case_slices.values_sha256}/{table.annotated}\n"
                found.digest.update(values.encode())
            done += 1
            if not progress(done, total):
                raise Cancelled
        check_marked(dataset, found.slices[first_index:], found.left_out)
    is_validation, notes = _is_validation(found, config)
    slices = found.slices
    return Dataset(
        [s for s, held_out in zip(slices, is_validation, strict=True) if not held_out],
        [s for s, held_out in zip(slices, is_validation, strict=True) if held_out],
        sum(len(masks) - 1 for masks in found.masks_of_image.values()),
        sum(len(set(masks)) - 1 for masks in found.masks_of_image.values()),
        {name: str(error) for name, error in found.left_out.items()},
        (
            *(note for dataset in datasets for note in dataset.notes),
            *mask_notes(found.marked_whole, found.masks_of_image),
            *notes,
        ),
        found.digest.hexdigest(),
        reader.store,
    )


def _is_validation(found: _ReadSlices, config: TrainingConfig) -> tuple[list[bool], list[str]]:
    """Whether each slice is for validation, and notes on the split."""
    slices, groups, notes = found.slices, found.groups, []
    if any(part is not None for part in found.parts):  # lists are followed to the letter, copies or not
        is_validation = [part == "validation" for part in found.parts]
        notes = _copies_across(slices, is_validation)
    else:
        groups = groups_by_hash(groups, [s.content_sha256 for s in slices])
        if config.split.likeness_bits is not None:
            groups = groups_by_likeness(found.likeness_hashes, groups, config.split.likeness_bits)
        validation_groups = _validation_groups(slices, groups, config)
        is_validation = [group in validation_groups for group in groups]
    if all(is_validation) or not any(is_validation):
        raise BadInput("data", "holds images of one part alone", "give the folder that the lists are of")
    return is_validation, notes


def _copies_across(slices: Sequence[TrainingSlice], is_validation: Sequence[bool]) -> list[str]:
    """A note on images that the lists have among training and validation images, under two names."""
    trained, validated = (
        {s.content_sha256 for s, held_out in zip(slices, is_validation, strict=True) if held_out is part}
        for part in (False, True)
    )
    if not (count := len(trained & validated)):
        return []
    return [f"{count} validation images of the lists are training images too, under other names"]


def _validation_groups(slices: list[TrainingSlice], groups: list[str], config: TrainingConfig) -> set[str]:
    """The groups for validation: of each data set the fraction, and their images in the other data sets."""
    validation_groups: set[str] = set()
    for name in dict.fromkeys(s.dataset for s in slices):
        dataset_groups = [group for s, group in zip(slices, groups, strict=True) if s.dataset == name]
        is_held_out = hold_out(dataset_groups, config.split.fraction, config.split.seed)
        validation_groups |= {
            group for group, is_validation in zip(dataset_groups, is_held_out, strict=True) if is_validation
        }
    return validation_groups
