"""The cases that a model is fine-tuned on: annotated images in folders of three layouts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.cases import Case, find_cases
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.slices import Slice, make_slice
from napari_latentseg.errors import BadInput
from napari_latentseg.io import stem_of
from napari_latentseg.models.card import ModelCard

__all__ = ["collect_cases", "read_slices"]

_JOURNAL = "journal.jsonl"
# Images are decoded first to find duplicates, and again to learn from. Up to this many bytes of them stay in
# memory in between: the usual few corrected scans are decoded once, and a large data set is not held whole.
_MAX_HELD_BYTES = 512 * 2**20


def collect_cases(folders: Sequence[Path], card: ModelCard) -> list[Case]:
    """The annotated images of some folders, each image once, whatever its files are called or hold it as.

    Of an image that was given more than once, the first is taken; `Case.copies` counts the others, and
    `Case.copy_names` says which have another mask. Classes of a store or an nnU-Net data set that the model
    does not know are in `Case.unknown_labels`.

    Parameters
    ----------
    folders
        Each holds `images/` and `masks/`, or is an nnU-Net raw data set (`imagesTr/`, `labelsTr/`,
        `dataset.json`), or an `AnnotationStore`.
    card
        Of the model that is to learn; says which classes it knows.

    Returns
    -------
    list of Case
        Their `label_map` leads to the classes of the model.

    Raises
    ------
    BadInput
        If a folder is none of these, nothing in it is approved, or an image cannot be read.
    """
    cases: dict[str, Case] = {}
    budget = _HeldScans()
    for folder in map(Path, folders):
        folder_cases: Iterable[Case]
        if (folder / _JOURNAL).is_file():
            folder_cases = _store_cases(folder, card)
        elif (folder / "imagesTr").is_dir():
            folder_cases = map(budget.decode, _nnunet_cases(folder, card))
        elif (folder / "images").is_dir():
            label_map = LabelMap.for_model(card.classes)
            folder_cases = (budget.decode(replace(c, label_map=label_map)) for c in find_cases(folder))
        else:
            raise BadInput(
                folder,
                "holds no annotated images",
                "give a folder with images/ and masks/, an nnU-Net raw data set, or a store of annotations",
            )
        for case in folder_cases:  # a copy under another name would cross the split
            first = cases.get(case.content_sha256)
            cases[case.content_sha256] = case if first is None else _with_copy(first, case)
    return list(cases.values())


def read_slices(case: Case, card: ModelCard, number: int = 0) -> list[Slice]:
    """The annotated slices of a case, at the size that the model works at.

    Parameters
    ----------
    case
        From `collect_cases`.
    card
        Of the model.
    number
        Of the case, for `Slice.case`.

    Raises
    ------
    BadInput
        If the image or the mask cannot be read, or they do not belong together.
    """
    scan = case.read_scan()
    class_numbers, annotated_slices = case.read_annotation(scan)
    assert case.label_map is not None
    planes = Planes.from_scan(scan)
    return [
        make_slice(
            np.round(planes[i] * 255).astype(np.uint8),
            class_numbers[i],
            case.label_map,
            card.preprocess,
            planes.spacing,
            content_sha256=case.content_sha256,
            case=number,
        )
        for i in annotated_slices
    ]


def _with_copy(first: Case, copy: Case) -> Case:
    """The first case of an image, which remembers that the image was given once more."""
    copy_name = (copy.file_name, _has_other_mask(first, copy))
    return replace(first, copies=first.copies + 1, copy_names=(*first.copy_names, copy_name))


def _has_other_mask(first: Case, copy: Case) -> bool:
    """Whether two cases of one image are annotated in other slices, or with other masks."""
    masks = []
    for case in (first, copy):
        assert case.label_map is not None
        masks.append(case.read_class_numbers(case.label_map))
    return not np.array_equal(masks[0], masks[1])


class _HeldScans:
    """Decodes images for their hashes, and holds them until they are read again, up to a number of bytes."""

    def __init__(self) -> None:
        self._bytes_left = _MAX_HELD_BYTES

    def decode(self, case: Case) -> Case:
        """The same case, whose image is already decoded where there is room for it."""
        scan = case.read_scan()
        size = int(scan.array.nbytes)
        if size > self._bytes_left:
            return case
        self._bytes_left -= size
        return replace(case, scan_reader=_first_from_memory(scan, case.scan_reader))


def _first_from_memory(scan: Scan, read: Callable[[], Scan]) -> Callable[[], Scan]:
    held = [scan]
    return lambda: held.pop() if held else read()


def _nnunet_cases(folder: Path, card: ModelCard) -> list[Case]:
    dataset_info = _dataset_json(folder)
    label_map, unknown_labels, ignore_label = _label_map_by_name(
        folder, dataset_info.get("labels"), card.classes
    )
    suffix = str(dataset_info.get("file_ending", ""))
    image_files: dict[str, Path] = {}
    for path in sorted((folder / "imagesTr").iterdir()):
        name, _, channel = stem_of(path).rpartition("_")
        if path.name.startswith(".") or not path.name.endswith(suffix):
            continue
        if channel != "0000":
            raise BadInput(
                folder, "its images have several channels", "give images of one channel, or in RGB"
            )
        image_files[name] = path
    mask_files = {stem_of(p): p for p in sorted((folder / "labelsTr").glob(f"*{suffix}"))}
    cases = [
        replace(
            Case.from_files(name, path, mask_files[name], label_map=label_map, ignore_label=ignore_label),
            unknown_labels=unknown_labels,
        )
        for name, path in image_files.items()
        if name in mask_files
    ]
    if not cases:
        raise BadInput(folder, "no image has its labels", "put CASE_0000 and CASE of one ending there")
    return cases


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
) -> tuple[LabelMap, dict[int, str], int | None]:
    """What the labels of a data set mean, by the names of the classes.

    Returns
    -------
    label_map
        Of the labels of classes that the model knows.
    unknown_labels
        The names of those that it does not know, by label.
    ignore_label
        The label of voxels that nobody annotated.
    """
    path = folder / "dataset.json"
    if not isinstance(label_table, dict) or not all(isinstance(v, int) for v in label_table.values()):
        raise BadInput(path, "does not name its labels, each with one number", "give names and numbers")
    ignore_label = label_table.get("ignore")
    names_by_label = {int(v): str(k) for k, v in label_table.items() if k not in ("background", "ignore")}
    names = [c.name for c in classes]
    if not names_by_label:
        raise BadInput(path, "names no label", f"name one of {', '.join(names)}")
    known = {number: name for number, name in names_by_label.items() if name in names}
    unknown = {number: name for number, name in names_by_label.items() if name not in names}
    if not known:
        number, name = next(iter(unknown.items()))
        raise BadInput(path, f"label {number} is {name!r}", f"the model knows {', '.join(names)}: rename it")
    # labels without a class are named so in the data set of an annotation store, and no voxel has them
    unknown = {number: name for number, name in unknown.items() if name != f"unused {number}"}
    return LabelMap(classes, known, folder.absolute().name), unknown, ignore_label


def _store_cases(folder: Path, card: ModelCard) -> list[Case]:
    with AnnotationStore(folder) as store:
        cases, classes, records = store.annotated_cases(), store.classes, store.case_records()
    if not cases:
        raise BadInput(folder, "no slice is approved", "approve at least one")
    if records[0].channels not in (1, 3, 4):  # the others of a store are alike then
        raise BadInput(folder, "its images have several channels", "give images of one channel, or in RGB")
    names = [c.name for c in card.classes]
    unknown_labels = {c.label: c.name for c in classes if c.name not in names}
    if len(unknown_labels) == len(classes):
        why = f"holds the class {classes[0].name!r}"
        raise BadInput(folder, why, f"the model knows {', '.join(names)} alone")
    known_labels = {c.label: c.name for c in classes if c.name in names}
    label_map = LabelMap(card.classes, known_labels, "annotations")
    return [replace(case, label_map=label_map, unknown_labels=unknown_labels) for case in cases]
