"""What is known of the results and masks of cases, without reading an image."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.core.classes import ClassInfo, class_descendants
from napari_latentseg.core.record import RunRecord
from napari_latentseg.errors import BadInput
from napari_latentseg.io.earlier_results import read_record
from napari_latentseg.io.find_scans import is_image_file
from napari_latentseg.io.registry import stem_of
from napari_latentseg.io.result_names import RECORD_NAME
from napari_latentseg.measure import Measurement
from napari_latentseg.measure.interval_basis import IntervalBasis
from napari_latentseg.measure.size_interval import size_interval

__all__ = ["ResultIndex", "classes_of_result", "sizes_of_record"]

_MASK_FOLDER = re.compile(r"masks?|labels(tr|ts|val)?|segmentations?", re.IGNORECASE)
_IMAGE_FOLDER = re.compile(r"images(tr|ts|val)?", re.IGNORECASE)
_MASK_STEM = re.compile(r"(.+?)[ _-](?:mask|seg|segmentation|label|labels|gt)", re.IGNORECASE)
_CHANNEL_STEM = re.compile(r"(.+)_\d{4}")  # of nnU-Net
_MIN_SAMPLES = 3  # for an interval


@dataclass
class ResultIndex:
    """The records of results and the masks in some folders, by the name of their image.

    Attributes
    ----------
    records
        Paths of records by the stem of the image in small letters; of two, the first in the order of folders.
    masks
        Masks without a record, in the same way.
    """

    records: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def of_folders(cls, images: Path, results: Path | None) -> ResultIndex:
        """Look through the folder of results, or that of the images where none is given; opens no file.

        Parameters
        ----------
        images
            The folder of the images; masks lie in `masks/` or `labelsTr/` beside `images/`, or beside the
            images as ``NAME_mask``.
        results
            A folder of results, or of masks with the names of their images.

        Raises
        ------
        BadInput
            If a folder cannot be read.
        """
        index = cls()
        for root in dict.fromkeys([results or images, *_mask_folders_beside(images)]):
            for folder, files in _walk(root):
                is_mask_folder = root != images or bool(_MASK_FOLDER.fullmatch(folder.name))
                index._add_folder(folder, files, are_masks=is_mask_folder)
        return index

    def _add_folder(self, folder: Path, files: list[str], *, are_masks: bool) -> None:
        prefixes = {name.removesuffix(RECORD_NAME) for name in files if name.endswith(f"_{RECORD_NAME}")}
        for prefix in sorted(prefixes):
            self.records.setdefault(_key(prefix.removesuffix("_")), folder / f"{prefix}{RECORD_NAME}")
        stems = {_key(stem_of(Path(name))) for name in files}
        for name in files:
            path = folder / name
            stem = stem_of(path)
            match = _MASK_STEM.fullmatch(stem)
            image = match.group(1) if match is not None else stem
            is_mask = are_masks or (match is not None and _key(image) in stems)
            if is_mask and not _is_of_result(name, prefixes) and is_image_file(path):
                self.masks.setdefault(_key(stem if are_masks else image), path)
                if are_masks and match is not None:
                    self.masks.setdefault(_key(image), path)

    def record_of(self, case: BatchCase) -> Path | None:
        """The record of the result of a case."""
        return next((self.records[key] for key in _keys(case) if key in self.records), None)

    def mask_of(self, case: BatchCase) -> Path | None:
        """The mask of a case that has no record."""
        masks = (self.masks.get(key) for key in _keys(case))
        return next((mask for mask in masks if mask is not None and mask.absolute() != case.path), None)


def _is_of_result(name: str, prefixes: set[str]) -> bool:
    """Whether a file is called as those of a result are: a prefix that ends in an underscore, and a kind."""
    return any(name[: place + 1] in prefixes for place, letter in enumerate(name) if letter == "_")


def _key(name: str) -> str:
    """A name as it is compared: in small letters, umlauts composed, which macOS takes apart."""
    return unicodedata.normalize("NFC", name).lower()


def _keys(case: BatchCase) -> list[str]:
    """What a result or mask of a case may be called: like its file, like the case, or without a channel."""
    stem = _key(stem_of(case.path))
    channel = _CHANNEL_STEM.fullmatch(stem)
    return [stem, _key(case.name), *([channel.group(1)] if channel is not None else [])]


def _mask_folders_beside(images: Path) -> list[Path]:
    """`masks/` beside `images/`, where the latter was given."""
    parent = images.absolute().parent
    if not _IMAGE_FOLDER.fullmatch(images.absolute().name):
        return []
    try:
        return sorted(
            Path(entry.path)
            for entry in os.scandir(parent)
            if entry.is_dir() and _MASK_FOLDER.fullmatch(entry.name)
        )
    except OSError:  # the images may lie where their parent cannot be listed
        return []


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folders below one with the names of their visible files; hidden folders are not entered."""

    def refuse(error: OSError) -> None:
        raise BadInput(
            error.filename or root, f"cannot be read ({error.strerror})", "check the permission to read it"
        ) from error

    for parent, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(parent), sorted(name for name in files if not name.startswith("."))


def sizes_of_record(path: Path) -> tuple[tuple[Measurement, ...], str, float | None]:
    """Sizes, fit and lowest expected Dice as a record has them; nothing where it cannot be read.

    The size is the median over the samples, since a record does not hold that of the mask.
    """
    try:
        record = read_record(path)
    except BadInput:
        return (), "", None
    estimates = [estimate.expected for estimate in record.expected_dice.values()]
    fit = record.fit.state if record.fit is not None else ""
    return _sizes(record), fit, min(estimates, default=None)


def _sizes(record: RunRecord) -> tuple[Measurement, ...]:
    if "t" in record.input.axes:  # one number for all time points would say nothing
        return ()
    sizes = []
    parts = class_descendants(record.classes)
    for info, indices in zip(record.classes, parts, strict=True):
        name, volumes = info.name, record.volumes.get(info.name)
        if not volumes:
            continue
        included = [record.volumes.get(record.classes[i].name) or [0.0] for i in sorted(indices)]
        samples = np.sum([np.asarray(v, dtype=np.float64) for v in (volumes, *included)], axis=0)
        size = float(np.median(samples))
        low = high = None
        if len(samples) >= _MIN_SAMPLES:
            basis = IntervalBasis("samples", (), None, len(samples))
            low, high, _ = size_interval(samples, size, basis, name)
        sizes.append(
            Measurement(
                name, 0, 0, None, size, record.volume_unit, "",
                samples=len(samples), low=low, high=high,
                interval_source="" if high is None else "samples",
            )
        )  # fmt: skip
    return tuple(sizes)


def classes_of_result(result: Path | None) -> tuple[ClassInfo, ...] | None:
    """The classes of a result and those that a person added; None without a record."""
    if result is None or not result.name.endswith(RECORD_NAME):
        return None
    record = read_record(result)
    return (*record.classes, *record.added_classes)
