"""A case: an image with its mask, from a folder or an annotation store to training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan, stem_of
from napari_latentseg.utils.weights import file_sha256

__all__ = ["UNKNOWN_CLASS", "Case", "find_cases", "read_mask", "rgb_slices"]

UNKNOWN_CLASS = 255
"""In class numbers, voxels of a class that the model does not know; no class has this number."""

# A mask that reaches above this is a picture, white on black, and not a map of class numbers: no data set
# of this project has more than 127 classes, and the white of a picture is 255 or, in a resized JPEG, near it.
_MAX_CLASS_NUMBER = 127


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
        Decodes the mask: labels as the source numbers them, uint8 `(N, H, W)`, slice by slice in the order of
        `Planes`.
    image_file, mask_file
        None for a case of an annotation store, which has a file for each time and channel.
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
    known_hashes
        `content_sha256` under ``"content"`` and `file_sha256` under ``"file"``, once they are known. What
        `dataclasses.replace` makes of a case shares it, so that no image is decoded twice for its hash.
    """

    name: str
    scan_reader: Callable[[], Scan] = field(repr=False)
    mask_reader: Callable[[], NDArray[np.uint8]] = field(repr=False)
    image_file: Path | None = None
    mask_file: Path | None = None
    annotated_slices: tuple[int, ...] | None = None
    label_map: LabelMap | None = None
    ignore_label: int | None = None
    unknown_labels: Mapping[int, str] = field(default_factory=dict)
    copies: int = 0
    copy_names: tuple[tuple[str, bool], ...] = ()
    known_hashes: dict[str, str] = field(default_factory=dict, repr=False)

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
            partial(read_mask, mask_file),
            image_file,
            mask_file,
            label_map=label_map,
            ignore_label=ignore_label,
        )

    def read_scan(self) -> Scan:
        """The image, decoded; `content_sha256` is known afterwards.

        Raises
        ------
        BadInput
            If it cannot be read.
        """
        scan = self.scan_reader()
        if "content" not in self.known_hashes:
            self.known_hashes["content"] = scan.content_sha256
        return scan

    def read_mask(self) -> NDArray[np.uint8]:
        """The mask with the labels of its source, uint8 `(N, H, W)`.

        Raises
        ------
        BadInput
            If it cannot be read, or holds what is no label.
        """
        return self.mask_reader()

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
    def dataset_name(self) -> str:
        """The name of the folder that holds `images/` and `masks/`; empty for a case of a store."""
        return "" if self.mask_file is None else self.mask_file.absolute().parent.parent.name

    def read_class_numbers(self, label_map: LabelMap) -> NDArray[np.uint8]:
        """The mask as `LabelMap.to_class_numbers` gives it, uint8 `(N, H, W)`; 0 is no class.

        Parameters
        ----------
        label_map
            What the labels mean. Labels that it does not name are background.

        Raises
        ------
        BadInput
            If the mask cannot be read, or be split into the patient's right and left.
        """
        labels = self.read_mask()
        if not label_map.has_lateralized:
            return label_map.to_class_numbers(labels)
        mask_scan = self.read_scan() if self.mask_file is None else read_scan(self.mask_file)
        numbers = label_map.to_class_numbers(labels.reshape(mask_scan.spatial_shape), mask_scan.geometry)
        return numbers.reshape(labels.shape)

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
        subject = self.name if self.mask_file is None else self.mask_file.name
        labels = self.read_mask()
        self._check_geometry(scan)
        annotated: Sequence[int] = range(len(labels))
        if self.annotated_slices is not None:
            annotated = self.annotated_slices
        if self.ignore_label is not None:
            annotated = tuple(i for i in annotated if not (labels[i] == self.ignore_label).any())
            labels = np.where(labels == self.ignore_label, 0, labels)
        is_unknown = np.isin(labels, list(self.unknown_labels)) if self.unknown_labels else None
        if is_unknown is not None:
            labels = np.where(is_unknown, 0, labels)
        _check_labels(subject, labels, self.label_map)
        planes = Planes(scan, 0.0, 1.0)  # for its shape alone, so the range of values does not matter
        expected_shape = (len(planes), *planes.plane_shape)
        if labels.shape != expected_shape:
            raise BadInput(
                subject, f"has shape {labels.shape}, its image {expected_shape}", "make them equal"
            )
        class_numbers = self.label_map.to_class_numbers(labels)
        if is_unknown is not None:
            class_numbers[is_unknown] = UNKNOWN_CLASS
        return class_numbers, tuple(annotated)

    def _check_geometry(self, scan: Scan) -> None:
        """A mask file that says where it lies in the patient must lie where its image does."""
        if self.mask_file is None:  # a store has checked it when the mask was approved
            return
        image, mask = scan.geometry, read_scan(self.mask_file).geometry
        is_comparable = image.frame and mask.frame and image.ndim == mask.ndim
        if is_comparable and not image.agrees_with(mask, scan.spatial_shape):
            raise BadInput(
                self.mask_file.name,
                "lies elsewhere in the patient than its image",
                "save it with the geometry of its image",
            )


