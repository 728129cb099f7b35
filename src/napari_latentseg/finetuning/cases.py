"""What a trained model is taught a little more from: annotated scans in a folder, whichever way they lie."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.pairs import Pair, find_pairs, load_mask
from napari_latentseg.data.preprocess import resize, resize_labels
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan, stem_of
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.dataset import AnnotatedSlice

__all__ = ["AnnotatedCase", "LoadedCase", "annotated_slices_of", "find_cases"]

_JOURNAL = "journal.jsonl"
# Bytes of images that stay in memory between the search for duplicates and the learning, so that the usual
# few corrected scans are decoded once, and a large data set is not held whole.
_KEPT = 512 * 2**20


@dataclass(frozen=True)
class LoadedCase:
    """One annotated scan in memory.

    Attributes
    ----------
    planes
        Of the image.
    label_maps
        Class numbers `(N, H, W)`, from 1 in the order of the model's classes; 0 is none.
    annotated_planes
        The planes that count; what was not approved is not background.
    label_mapping
        What the numbers mean.
    """

    planes: Planes
    label_maps: NDArray[np.uint8]
    annotated_planes: tuple[int, ...]
    label_mapping: LabelMap

    @property
    def spacing(self) -> tuple[tuple[float, float], str]:
        """Distance between the rows and the columns of a plane, and its unit."""
        geometry = self.planes.scan.geometry
        (row_spacing, column_spacing), units = geometry.spacing[-2:], set(geometry.units[-2:])
        return ((row_spacing, column_spacing), units.pop()) if len(units) == 1 else ((1.0, 1.0), "pixel")


@dataclass(frozen=True)
class AnnotatedCase:
    """One annotated scan, a case.

    Attributes
    ----------
    content_sha256
        `Scan.content_sha256` of the image; it is known by that, since its name may be a patient's.
    load
        Reads it, as often as it is needed.
    pair
        Its files; None where it is a case of an annotation store.
    copies
        How many times more the same image was given.
    """

    content_sha256: str
    load: Callable[[], LoadedCase]
    pair: Pair | None = None
    copies: int = 0

    @property
    def file_sha256(self) -> str | None:
        """SHA-256 of the image's file, which splits of format 1 hold; None of a store's case."""
        return None if self.pair is None else self.pair.file_sha256

    @property
    def draw_key(self) -> str:
        """What a split is drawn by, together with the seed.

        It names no image. A file's hash where there is a file, so that a seed keeps apart what it always did.
        """
        return self.file_sha256 or self.content_sha256


def find_cases(folders: Sequence[Path], card: ModelCard) -> list[AnnotatedCase]:
    """The annotated scans of some folders, each image once, whatever its files are called or hold it as.

    Of an image that was given more than once, the first is taken; `Lesson.copies` counts the others.

    Parameters
    ----------
    folders
        Each holds `images/` and `masks/`, or is an nnU-Net raw data set (`imagesTr/`, `labelsTr/`,
        `dataset.json`), or an `AnnotationStore`.
    card
        Of the model that is to learn; says which classes it knows.

    Raises
    ------
    BadInput
        Where a folder is none of these, nothing in it is approved, or an image cannot be read.
    """
    cases: dict[str, AnnotatedCase] = {}
    memory = _Memory()
    for folder in map(Path, folders):
        folder_cases: Iterable[AnnotatedCase]
        if (folder / _JOURNAL).is_file():
            folder_cases = _store_cases(folder, card)
        elif (folder / "imagesTr").is_dir():
            folder_cases = _nnunet_cases(folder, card, memory)
        elif (folder / "images").is_dir():
            folder_cases = _pair_cases(folder, card, memory)
        else:
            raise BadInput(
                folder,
                "holds no annotated images",
                "give a folder with images/ and masks/, an nnU-Net raw data set, or a store of annotations",
            )
        for case in folder_cases:  # a copy under another name would cross the split
            first = cases.get(case.content_sha256)
            cases[case.content_sha256] = case if first is None else replace(first, copies=first.copies + 1)
    return list(cases.values())


def annotated_slices_of(loaded_case: LoadedCase, content_hash: str, card: ModelCard) -> list[AnnotatedSlice]:
    """The planes that count, at the size that the model works at."""
    slices = []
    for plane_index in loaded_case.annotated_planes:
        label_map = loaded_case.label_maps[plane_index]
        height, width = label_map.shape
        size = card.preprocess.working_size(height, width, loaded_case.planes.spacing)
        plane = (
            torch.from_numpy(np.round(loaded_case.planes[plane_index] * 255)).permute(2, 0, 1)[None].float()
        )
        image = resize(plane, size)[0].round().clamp(0, 255).to(torch.uint8)
        mask = torch.from_numpy(loaded_case.label_mapping.class_masks(resize_labels(label_map, size)))
        slices.append(AnnotatedSlice(image, mask, content_hash, loaded_case.label_mapping.annotated))
    return slices


class _Memory:
    """Images that were decoded to know them apart, until they are read to be learned from; so many bytes."""

    def __init__(self) -> None:
        self._left = _KEPT

    def case_of(self, pair: Pair, load: Callable[[Pair, Scan], LoadedCase]) -> AnnotatedCase:
        """A pair as a case."""
        scan = pair.read()
        kept: list[Scan] = []
        size = int(scan.array.nbytes)
        if size <= self._left:
            self._left -= size
            kept.append(scan)
        return AnnotatedCase(
            pair.content_sha256, lambda: load(pair, kept.pop() if kept else pair.read()), pair
        )


def _pair_cases(folder: Path, card: ModelCard, memory: _Memory) -> Iterable[AnnotatedCase]:
    labels = LabelMap.for_model(card.classes)
    known = {c.label for c in card.classes}
    load = partial(_load_pair, labels=labels, known_labels=known, ignore_label=None)
    return (memory.case_of(pair, load) for pair in find_pairs(folder))


def _load_pair(
    pair: Pair, scan: Scan, labels: LabelMap, known_labels: set[int], ignore_label: int | None
) -> LoadedCase:
    values = load_mask(pair)
    _check_place(pair, scan)
    annotated_planes = tuple(range(len(values)))
    if ignore_label is not None:
        annotated_planes = tuple(i for i, plane in enumerate(values) if not (plane == ignore_label).any())
        values = np.where(values == ignore_label, 0, values)
    labels_present = sorted(set(np.unique(values).tolist()) - {0})
    is_single_class = len(labels.classes) == 1 and labels.labels is None
    # of a model of one class, whatever is marked is that class, unless the mask tells several apart
    unknown = labels_present[1:] if is_single_class else [v for v in labels_present if v not in known_labels]
    if unknown:
        class_list = ", ".join(f"{c.label} {c.name}" for c in labels.classes)
        wrong_labels = (
            f"labels {', '.join(map(str, labels_present))}" if is_single_class else f"label {unknown[0]}"
        )
        raise BadInput(
            pair.mask.name, f"holds {wrong_labels}", f"the model knows {class_list}; number the mask so"
        )
    return _build_loaded_case(pair.mask.name, scan, values, annotated_planes, labels)


def _build_loaded_case(
    name: str, scan: Scan, values: NDArray[np.uint8], annotated_planes: tuple[int, ...], labels: LabelMap
) -> LoadedCase:
    planes = Planes.from_scan(scan)
    expected_shape = (len(planes), *planes.plane_shape)
    if values.shape != expected_shape:
        raise BadInput(name, f"has shape {values.shape}, its image {expected_shape}", "make them equal")
    return LoadedCase(planes, labels.to_class_numbers(values), annotated_planes, labels)


def _check_place(pair: Pair, scan: Scan) -> None:
    """A mask that says where it lies must lie where its image does."""
    mask = read_scan(pair.mask).geometry
    image = scan.geometry
    if not (image.frame and mask.frame) or image.ndim != mask.ndim:
        return
    if not image.agrees_with(mask, scan.spatial_shape):
        raise BadInput(
            pair.mask.name,
            "lies elsewhere in the patient than its image",
            "save it with the geometry of its image",
        )


def _nnunet_cases(folder: Path, card: ModelCard, memory: _Memory) -> Iterable[AnnotatedCase]:
    dataset_info = _dataset_json(folder)
    labels, known_labels, ignore_label = _label_map_by_name(folder, dataset_info.get("labels"), card.classes)
    suffix = str(dataset_info.get("file_ending", ""))
    images: dict[str, Path] = {}
    for path in sorted((folder / "imagesTr").iterdir()):
        case, _, channel = stem_of(path).rpartition("_")
        if path.name.startswith(".") or not path.name.endswith(suffix):
            continue
        if channel != "0000":
            raise BadInput(
                folder, "its images have several channels", "give images of one channel, or in RGB"
            )
        images[case] = path
    masks = {stem_of(p): p for p in sorted((folder / "labelsTr").glob(f"*{suffix}"))}
    pairs = [Pair(case, path, masks[case]) for case, path in images.items() if case in masks]
    if not pairs:
        raise BadInput(folder, "no image has its labels", "put CASE_0000 and CASE of one ending there")
    load = partial(_load_pair, labels=labels, known_labels=known_labels, ignore_label=ignore_label)
    return (memory.case_of(pair, load) for pair in pairs)


def _dataset_json(folder: Path) -> dict[str, object]:
    path = folder / "dataset.json"
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(path, "is missing or not readable", "give a whole nnU-Net raw data set") from error
    if not isinstance(content, dict):
        raise BadInput(path, "is not that of a data set", "give a whole nnU-Net raw data set")
    return content


def _label_map_by_name(
    folder: Path, label_table: object, classes: tuple[ClassInfo, ...]
) -> tuple[LabelMap, set[int], int | None]:
    """What the numbers of a data set mean, by their names; which there are; which one is to be ignored."""
    path = folder / "dataset.json"
    if not isinstance(label_table, dict) or not all(isinstance(v, int) for v in label_table.values()):
        raise BadInput(path, "does not name its labels, each with one number", "give names and numbers")
    ignore_label = label_table.get("ignore")
    names_by_label = {int(v): str(k) for k, v in label_table.items() if k not in ("background", "ignore")}
    names = [c.name for c in classes]
    for number, name in names_by_label.items():
        if name not in names:
            raise BadInput(
                path, f"label {number} is {name!r}", f"the model knows {', '.join(names)}: rename it"
            )
    if not names_by_label:
        raise BadInput(path, "names no label", f"name one of {', '.join(names)}")
    return LabelMap(classes, names_by_label, folder.absolute().name), set(names_by_label), ignore_label


def _store_cases(folder: Path, card: ModelCard) -> list[AnnotatedCase]:
    with AnnotationStore(folder) as store:
        cases = [case for case in store.cases() if case.approved_planes]
    if not cases:
        raise BadInput(folder, "no slice is approved", "approve at least one")
    return [
        AnnotatedCase(case.content_hash, partial(_load_store_case, folder, case.content_hash, card))
        for case in cases
    ]


def _load_store_case(folder: Path, key: str, card: ModelCard) -> LoadedCase:
    with AnnotationStore(folder) as store:
        annotated_scan = next((scan for scan in store.annotated_scans() if scan.content_hash == key), None)
    if annotated_scan is None:
        raise BadInput(folder, "an approved scan is no longer there", "begin again")
    names = [c.name for c in card.classes]
    for c in annotated_scan.classes:
        if c.name not in names:
            raise BadInput(folder, f"holds the class {c.name!r}", f"the model knows {', '.join(names)} alone")
    labels = LabelMap(card.classes, {c.label: c.name for c in annotated_scan.classes}, "annotations")
    values = np.asarray(annotated_scan.mask).reshape(-1, *annotated_scan.mask.shape[-2:])
    if annotated_scan.scan.axes.endswith(CHANNEL) and annotated_scan.scan.array.shape[-1] not in (1, 3, 4):
        raise BadInput(folder, "its images have several channels", "give images of one channel, or in RGB")
    return _build_loaded_case(
        annotated_scan.case, annotated_scan.scan, values, annotated_scan.approved_planes, labels
    )
