"""The cases of a folder of any depth: each file, each DICOM series and each OME-Zarr image."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from napari_latentseg.batches.batch_folder import HIDDEN
from napari_latentseg.batches.case import BatchCase
from napari_latentseg.errors import BadInput
from napari_latentseg.io import ome_zarr
from napari_latentseg.io.dicom import reader as dicom
from napari_latentseg.io.dicom.series import NoImageError
from napari_latentseg.io.earlier_results import find_earlier_result
from napari_latentseg.io.find_scans import is_image_file
from napari_latentseg.io.registry import stem_of
from napari_latentseg.io.result_names import RECORD_NAME

__all__ = ["FoundCases", "cases_of_file", "cases_of_folder", "with_different_names"]

# Folders of annotated images keep their masks in these, beside the folder of the images.
_MASK_FOLDERS = {"masks": "images", "labelstr": "imagestr", "labelsts": "imagests"}
_MASK_STEM = re.compile(r"(.+?)[ _-](?:mask|seg|segmentation|label|labels|gt)(_\d+)?", re.IGNORECASE)
_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]+')
_MAX_NAME_LENGTH = 64  # characters; as for the codes of cases


class FoundCases(NamedTuple):
    """Cases in the order of their names, and how many files were passed over, by the reason."""

    cases: tuple[BatchCase, ...]
    passed_over: dict[str, int]


def cases_of_folder(root: Path, out: Path | None = None) -> FoundCases:
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

    Raises
    ------
    BadInput
        If the folder cannot be read.
    """
    passed_over: Counter[str] = Counter()
    cases: list[BatchCase] = []
    for folder, files in _walk(root, out, passed_over):
        if ome_zarr.is_ours(folder):
            cases.append(BatchCase(_name(folder, root), folder))
        elif any(_may_be_dicom(file) and dicom.is_ours(file) for file in files):
            cases += _series_cases(folder, root, passed_over)
            # what is no DICOM in it, such as a NIfTI file of the same scan, is a case too
            cases += _file_cases([file for file in files if not _may_be_dicom(file)], root, passed_over)
        else:
            cases += _file_cases(files, root, passed_over)
    return FoundCases(with_different_names(_join_split_series(cases, root)), dict(passed_over))


def cases_of_file(path: Path, root: Path) -> list[BatchCase]:
    """The cases of one file or image folder that was named: several for DICOM with several series."""
    if (path.is_dir() or path.suffix.lower() == ".zip" or _may_be_dicom(path)) and _is_dicom(path):
        return _series_cases(path, root, Counter())
    return [BatchCase(_name(path, root), path)]


def with_different_names(cases: list[BatchCase]) -> tuple[BatchCase, ...]:
    """Cases in the order of their names, which are made different where two would be the same.

    Raises
    ------
    BadInput
        If two names still are.
    """
    counts = Counter(case.name.lower() for case in cases)
    renamed = []
    for case in cases:
        if counts[case.name.lower()] > 1 and not case.is_code and case.series is None:
            suffix = case.path.name.removeprefix(stem_of(case.path)).replace(".", "-").strip("-")
            renamed.append(_renamed(case, f"{case.name}-{suffix}" if suffix else case.name))
        else:
            renamed.append(case)
    owners: dict[str, BatchCase] = {}
    for case in renamed:
        other = owners.setdefault(case.name.lower(), case)
        if other is not case:
            why = f"its case {case.name!r} would be called like that of {other.path}"
            raise BadInput(case.path, why, "rename one of them, or name the cases in a list (--list)")
    return tuple(sorted(renamed, key=lambda case: case.name))


def _renamed(case: BatchCase, name: str) -> BatchCase:
    return replace(case, name=name)


