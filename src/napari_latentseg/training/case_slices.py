"""The annotated slices of a case at working size: in memory, or in a file where there are too many."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.units import MM_PER_UNIT
from napari_latentseg.data.cases import UNKNOWN_CLASS, Case
from napari_latentseg.data.resize import resize, resize_labels
from napari_latentseg.data.split import difference_hash
from napari_latentseg.errors import BadInput
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.datasets import AnnotatedDataset
from napari_latentseg.training.plane_store import PlaneFile, PlaneStore
from napari_latentseg.training.stored_slices import ClassTable, StoredSlice

__all__ = ["MAX_BYTES_IN_MEMORY", "CaseSlices", "SliceReader"]

MAX_BYTES_IN_MEMORY = 2**30
"""Slices of a training that stay in memory; those of further cases are read from files."""

_FORMAT = 1
_HEADERS = {".mhd", ".nhdr", ".hdr", ".img"}  # formats whose values may be in a second file


@dataclass(frozen=True)
class CaseSlices:
    """The annotated slices of a case.

    Attributes
    ----------
    slices
        In the order of the volume.
    masks_sha256, values_sha256
        Of all their class numbers, and of these with the images.
    likeness_hashes
        The difference hash of each slice at the size of the file; empty where they are not compared.
    """

    slices: list[StoredSlice]
    masks_sha256: str
    values_sha256: str
    likeness_hashes: list[NDArray[np.bool_]]


@dataclass
class SliceReader:
    """Reads the cases of a training one after the other.

    Parameters
    ----------
    config
        Its `preprocess`, `slice_spacing` and `split.likeness_bits` are used.
    store
        Where slices are kept that are too many for memory.
    max_bytes
        Limit of the slices in memory.
    """

    config: TrainingConfig
    store: PlaneStore
    max_bytes: int = MAX_BYTES_IN_MEMORY
    _bytes_in_memory: int = field(init=False, default=0)
    _is_full: bool = field(init=False, default=False)

    def read(self, case: Case, dataset: AnnotatedDataset, table: ClassTable) -> CaseSlices:
        """The annotated slices of a case.

        Raises
        ------
        UnreadableFile
            If the image or the mask cannot be read.
        BadInput
            If they do not fit each other, or the disk is too full.
        """
        key = self._key(case, dataset) if self._is_full else None
        if key is not None and (file := self.store.find(key)) is not None:
            labels = np.array(file.facts["labels"])
            dataset.label_map.check_labels(labels, str(case.mask_source), case.folder_labels)
            case.folder_labels.update(file.facts["labels"])
            case.known_hashes.setdefault("content", file.facts["content"])
            return self._from_file(file, dataset, table)
        values, facts = self._make(case, dataset)
        self._is_full |= self._bytes_in_memory + values.nbytes > self.max_bytes
        if self._is_full and len(values):
            key = key or self._key(case, dataset) or _sha256(facts, values)
            return self._from_file(self.store.write(key, values, facts), dataset, table)
        self._bytes_in_memory += values.nbytes
        plane_readers = [partial(values.__getitem__, i) for i in range(len(values))]
        return _case_slices(facts, plane_readers, values.shape, dataset, table)

    def _from_file(self, file: PlaneFile, dataset: AnnotatedDataset, table: ClassTable) -> CaseSlices:
        plane_readers = [partial(file.read, i) for i in range(file.shape[0])]
        return _case_slices(file.facts, plane_readers, file.shape, dataset, table)

    def _key(self, case: Case, dataset: AnnotatedDataset) -> str | None:
        """All that the slices of a case depend on; None where that is not known without decoding it."""
        files = (case.image_file, case.mask_file, *(reader.mask_file for reader in case.reader_cases))
        if any(file is None or file.suffix.lower() in _HEADERS for file in files):
            return None
        try:
            hashes = [path_sha256(file) for file in files if file is not None]
        except OSError:
            return None
        return _sha256(
            hashes, case.annotated_slices, case.ignore_label, case.unknown_labels, self._rules(dataset)
        )

    def _rules(self, dataset: AnnotatedDataset) -> Any:
        config, label_map = self.config, dataset.label_map
        return [
            _FORMAT,
            config.preprocess.model_dump(mode="json"),
            config.slice_spacing,
            config.detail,
            config.split.likeness_bits is not None,
            dataset.config.every,
            [c.model_dump(mode="json") for c in label_map.classes],
            repr(label_map.labels),
            label_map.others_are_background,
        ]

    def _make(self, case: Case, dataset: AnnotatedDataset) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """All annotated slices `(N, C + 1 + R, h, w)`, see `StoredSlice`, and what is known of them."""
        scan = case.read_scan()
        planes = self.config.preprocess.planes(scan)
        shape = (len(planes), *planes.plane_shape)
        masks = [_read_class_numbers(source, dataset, shape) for source in (case, *case.reader_cases)]
        height, width = self.config.preprocess.working_size(*planes.plane_shape, planes.spacing)
        size = height * self.config.detail, width * self.config.detail
        step = dataset.config.every * _slices_per_step(scan, self.config.slice_spacing)
        # a slice that is not annotated, or not as a whole, is left out
        annotated = [
            i
            for i in range(0, len(planes), step)
            if not any((class_numbers[i] == UNKNOWN_CLASS).any() for class_numbers in masks)
        ]
        channels = planes.channel_count
        values = np.empty((len(annotated), channels + len(masks), *size), np.uint8)
        likeness: list[str] = []
        for slice_values, i in zip(values, annotated, strict=True):
            pixels = np.round(planes.read_channels(i, slice(None), slice(None)) * 255)
            resized = resize(pixels.astype(np.float32), size)
            slice_values[:channels] = resized.round().clip(0, 255).astype(np.uint8)
            for row, class_numbers in enumerate(masks, start=channels):
                slice_values[row] = resize_labels(class_numbers[i], size)
            if self.config.split.likeness_bits is not None:
                rgb = np.repeat(pixels.astype(np.uint8), 3 // channels, axis=0).transpose(1, 2, 0)
                likeness.append(np.packbits(difference_hash(rgb)).tobytes().hex())
        facts = {
            "content": case.content_sha256,
            "labels": sorted(case.folder_labels) if dataset.label_map.labels is None else [],
            "numbers": [np.unique(slice_values[channels]).tolist() for slice_values in values],
            "readers": len(case.reader_cases),
            "masks": _sha256(values[:, channels]),
            "values": _sha256(values),
            "likeness": likeness,
        }
        return values, facts


def _read_class_numbers(case: Case, dataset: AnnotatedDataset, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The mask of a case in class numbers `(N, H, W)`, which must have the shape of its image."""
    class_numbers = case.read_class_numbers(dataset.label_map)
    if class_numbers.shape != shape:
        raise BadInput(
            case.mask_source,
            f"has shape {class_numbers.shape}, its image {shape}",
            "an image and its mask must have the same size",
        )
    return class_numbers


