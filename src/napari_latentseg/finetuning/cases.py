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
from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.formats import read_scan, stem_of
from napari_latentseg.labelmap import LabelMap
from napari_latentseg.models.card import ModelCard
from napari_latentseg.pairs import Pair, find_pairs, load_mask
from napari_latentseg.planes import Planes
from napari_latentseg.preprocess import resize, resize_labels
from napari_latentseg.scan import CHANNEL, Scan
from napari_latentseg.training.dataset import Example

__all__ = ["Lesson", "Loaded", "examples_of", "find_lessons"]

_JOURNAL = "journal.jsonl"
# Bytes of images that stay in memory between the search for duplicates and the learning, so that the usual
# few corrected scans are decoded once, and a large data set is not held whole.
_KEPT = 512 * 2**20


@dataclass(frozen=True)
class Loaded:
    """One annotated scan in memory.

    Attributes
    ----------
    planes
        Of the image.
    numbers
        Class numbers `(N, H, W)`, from 1 in the order of the model's classes; 0 is none.
    which
        The planes that count; what was not approved is not background.
    labels
        What the numbers mean.
    """

    planes: Planes
    numbers: NDArray[np.uint8]
    which: tuple[int, ...]
    labels: LabelMap

    @property
    def spacing(self) -> tuple[tuple[float, float], str]:
        """Distance between the rows and the columns of a plane, and its unit."""
        geometry = self.planes.scan.geometry
        (down, right), units = geometry.spacing[-2:], set(geometry.units[-2:])
        return ((down, right), units.pop()) if len(units) == 1 else ((1.0, 1.0), "pixel")


@dataclass(frozen=True)
class Lesson:
    """One annotated scan, a case.

    Attributes
    ----------
    key
        `Scan.content_sha256` of the image; it is known by that, since its name may be a patient's.
    load
        Reads it, as often as it is needed.
    pair
        Its files; None where it is a case of an annotation store.
    copies
        How many times more the same image was given.
    """

    key: str
    load: Callable[[], Loaded]
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
        return self.file_sha256 or self.key


def find_lessons(folders: Sequence[Path], card: ModelCard) -> list[Lesson]:
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
    cases: dict[str, Lesson] = {}
    memory = _Memory()
    for folder in map(Path, folders):
        lessons: Iterable[Lesson]
        if (folder / _JOURNAL).is_file():
            lessons = _of_store(folder, card)
        elif (folder / "imagesTr").is_dir():
            lessons = _of_nnunet(folder, card, memory)
        elif (folder / "images").is_dir():
            lessons = _of_pairs(folder, card, memory)
        else:
            raise BadInput(
                folder,
                "holds no annotated images",
                "give a folder with images/ and masks/, an nnU-Net raw data set, or a store of annotations",
            )
        for lesson in lessons:  # a copy under another name would cross the split
            first = cases.get(lesson.key)
            cases[lesson.key] = lesson if first is None else replace(first, copies=first.copies + 1)
    return list(cases.values())


def examples_of(loaded: Loaded, key: str, card: ModelCard) -> list[Example]:
    """The planes that count, at the size that the model works at."""
    found = []
    for i in loaded.which:
        target = loaded.numbers[i]
        height, width = target.shape
        size = card.preprocess.working_size(height, width, loaded.planes.spacing)
        plane = torch.from_numpy(np.round(loaded.planes[i] * 255)).permute(2, 0, 1)[None].float()
        image = resize(plane, size)[0].round().clamp(0, 255).to(torch.uint8)
        mask = torch.from_numpy(loaded.labels.masks(resize_labels(target, size)))
        found.append(Example(image, mask, key, loaded.labels.annotated))
    return found


class _Memory:
    """Images that were decoded to know them apart, until they are read to be learned from; so many bytes."""

    def __init__(self) -> None:
        self._left = _KEPT

    def case_of(self, pair: Pair, load: Callable[[Pair, Scan], Loaded]) -> Lesson:
        """A pair as a case."""
        scan = pair.read()
        kept: list[Scan] = []
        size = int(scan.array.nbytes)
        if size <= self._left:
            self._left -= size
            kept.append(scan)
        return Lesson(pair.key, lambda: load(pair, kept.pop() if kept else pair.read()), pair)


def _of_pairs(folder: Path, card: ModelCard, memory: _Memory) -> Iterable[Lesson]:
    labels = LabelMap.of_model(card.classes)
    known = {c.label for c in card.classes}
    load = partial(_load_pair, labels=labels, known=known, ignored=None)
    return (memory.case_of(pair, load) for pair in find_pairs(folder))


