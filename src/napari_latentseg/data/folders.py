"""Folders of images with masks, in the layouts that people have them in."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_latentseg.core.scan import CHANNEL, Scan, to_numpy
from napari_latentseg.data.cases import Case
from napari_latentseg.data.label_names import LABEL_FILES, LabelNames, read_label_file
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan, readable_suffixes, stem_of
from napari_latentseg.io.dicom.files import begins_as_dicom
from napari_latentseg.utils.json_text import load_json

__all__ = ["AnnotatedFolder", "find_annotated", "find_cases"]

IMAGES_FOLDER, LABELS_FOLDER, DATASET_JSON = "imagesTr", "labelsTr", "dataset.json"
_NO_IMAGES_REMEDY = (
    "give a folder with images/ and masks/, an nnU-Net raw data set, images beside their _mask files, or a"
    " store of annotations"
)
_MASK_STEM = re.compile(r"(.+?)[ _-](?:mask|seg|segmentation|label|labels|gt)(_\d+)?", re.IGNORECASE)
_CHANNEL_STEM = re.compile(r"(.+)_(\d{4})")
_COLOR_CHANNELS = ("r", "g", "b")
_COLOR_WORDS = {"red": "r", "green": "g", "blue": "b"}
_SYSTEM_FILES = {"thumbs.db": "Thumbs.db", "desktop.ini": "desktop.ini", "dicomdir": "DICOMDIR"}


@dataclass(frozen=True)
class AnnotatedFolder:
    """The annotated images of a folder.

    Attributes
    ----------
    folder
        The folder.
    cases
        In the order of their names.
    label_names
        What the labels mean, where the folder says it; None where they are the model's own.
    notes
        What was passed over, by kind and without names of files.
    """

    folder: Path
    cases: list[Case]
    label_names: LabelNames | None = None
    notes: tuple[str, ...] = ()


def find_annotated(folder: Path) -> AnnotatedFolder:
    """The images of a folder with their masks; no image is decoded.

    The folder holds `images/` and `masks/` with files of the same names, or is an nnU-Net raw data set
    (`imagesTr/`, `labelsTr/`, `dataset.json`), or holds images beside masks that are called after them with
    `_mask`, `_seg`, `_segmentation`, `_label` or `_gt`. What the labels mean is read from `dataset.json`, or
    another of `LABEL_FILES` in the folder. Files that are no images are passed over.

    Raises
    ------
    BadInput
        If it is none of these, an image has no mask, or two files have one name.
    """
    _check_folder(folder)
    passed_over = _PassedOver()
    label_names: LabelNames | None
    if (folder / IMAGES_FOLDER).is_dir():
        label_names = read_label_file(folder / DATASET_JSON)
        cases = _nnunet_cases(folder, passed_over)
    else:
        label_files = [folder / name for name in LABEL_FILES if (folder / name).is_file()]
        label_names = read_label_file(label_files[0]) if label_files else None
        if (folder / "images").is_dir() or (folder / "masks").is_dir():
            cases = _folder_cases(folder, passed_over)
        else:
            cases = _suffix_cases(folder, passed_over)
    return AnnotatedFolder(folder, _with_shared_labels(cases), label_names, passed_over.notes())


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
    _check_folder(folder)
    return _with_shared_labels(_folder_cases(folder, _PassedOver(), masks))


def _check_folder(folder: Path) -> None:
    """Refuse what is not a folder."""
    if not folder.is_dir():
        why = "is a file" if folder.is_file() else "no such folder"
        raise BadInput(folder, why, "give a folder that holds images/ and masks/")


def _with_shared_labels(cases: list[Case]) -> list[Case]:
    shared_labels: set[int] = set()
    return [replace(case, folder_labels=shared_labels) for case in cases]


class _PassedOver:
    """Counts what is passed over in a folder, by kind."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()

    def add(self, kind: str, count: int = 1) -> None:
        self._kinds[kind] += count

    def notes(self) -> tuple[str, ...]:
        if not self._kinds:
            return ()
        parts = [kind if count == 1 else f"{kind} ({count})" for kind, count in sorted(self._kinds.items())]
        return (f"passed over: {', '.join(parts)}",)

    def kind_of(self, path: Path) -> str:
        """The kind of a file that is not an image; empty for one that may be."""
        name = path.name.lower()
        if name in _SYSTEM_FILES:
            return _SYSTEM_FILES[name]
        if name.startswith("."):
            return "hidden file"
        if name.endswith(readable_suffixes()):
            return ""
        suffix = path.suffix if re.fullmatch(r"\.\w*[A-Za-z]\w*", path.suffix) else ""
        if suffix:
            return f"{suffix.lower()} file"
        return "" if begins_as_dicom(path) else "file without an ending"


def _files_by_stem(folder: Path, passed_over: _PassedOver) -> dict[str, Path]:
    """The images of a folder by their stem, in the order of their names."""
    files: dict[str, Path] = {}
    try:
        paths = sorted(folder.iterdir())
        kinds = {path: passed_over.kind_of(path) for path in paths if path.is_file()}
    except OSError as error:
        raise BadInput(folder, "cannot be read", "ask for permission to read it") from error
    for path, kind in kinds.items():
        if kind:
            passed_over.add(kind)
            continue
        # macOS writes an umlaut as a letter and its dots: composed, so that image and mask have one name
        name = unicodedata.normalize("NFC", stem_of(path))
        if name in files:  # image and mask are matched by this name, which must be one file's alone
            raise BadInput(path, f"has the same name as {files[name].name}", "rename or remove one of them")
        files[name] = path
    return files