def _walk(root: Path, out: Path | None, passed_over: Counter[str]) -> Iterator[tuple[Path, list[Path]]]:
    """Folders with their visible files, top down; folders that are one image or no images are not entered."""

    def refuse(error: OSError) -> None:
        name = error.filename or root
        raise BadInput(name, f"cannot be read ({error.strerror})", "check the right to read it") from error

    avoided = out.resolve() if out is not None else None
    for parent, names, file_names in os.walk(root, onerror=refuse):
        folder = Path(parent)
        files = [folder / name for name in sorted(file_names) if not name.startswith(".")]
        passed_over["hidden file"] += len(file_names) - len(files)
        yield folder, files
        is_one_image = ome_zarr.is_ours(folder)
        is_dicom = any(_may_be_dicom(file) and dicom.is_ours(file) for file in files)
        lower = {name.lower() for name in names}
        names[:] = sorted(
            name
            for name in names
            if not (is_one_image or is_dicom or name.startswith("."))
            and not (folder / name / HIDDEN).is_dir()
            and (avoided is None or (folder / name).resolve() != avoided)
            and _MASK_FOLDERS.get(name.lower()) not in lower
        )


def _file_cases(files: list[Path], root: Path, passed_over: Counter[str]) -> list[BatchCase]:
    """The cases of the files of one folder."""
    if not files:
        return []
    of_results = _files_of_results(files[0].parent, files)
    stems = {stem_of(file).lower() for file in files}
    cases = []
    for file in files:
        mask = _MASK_STEM.fullmatch(stem_of(file))
        if not is_image_file(file):
            passed_over["file that is no image"] += 1
        elif file.name in of_results:
            passed_over["result of an earlier run"] += 1
        elif mask is not None and mask.group(1).lower() in stems:
            passed_over["mask beside its image"] += 1
        elif file.suffix.lower() == ".zip" and _is_dicom(file):
            cases += _series_cases(file, root, passed_over)
        else:
            cases.append(BatchCase(_name(file, root), file))
    return cases


def _files_of_results(folder: Path, files: list[Path]) -> set[str]:
    """The names of files that run records in the folder name."""
    names: set[str] = set()
    for file in files:
        if file.name.endswith(RECORD_NAME):
            prefix = file.name.removesuffix(RECORD_NAME)
            names |= {file.name, *find_earlier_result(folder, prefix, compare=False).files}
    return names


def _series_cases(path: Path, root: Path, passed_over: Counter[str]) -> list[BatchCase]:
    """A case for each series of a folder or zip."""
    name = _name(path, root)
    try:
        series = dicom.list_series(path)
    except NoImageError:
        passed_over["folder of DICOM without images"] += 1
        return []
    except BadInput as problem:
        return [BatchCase(name, path, problem=problem)]
    counts = Counter(info.uid for info in series)
    cases = []
    for info in series:
        is_unique = counts[info.uid] == 1
        number = "" if is_unique else f"-{info.number}"
        own_name = name if len(series) == 1 else _shortened(f"{name}_{info.uid}{number}")
        refusal = BadInput(path, f"series {info.uid}: {info.problem}") if info.problem else None
        cases.append(BatchCase(own_name, path, info.uid if is_unique else info.number, problem=refusal))
    return cases


def _join_split_series(cases: list[BatchCase], root: Path) -> list[BatchCase]:
    """Make one case of a series whose files lie in several folders, so that no half of it is a volume."""
    folders: dict[str, list[BatchCase]] = {}
    for case in cases:
        if isinstance(case.series, str) and case.path.is_dir():
            folders.setdefault(case.series, []).append(case)
    joined = {uid: parts for uid, parts in folders.items() if len(parts) > 1}
    kept = [case for case in cases if case.series not in joined or not case.path.is_dir()]
    for uid, parts in joined.items():
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
        [*relative.parts[:-1], stem_of(relative.name)] if relative.parts else [stem_of(root.resolve().name)]
    )
    return _shortened("_".join(parts))


def _shortened(name: str) -> str:
    """A name that a file can have on every system; a long one keeps its end, which differs most."""
    safe = _UNSAFE.sub("_", name).strip(" .") or "case"
    return safe if len(safe) <= _MAX_NAME_LENGTH else f"{safe[:15]}~{safe[-(_MAX_NAME_LENGTH - 16) :]}"