def _load_pair(pair: Pair, scan: Scan, labels: LabelMap, known: set[int], ignored: int | None) -> Loaded:
    values = load_mask(pair)
    _check_place(pair, scan)
    which = tuple(range(len(values)))
    if ignored is not None:
        which = tuple(i for i, plane in enumerate(values) if not (plane == ignored).any())
        values = np.where(values == ignored, 0, values)
    found = sorted(set(np.unique(values).tolist()) - {0})
    one_class = len(labels.classes) == 1 and labels.labels is None
    # of a model of one class, whatever is marked is that class, unless the mask tells several apart
    unknown = found[1:] if one_class else [v for v in found if v not in known]
    if unknown:
        says = ", ".join(f"{c.label} {c.name}" for c in labels.classes)
        held = f"labels {', '.join(map(str, found))}" if one_class else f"label {unknown[0]}"
        raise BadInput(pair.mask.name, f"holds {held}", f"the model knows {says}; number the mask so")
    return _loaded(pair.mask.name, scan, values, which, labels)


def _loaded(
    name: str, scan: Scan, values: NDArray[np.uint8], which: tuple[int, ...], labels: LabelMap
) -> Loaded:
    planes = Planes.of(scan)
    shape = (len(planes), *planes.plane_shape)
    if values.shape != shape:
        raise BadInput(name, f"has shape {values.shape}, its image {shape}", "make them equal")
    return Loaded(planes, labels.numbered(values), which, labels)


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


def _of_nnunet(folder: Path, card: ModelCard, memory: _Memory) -> Iterable[Lesson]:
    about = _dataset_json(folder)
    labels, numbers, ignored = _named_labels(folder, about.get("labels"), card.classes)
    ending = str(about.get("file_ending", ""))
    images: dict[str, Path] = {}
    for path in sorted((folder / "imagesTr").iterdir()):
        case, _, channel = stem_of(path).rpartition("_")
        if path.name.startswith(".") or not path.name.endswith(ending):
            continue
        if channel != "0000":
            raise BadInput(
                folder, "its images have several channels", "give images of one channel, or in RGB"
            )
        images[case] = path
    masks = {stem_of(p): p for p in sorted((folder / "labelsTr").glob(f"*{ending}"))}
    pairs = [Pair(case, path, masks[case]) for case, path in images.items() if case in masks]
    if not pairs:
        raise BadInput(folder, "no image has its labels", "put CASE_0000 and CASE of one ending there")
    load = partial(_load_pair, labels=labels, known=numbers, ignored=ignored)
    return (memory.case_of(pair, load) for pair in pairs)


def _dataset_json(folder: Path) -> dict[str, object]:
    path = folder / "dataset.json"
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(path, "is missing or not readable", "give a whole nnU-Net raw data set") from error
    if not isinstance(found, dict):
        raise BadInput(path, "is not that of a data set", "give a whole nnU-Net raw data set")
    return found


def _named_labels(
    folder: Path, told: object, classes: tuple[ClassInfo, ...]
) -> tuple[LabelMap, set[int], int | None]:
    """What the numbers of a data set mean, by their names; which there are; which one is to be ignored."""
    path = folder / "dataset.json"
    if not isinstance(told, dict) or not all(isinstance(v, int) for v in told.values()):
        raise BadInput(path, "does not name its labels, each with one number", "give names and numbers")
    ignored = told.get("ignore")
    meant = {int(v): str(k) for k, v in told.items() if k not in ("background", "ignore")}
    names = [c.name for c in classes]
    for number, name in meant.items():
        if name not in names:
            raise BadInput(
                path, f"label {number} is {name!r}", f"the model knows {', '.join(names)}: rename it"
            )
    if not meant:
        raise BadInput(path, "names no label", f"name one of {', '.join(names)}")
    return LabelMap(classes, meant, folder.absolute().name), set(meant), ignored


def _of_store(folder: Path, card: ModelCard) -> list[Lesson]:
    with AnnotationStore(folder) as store:
        cases = [case for case in store.cases() if case.planes]
    if not cases:
        raise BadInput(folder, "no slice is approved", "approve at least one")
    return [Lesson(case.key, partial(_load_case, folder, case.key, card)) for case in cases]


def _load_case(folder: Path, key: str, card: ModelCard) -> Loaded:
    with AnnotationStore(folder) as store:
        found = next((one for one in store.examples() if one.key == key), None)
    if found is None:
        raise BadInput(folder, "an approved scan is no longer there", "begin again")
    names = [c.name for c in card.classes]
    for c in found.classes:
        if c.name not in names:
            raise BadInput(folder, f"holds the class {c.name!r}", f"the model knows {', '.join(names)} alone")
    labels = LabelMap(card.classes, {c.label: c.name for c in found.classes}, "annotations")
    values = np.asarray(found.mask).reshape(-1, *found.mask.shape[-2:])
    if found.scan.axes.endswith(CHANNEL) and found.scan.array.shape[-1] not in (1, 3, 4):
        raise BadInput(folder, "its images have several channels", "give images of one channel, or in RGB")
    return _loaded(found.case, found.scan, values, found.planes, labels)