def _slices_per_step(scan: Scan, slice_spacing: float | None) -> int:
    """The step between the slices that are used, so that their distance is about the wanted one."""
    if slice_spacing is None or len(scan.spatial_shape) < 3:
        return 1
    unit = scan.geometry.units[-3]
    if unit not in MM_PER_UNIT:
        return 1
    return max(1, round(slice_spacing / (scan.geometry.spacing[-3] * MM_PER_UNIT[unit])))


def _case_slices(
    facts: dict[str, Any],
    plane_readers: Sequence[Any],
    shape: tuple[int, ...],
    dataset: AnnotatedDataset,
    table: ClassTable,
) -> CaseSlices:
    height, width = shape[-2:]
    slices = [
        StoredSlice(
            read,
            table,
            (3, height, width),
            frozenset(numbers),
            facts["content"],
            dataset.name,
            reader_count=facts["readers"],
        )
        for read, numbers in zip(plane_readers, facts["numbers"], strict=True)
    ]
    return CaseSlices(slices, facts["masks"], facts["values"], list(_unpacked(facts["likeness"])))


def _unpacked(hashes: Sequence[str]) -> Iterator[NDArray[np.bool_]]:
    for text in hashes:
        yield np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).astype(bool)


def _sha256(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(part.tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=repr).encode())
    return digest.hexdigest()
