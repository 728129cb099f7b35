"""A case: an image with its mask, from a folder or an annotation store to training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.mask_file import UnreadableFile, read_mask_file, turned_to_image
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan, read_scan_lazy
from napari_latentseg.utils.weights import file_sha256

__all__ = ["UNKNOWN_CLASS", "Case", "rgb_slices"]

UNKNOWN_CLASS = 255
"""In class numbers, voxels of a class that the model does not know; no class has this number."""


@dataclass(frozen=True, eq=False)
class Case:
    """One image with its mask, known by the content of the image; both are read when they are asked for.

    This is the one type for an image with its mask, wherever they come from and whoever uses them: training,
    fine-tuning, `evaluate`, `calibrate` and the annotation store.

    Parameters
    ----------
    name
        The stem of the image's file, or the name in an annotation store. It may be a patient's: splits and
        records hold `content_sha256` instead.
    scan_reader
        Decodes the image.
    mask_reader
        Of a case without a mask file, decodes the mask: labels as the source numbers them, `(N, H, W)`, slice
        by slice in the order of `Planes`.
    image_file, mask_file
        None for a case of an annotation store, which has a file for each time and channel.
    reader_mask_files
        Masks of the same image by several readers, one file each, beside `mask_file`; empty where they are
        not asked for. See `napari_latentseg.data.readers`.
    annotated_slices
        The slices of which the mask is right, from 0; the others say nothing, which is not the same as
        background. None for all of them.
    label_map
        What the labels mean for a model; None where only the reader of the case can tell.
    ignore_label
        The label of voxels that nobody annotated, as nnU-Net has it: a slice that holds it does not count.
    unknown_labels
        The names of classes that the model does not know, by label. Their voxels say nothing: they are
        neither background nor a class of the model.
    copies
        How many times more the same image was given.
    copy_names
        What messages call these copies, and whether the mask of each is another one.
    folder_labels
        The labels that were found in the masks of its folder so far; all cases of the folder share them. For
        a model of one class they must be one label, in all masks together.
    known_hashes
        `content_sha256` under ``"content"`` and `file_sha256` under ``"file"``, once they are known. What
        `dataclasses.replace` makes of a case shares it, so that no image is decoded twice for its hash.
    """

    name: str
    scan_reader: Callable[[], Scan] = field(repr=False)
    mask_reader: Callable[[], NDArray[Any]] | None = field(default=None, repr=False)
    image_file: Path | None = None
    mask_file: Path | None = None
    annotated_slices: tuple[int, ...] | None = None
    label_map: LabelMap | None = None
    ignore_label: int | None = None
    unknown_labels: Mapping[int, str] = field(default_factory=dict)
    copies: int = 0
    copy_names: tuple[tuple[str, bool], ...] = ()
    folder_labels: set[int] = field(default_factory=set, repr=False)
    known_hashes: dict[str, str] = field(default_factory=dict, repr=False)
    reader_mask_files: tuple[Path, ...] = ()

    @classmethod
    def from_files(
        cls,
        name: str,
        image_file: Path,
        mask_file: Path,
        *,
        label_map: LabelMap | None = None,
        ignore_label: int | None = None,
    ) -> Case:
        """The case of an image file and a mask file; neither is opened yet.

        Parameters
        ----------
        name, image_file, mask_file, label_map, ignore_label
            See `Case`.
        """
        return cls(
            name,
            lambda: read_scan(image_file),
            image_file=image_file,
            mask_file=mask_file,
            label_map=label_map,
            ignore_label=ignore_label,
        )

    @property
    def reader_cases(self) -> list[Case]:
        """The same image with the mask of each reader; see `reader_mask_files`."""
        return [replace(self, mask_file=path, reader_mask_files=()) for path in self.reader_mask_files]

    def read_scan(self) -> Scan:
        """The image, decoded; `content_sha256` is known afterwards.

        Raises
        ------
        UnreadableFile
            If it cannot be read.
        """
        try:
            scan = self.scan_reader()
        except BadInput as error:
            raise UnreadableFile.of(error) from error
        if "content" not in self.known_hashes:
            self.known_hashes["content"] = scan.content_sha256
        return scan

    def read_mask(self, known_labels: Collection[int] | None = None) -> NDArray[Any]:
        """The mask with the labels of its source, uint8 or int32 `(N, H, W)`, index on index with the image.

        Parameters
        ----------
        known_labels
            The labels that it may hold; None where it is of one class. See `read_mask_file`.

        Raises
        ------
        UnreadableFile
            If it cannot be read.
        BadInput
            If it holds what is not a label, or lies elsewhere than its image.
        """
        if self.mask_file is None:
            assert self.mask_reader is not None
            return self.mask_reader()
        mask = read_mask_file(self.mask_file, known_labels)
        labels = mask.labels
        if mask.geometry.frame:
            labels = turned_to_image(mask, self._image_header(), str(self.mask_file))
        return labels.reshape(-1, *labels.shape[-2:])

    def _image_header(self) -> Scan:
        """The image with its geometry and shape; its values need not be read."""
        if self.image_file is None:
            return self.read_scan()
        try:
            return read_scan_lazy(self.image_file)
        except BadInput as error:
            raise UnreadableFile.of(error) from error

    @property
    def content_sha256(self) -> str:
        """`Scan.content_sha256` of the image, which is decoded for it unless it was read before.

        Raises
        ------
        BadInput
            If the image cannot be read.
        """
        if "content" not in self.known_hashes:
            self.read_scan()
        return self.known_hashes["content"]

    @property
    def file_sha256(self) -> str | None:
        """SHA-256 of the image's file, by which splits of format 1 know it; None for a store's case.

        Raises
        ------
        BadInput
            If the file cannot be read.
        """
        if self.image_file is None:
            return None
        if "file" not in self.known_hashes:
            self.known_hashes["file"] = file_sha256(self.image_file)
        return self.known_hashes["file"]

    @property
    def split_key(self) -> str:
        """What a split is drawn by, together with the seed.

        The hash of the file where there is one, so that a seed keeps the same images for validation as in
        versions that knew an image by its file.
        """
        return self.file_sha256 or self.content_sha256

    @property
    def file_name(self) -> str:
        """What a message calls the image: the name of its file, or of the case of the store."""
        return self.name if self.image_file is None else self.image_file.name

    @property
    def mask_source(self) -> Path | str:
        """What a message calls the mask: its file, or the case of the store."""
        return self.name if self.mask_file is None else self.mask_file

    @property
    def mask_name(self) -> str:
        """What a message calls the mask: the name of its file, or of the case of the store."""
        return self.name if self.mask_file is None else self.mask_file.name

    @property
    def dataset_name(self) -> str:
        """The name of the folder that holds `images/` and `masks/`; empty for a case of a store."""
        return "" if self.mask_file is None else self.mask_file.absolute().parent.parent.name

    def read_class_numbers(self, label_map: LabelMap) -> NDArray[np.uint8]:
        """The mask in the class numbers of a model, uint8 `(N, H, W)`; 0 is not a class.

        Parameters
        ----------
        label_map
            What the labels mean.

        Returns
        -------
        ndarray
            From 1 in the order of `LabelMap.classes`. `UNKNOWN_CLASS` where nothing is known: in slices that
            are not annotated, at the ignore label, and at classes that the model does not know.

        Raises
        ------
        UnreadableFile
            If the mask cannot be read.
        BadInput
            If it holds a label without a meaning, lies elsewhere than its image, or cannot be split into the
            patient's right and left.
        """
        class_numbers, ignored = self._read_numbers(label_map)
        if ignored is not None:
            class_numbers[ignored] = UNKNOWN_CLASS
        if self.annotated_slices is not None:
            is_unannotated = np.ones(len(class_numbers), bool)
            is_unannotated[list(self.annotated_slices)] = False
            class_numbers[is_unannotated] = UNKNOWN_CLASS
        return class_numbers

    def _read_numbers(self, label_map: LabelMap) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """The class numbers, with unknown classes marked, and where the ignore label is."""
        known_labels = label_map.known_labels
        if known_labels is not None:
            known_labels |= set(self.unknown_labels)
            known_labels |= set() if self.ignore_label is None else {self.ignore_label}
        labels = self.read_mask(known_labels)
        ignored = None if self.ignore_label is None else labels == self.ignore_label
        is_unknown = np.isin(labels, list(self.unknown_labels)) if self.unknown_labels else None
        for marked in (ignored, is_unknown):
            if marked is not None:
                labels = np.where(marked, 0, labels)
        label_map.check_labels(labels, str(self.mask_source), self.folder_labels)
        self.folder_labels.update(set(np.unique(labels).tolist()) - {0})
        if label_map.has_lateralized:
            image = self._image_header()
            volume = labels.reshape(image.spatial_shape)
            class_numbers = label_map.to_class_numbers(volume, image.geometry).reshape(labels.shape)
        else:
            class_numbers = label_map.to_class_numbers(labels)
        if is_unknown is not None:
            class_numbers[is_unknown] = UNKNOWN_CLASS
        return class_numbers, ignored

    def read_annotation(self, scan: Scan) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
        """The mask in the class numbers of the model, checked against the image and the model's classes.

        Parameters
        ----------
        scan
            The image, from `read_scan`.

        Returns
        -------
        class_numbers
            uint8 `(N, H, W)`, from 1 in the order of the model's classes; 0 is none, `UNKNOWN_CLASS` a class
            that the model does not know.
        annotated_slices
            The slices that count.

        Raises
        ------
        BadInput
            If the mask lies elsewhere than the image, has another size, or a label that the model does
            not know.
        """
        assert self.label_map is not None
        class_numbers, ignored = self._read_numbers(self.label_map)
        planes = Planes(scan, 0.0, 1.0)  # for its shape alone, so the range of values does not matter
        expected_shape = (len(planes), *planes.plane_shape)
        if class_numbers.shape != expected_shape:
            why = f"has shape {class_numbers.shape}, its image {expected_shape}"
            raise BadInput(self.mask_source, why, "make them equal")
        annotated: Sequence[int] = range(len(class_numbers))
        if self.annotated_slices is not None:
            annotated = self.annotated_slices
        if ignored is not None:
            annotated = [i for i in annotated if not ignored[i].any()]
        return class_numbers, tuple(annotated)


def rgb_slices(scan: Scan, window: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """All slices of an image as RGB, uint8 `(N, H, W, 3)`; N is 1 for a single image.

    Parameters
    ----------
    scan
        The image.
    window
        See `Preprocess.window`.

    Raises
    ------
    BadInput
        As `Planes.from_scan`.
    """
    planes = Planes.from_scan(scan, window)
    return np.stack([np.round(planes[i] * 255).astype(np.uint8) for i in range(len(planes))])