def _folder_cases(folder: Path, passed_over: _PassedOver, masks: str = "masks") -> list[Case]:
    for subfolder in ("images", masks):
        if not (folder / subfolder).is_dir():
            why = f"has no folder {subfolder}/"
            raise BadInput(folder, why, f"give a folder that holds images/ and {masks}/")
    image_files = _files_by_stem(folder / "images", passed_over)
    mask_files = _files_by_stem(folder / masks, passed_over)
    for name, path in image_files.items():
        if name not in mask_files:
            raise BadInput(path, f"has no mask of the same name in {masks}/", "add or remove it")
    if not image_files:
        why = "; ".join(["is empty", *passed_over.notes()])
        raise BadInput(folder / "images", why, "put at least one image there")
    if lonely := len(mask_files.keys() - image_files.keys()):
        passed_over.add("mask without an image", lonely)
    return [Case.from_files(name, path, mask_files[name]) for name, path in image_files.items()]


def _suffix_cases(folder: Path, passed_over: _PassedOver) -> list[Case]:
    files = _files_by_stem(folder, passed_over)
    masks: dict[str, Path] = {}
    further_count = 0
    for stem, path in files.items():
        match = _MASK_STEM.fullmatch(stem)
        if match and match.group(1) in files:
            if match.group(2):  # such as benign (4)_mask_1.png
                passed_over.add("further mask of an image")
                further_count += 1
                continue
            if match.group(1) in masks:
                raise BadInput(
                    path, f"is a second mask beside {masks[match.group(1)].name}", "remove one of them"
                )
            masks[match.group(1)] = path
    if not masks:
        raise BadInput(folder, "holds no annotated images", _NO_IMAGES_REMEDY)
    if others := len(files) - 2 * len(masks) - further_count:
        passed_over.add("image without a mask", others)
    return [Case.from_files(name, files[name], mask) for name, mask in masks.items()]


def _nnunet_cases(folder: Path, passed_over: _PassedOver) -> list[Case]:
    """The cases of an nnU-Net raw data set, or of the Medical Decathlon, whose files number no channels."""
    content = _dataset_json(folder / DATASET_JSON)
    ending = str(content.get("file_ending", ""))
    files = {
        stem: path
        for stem, path in _files_by_stem(folder / IMAGES_FOLDER, passed_over).items()
        if path.name.endswith(ending)
    }
    mask_files = (
        _files_by_stem(folder / LABELS_FOLDER, passed_over) if (folder / LABELS_FOLDER).is_dir() else {}
    )
    channels_by_name: dict[str, list[Path]] = {}
    for stem, path in files.items():
        match = _CHANNEL_STEM.fullmatch(stem)
        name = match.group(1) if match and stem not in mask_files else stem
        channels_by_name.setdefault(name, []).append(path)
    _check_channels(folder, channels_by_name, content.get("channel_names", content.get("modality")))
    annotated = {name: paths for name, paths in channels_by_name.items() if name in mask_files}
    if not annotated:
        raise BadInput(folder, "no image has its labels", "put CASE_0000 and CASE of one ending there")
    if others := len(channels_by_name) - len(annotated):
        passed_over.add("image without a mask", others)
    return [
        replace(Case.from_files(name, paths[0], mask_files[name]), scan_reader=_reader_of(paths))
        for name, paths in annotated.items()
    ]


def _dataset_json(path: Path) -> Mapping[str, object]:
    content = load_json(path.read_text("utf-8-sig"))  # `read_label_file` has checked it
    return content if isinstance(content, dict) else {}


def _check_channels(folder: Path, channels: Mapping[str, Sequence[Path]], names: object) -> None:
    """Refuse images of several files that are not the three colours."""
    count = max(map(len, channels.values()), default=1)
    if count == 1:
        return
    values = [str(value) for value in names.values()] if isinstance(names, dict) else []
    letters = tuple(_COLOR_WORDS.get(value.lower(), value.lower()) for value in values)
    if count == len(_COLOR_CHANNELS) and letters == _COLOR_CHANNELS:
        for name, paths in channels.items():
            if len(paths) != count:
                raise BadInput(
                    folder, f"has {len(paths)} of the 3 colours of {name}", "add the missing files"
                )
        return
    listed = f" ({', '.join(values)})" if values else ""
    why = f"its images have several channels{listed}"
    raise BadInput(folder, why, "give images of one channel, or in RGB")


def _reader_of(paths: Sequence[Path]) -> Callable[[], Scan]:
    if len(paths) == 1:
        return lambda: read_scan(paths[0])
    return lambda: _read_colors(paths)


def _read_colors(paths: Iterable[Path]) -> Scan:
    """An RGB image from a file for each colour."""
    scans = [read_scan(path) for path in paths]
    first = scans[0]
    if any((scan.axes, scan.array.shape) != (first.axes, first.array.shape) for scan in scans):
        raise BadInput(first.name, "differs in shape from the files of its other colours", "export it again")
    if not all(scan.geometry.agrees_with(first.geometry, first.spatial_shape) for scan in scans):
        raise BadInput(first.name, "lies elsewhere than the files of its other colours", "export it again")
    return first.replace(
        array=np.stack([to_numpy(scan.array) for scan in scans], axis=-1),
        axes=first.axes + CHANNEL,
        levels=(),
    )