def _check_labels(subject: str, labels: NDArray[np.uint8], label_map: LabelMap) -> None:
    """Refuse labels that the model does not know."""
    labels_present = sorted(set(np.unique(labels).tolist()) - {0})
    # for a model of one class any label is that class, but several labels in one mask are several classes
    if label_map.labels is None:
        unknown, problem = labels_present[1:], f"labels {', '.join(map(str, labels_present))}"
    else:
        unknown = [label for label in labels_present if label not in label_map.labels]
        problem = f"label {unknown[0]}" if unknown else ""
    if unknown:
        class_list = ", ".join(f"{c.label} {c.name}" for c in label_map.classes)
        raise BadInput(subject, f"holds {problem}", f"the model knows {class_list}; number the mask so")


def find_cases(folder: Path, *, masks: str = "masks") -> list[Case]:
    """The images of `folder/images` with the masks of the same file name, in the order of the names.

    Parameters
    ----------
    folder
        Holds `images/` and the folder named by `masks`.
    masks
        The name of the folder of masks.

    Raises
    ------
    BadInput
        If a folder is missing or empty, an image has no mask, or two files have one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(folder, "no such folder", "give a folder that holds images/ and masks/")
    for subfolder in ("images", masks):
        if not (folder / subfolder).is_dir():
            raise BadInput(
                folder, f"has no folder {subfolder}/", f"give a folder that holds images/ and {masks}/"
            )
    image_files, mask_files = _files_by_stem(folder / "images"), _files_by_stem(folder / masks)
    for name, path in image_files.items():
        if name not in mask_files:
            raise BadInput(path, f"has no mask of the same name in {masks}/", "add or remove it")
    if not image_files:
        raise BadInput(folder / "images", "is empty", "put at least one image there")
    return [Case.from_files(name, path, mask_files[name]) for name, path in image_files.items()]


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """The files of a folder by their stem, in the order of their names; hidden ones are left out."""
    files: dict[str, Path] = {}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise BadInput(folder, "cannot be read", "ask for the right to read it") from error
    for path in paths:
        if path.name.startswith(".") or not path.is_file():
            continue
        name = stem_of(path)
        if name in files:  # image and mask are matched by this name, which must be one file's alone
            raise BadInput(path, f"has the same name as {files[name].name}", "rename or remove one of them")
        files[name] = path
    return files


def rgb_slices(scan: Scan) -> NDArray[np.uint8]:
    """All slices of an image as RGB, uint8 `(N, H, W, 3)`; N is 1 for a single image.

    Raises
    ------
    BadInput
        If no value is finite, or the number of channels is neither 1, 3 nor 4.
    """
    planes = Planes.from_scan(scan)
    return np.stack([np.round(planes[i] * 255).astype(np.uint8) for i in range(len(planes))])


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A mask file as labels, uint8 `(N, H, W)`.

    A mask that reaches above 127 (white on black, a JPEG's, a resized one's) is a picture of one class: what
    is brighter than half of its maximum is the class. Any other holds the labels themselves. Of colours the
    brightest channel counts, alpha is dropped, and NaN and infinity are background.

    Raises
    ------
    BadInput
        If the file cannot be read, or holds negative numbers.
    """
    scan = read_scan(path)
    values = np.asarray(scan.array)
    if scan.axes.endswith("c"):
        values = values[..., :3].max(axis=-1)
    values = values.reshape(-1, *values.shape[-2:])
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    if values.min() < 0:
        raise BadInput(path, "holds negative numbers, which no class has", "number the classes from 1")
    maximum = values.max()
    labels: NDArray[np.uint8] = (
        (values > maximum / 2).astype(np.uint8)
        if maximum > _MAX_CLASS_NUMBER
        else np.round(values).astype(np.uint8)
    )
    return labels
