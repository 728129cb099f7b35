"""The cases of a folder of any depth: each file, each DICOM series and each OME-Zarr image."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from napari_latentseg.batches.batch_folder import HIDDEN
from napari_latentseg.batches.case import BatchCase
from napari_latentseg.errors import BadInput
from napari_latentseg.io import ome_zarr
from napari_latentseg.io.dicom import reader as dicom
from napari_latentseg.io.dicom.series import NoImageError
from napari_latentseg.io.earlier_results import names_in_records
from napari_latentseg.io.find_scans import is_image_file
from napari_latentseg.io.registry import readable_suffixes, stem_of
from napari_latentseg.utils.paths import real_path

__all__ = ["cases_of_file", "folder_cases", "is_image"]

# Folders of annotated images keep their masks in these, beside the folder of the images.
_MASK_FOLDER = re.compile(r"masks.*|labels(tr|ts)?", re.IGNORECASE)
_IMAGE_FOLDER = re.compile(r"images(tr|ts)?", re.IGNORECASE)
_MASK_STEM = re.compile(r"(.+?)[ _-](?:mask|seg|segmentation|label|labels|gt)(_\d+)?", re.IGNORECASE)
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]+')
# Characters of a name, so that folder, file and the endings of results fit into what file systems allow.
_MAX_NAME_LENGTH = 100


def folder_cases(root: Path, out: Path | None, passed_over: Counter[str]) -> list[BatchCase]:
    """The cases in a folder and in the folders in it.

    A folder with DICOM files is read with all that is below it, each series a case. Results of earlier runs,
    masks beside their images or in `masks/` beside `images/`, hidden files, and the folder of the batch are
    no cases. Links to folders are not followed, since they may form a loop.

    Parameters
    ----------
    root
        The folder.
    out
        The folder of the batch, which may lie in it.
    passed_over
        Counts what is left out, by kind.

    Raises
    ------
    BadInput
        If the folder cannot be read.
    """
    cases: list[BatchCase] = []
    patients: dict[BatchCase, str] = {}
    for folder, files in _walk(root, out, passed_over):
        if ome_zarr.is_ours(folder):
            cases.append(BatchCase(_name(folder, root), folder))
        elif any(_may_be_dicom(file) and dicom.is_ours(file) for file in files):
            patients |= (series := _series_cases(folder, root, passed_over))
            cases += series
            # what is no DICOM in it, such as a NIfTI file of the same scan, is a case too
            cases += _file_cases([file for file in files if not _may_be_dicom(file)], root, passed_over)
        else:
            cases += _file_cases(files, root, passed_over)
    return _join_split_series(cases, patients, root)


def cases_of_file(path: Path, root: Path) -> list[BatchCase]:
    """The cases of one file or image folder that was named: several for DICOM with several series."""
    if (path.is_dir() or path.suffix.lower() == ".zip" or _may_be_dicom(path)) and _is_dicom(path):
        return list(_series_cases(path, root, Counter()))
    return [BatchCase(_name(path, root), path)]


def is_image(path: Path) -> bool:
    """Whether a file or folder can be a case: by the name of a file, or by what it holds."""
    return path.name.lower().endswith(readable_suffixes()) or ome_zarr.is_ours(path) or dicom.is_ours(path)


def _walk(root: Path, out: Path | None, passed_over: Counter[str]) -> Iterator[tuple[Path, list[Path]]]:
    """Folders with their visible files, top down; folders that are one image or no images are not entered."""

    def refuse(error: OSError) -> None:
        name = error.filename or root
        raise BadInput(
            name, f"cannot be read ({error.strerror})", "check the permission to read it"
        ) from error

    avoided = real_path(out) if out is not None else None
    for parent, names, file_names in os.walk(root, onerror=refuse):
        folder = Path(parent)
        files = [folder / name for name in sorted(file_names) if not name.startswith(".")]
        passed_over["hidden file"] += len(file_names) - len(files)
        yield folder, files
        is_one_image = ome_zarr.is_ours(folder)
        is_dicom = any(_may_be_dicom(file) and dicom.is_ours(file) for file in files)
        holds_masks = any(_IMAGE_FOLDER.fullmatch(name) for name in names)
        names[:] = sorted(
            name
            for name in names
            if not (is_one_image or is_dicom or name.startswith("."))
            and not (folder / name / HIDDEN).is_dir()
            and (avoided is None or real_path(folder / name) != avoided)
            and not (holds_masks and _MASK_FOLDER.fullmatch(name))
        )


def _file_cases(files: list[Path], root: Path, passed_over: Counter[str]) -> list[BatchCase]:
    """The cases of the files of one folder."""
    if not files:
        return []
    of_results = names_in_records(files[0].parent, files)
    stems = {stem_of(file).lower() for file in files}
    cases: list[BatchCase] = []
    for file in files:
        mask = _MASK_STEM.fullmatch(stem_of(file))
        if not is_image_file(file):
            passed_over["file that is not an image"] += 1
        elif file.name in of_results:
            passed_over["result of an earlier run"] += 1
        elif mask is not None and mask.group(1).lower() in stems:
            passed_over["mask beside its image"] += 1
        elif file.suffix.lower() == ".zip" and _is_dicom(file):
            cases += _series_cases(file, root, passed_over)
        else:
            cases.append(BatchCase(_name(file, root), file))
    return cases


def _series_cases(path: Path, root: Path, passed_over: Counter[str]) -> dict[BatchCase, str]:
    """A case for each series of a folder or zip, with the hash of its patient."""
    name = _name(path, root)
    try:
        series = dicom.list_series(path)
    except NoImageError:
        passed_over["folder of DICOM without images"] += 1
        return {}
    except BadInput as problem:
        return {BatchCase(name, path, problem=problem): ""}
    if results := sum(info.is_result for info in series):
        passed_over["result of an earlier run"] += results
        series = [info for info in series if not info.is_result]
    counts = Counter(info.uid for info in series)
    cases: dict[BatchCase, str] = {}
    for info in series:
        is_unique = counts[info.uid] == 1
        number = "" if is_unique else f"-{info.number}"
        own_name = name if len(series) == 1 else _shortened(f"{name}_{info.uid}{number}")
        refusal = BadInput(path, f"series {info.uid}: {info.problem}") if info.problem else None
        case = BatchCase(own_name, path, info.uid if is_unique else info.number, problem=refusal)
        cases[case] = info.patient
    return cases


def _join_split_series(
    cases: list[BatchCase], patients: Mapping[BatchCase, str], root: Path
) -> list[BatchCase]:
    """Make one case of a series whose files lie in several folders, so that no half of it is a volume.

    Series of two patients that were given one UID stay apart.
    """
    folders: dict[tuple[str, str], list[BatchCase]] = {}
    for case in cases:
        if isinstance(case.series, str) and case.path.is_dir():
            folders.setdefault((case.series, patients[case]), []).append(case)
    joined = {key: parts for key, parts in folders.items() if len(parts) > 1}
    split = {case for parts in joined.values() for case in parts}
    kept = [case for case in cases if case not in split]
    for (uid, _), parts in joined.items():
        parent = Path(os.path.commonpath([part.path for part in parts]))
        kept.append(BatchCase(_shortened(f"{_name(parent, root)}_{uid}"), parent, uid))
    return kept


def _is_dicom(path: Path) -> bool:
    if path.is_dir():
        return not ome_zarr.is_ours(path) and dicom.is_ours(path)
    return (path.suffix.lower() == ".zip" and not ome_zarr.is_ours(path)) or dicom.is_ours(path)


def _may_be_dicom(file: Path) -> bool:
    """Whether a file may be DICOM by its name, which often has no suffix, or a part of a UID for one."""
    return file.name.lower().endswith(_DICOM_SUFFIXES) or (
        stem_of(file) == file.name and not re.fullmatch(r"\.[A-Za-z]\w*", file.suffix)
    )


def _name(path: Path, root: Path) -> str:
    """The name of a case: its path below the folder, with underscores; the folder's own name for itself."""
    relative = path.relative_to(root)
    parts = (
        [*relative.parts[:-1], stem_of(relative.name)] if relative.parts else [stem_of(real_path(root).name)]
    )
    return _shortened("_".join(parts))


def _shortened(name: str) -> str:
    """A name that a file can have on every system; a hash stands for the middle of a long one."""
    safe = _UNSAFE.sub("_", name).strip(" .") or "case"
    if len(safe) <= _MAX_NAME_LENGTH:
        return safe
    digits = hashlib.sha256(safe.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{safe[:30]}~{digits}~{safe[-60:]}"
