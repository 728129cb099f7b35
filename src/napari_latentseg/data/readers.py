"""Masks of several readers: a folder for each reader beside `masks/`, with files of the same names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_latentseg.data.cases import Case
from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput

__all__ = ["ALL_READERS", "parse_readers", "reader_folders", "with_readers"]

ALL_READERS = "auto"
"""In place of names of folders: all that are called `masks_r1`, `masks_r2` and so on."""

_READER_FOLDER = re.compile(r"masks_r(\d+)")


def parse_readers(text: str) -> tuple[str, ...]:
    """The names of folders in ``"masks_r1,masks_r2"``; none for ``"auto"``, which stands for all.

    Raises
    ------
    BadInput
        If a name is empty, is there twice or is a path.

    Examples
    --------
    >>> parse_readers("masks_r1, masks_2nd"), parse_readers("auto")
    (('masks_r1', 'masks_2nd'), ())
    """
    if text.strip().lower() == ALL_READERS:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise BadInput(
            "readers", "one has no name", "write FOLDER,FOLDER, or auto for masks_r1, masks_r2, ..."
        )
    for name in names:
        if names.count(name) > 1:
            raise BadInput("readers", f"{name} is there twice", "give each folder once")
        if Path(name).name != name:
            raise BadInput("readers", f"{name} is a path", "give the name of a folder beside images/")
    return names


def reader_folders(folder: Path, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The folders of readers' masks in a data set, by name.

    Parameters
    ----------
    folder
        Holds `images/` and the folders of masks.
    names
        The folders to take; where none are given, all that are called `masks_r1`, `masks_r2` and so on, in
        the order of their numbers.

    Raises
    ------
    BadInput
        If there is no such folder.
    """
    if names:
        for name in names:
            if not (folder / name).is_dir():
                raise BadInput(
                    folder, f"has no folder {name}/ of a reader's masks", "name the folders it has"
                )
        return tuple(names)
    numbers = {
        path.name: match for path in folder.glob("masks_r*") if (match := _reader_number(path)) is not None
    }
    if not numbers:
        remedy = "name the folders of the readers' masks, such as masks_r1,masks_r2"
        raise BadInput(folder, "has no folders masks_r1/, masks_r2/, ... of readers' masks", remedy)
    return tuple(sorted(numbers, key=lambda name: numbers[name]))


def with_readers(cases: Sequence[Case], folder: Path, names: Sequence[str] = ()) -> list[Case]:
    """The cases of a folder with the files of all readers' masks; no file is decoded.

    Parameters
    ----------
    cases
        Of the folder.
    folder, names
        See `reader_folders`.

    Raises
    ------
    BadInput
        If there is no such folder, or an image has no mask of one of the readers.
    """
    files_by_case: dict[str, list[Path]] = {case.name: [] for case in cases}
    for name in reader_folders(folder, names):
        for reader_case in find_cases(folder, masks=name):
            if reader_case.mask_file is not None and reader_case.name in files_by_case:
                files_by_case[reader_case.name].append(reader_case.mask_file)
    return [replace(case, reader_mask_files=tuple(files_by_case[case.name])) for case in cases]


def _reader_number(path: Path) -> int | None:
    match = _READER_FOLDER.fullmatch(path.name)
    return int(match.group(1)) if match and path.is_dir() else None
