"""The cases that the input of a batch stands for."""

from __future__ import annotations

from collections.abc import Sequence
from glob import has_magic
from pathlib import Path

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.batches.folder_cases import (
    FoundCases,
    cases_of_file,
    cases_of_folder,
    with_different_names,
)
from napari_latentseg.errors import BadInput

__all__ = ["cases_of_part", "find_cases"]


def find_cases(source: Path, out: Path | None = None) -> FoundCases:
    """The cases of a folder, a pattern or a file.

    Parameters
    ----------
    source
        What a person gave.
    out
        The folder of the batch, which may lie in the source.

    Returns
    -------
    FoundCases
        In the order of their names.

    Raises
    ------
    BadInput
        If it does not exist, holds no case, or two cases would have one name.
    """
    found = cases_of_folder(source, out) if source.is_dir() else _cases_of_pattern(source)
    if not found.cases:
        raise BadInput(source, "holds no image", "give a folder, a pattern or a list of images")
    return found


def cases_of_part(cases: Sequence[BatchCase], part: int, parts: int) -> tuple[BatchCase, ...]:
    """The cases of one of several parts; together they cover each case once.

    Parameters
    ----------
    cases
        All cases, in the order of their names, which is the same on every machine.
    part, parts
        Which part, from 1, and how many there are.

    Raises
    ------
    BadInput
        If there is no such part.

    Examples
    --------
    >>> cases = [BatchCase(name, Path(f"{name}.png")) for name in "abcde"]
    >>> [case.name for case in cases_of_part(cases, 2, 3)]
    ['b', 'e']
    """
    if parts < 1:
        raise BadInput("parts", f"is {parts}", "give 1 or more")
    if not 1 <= part <= parts:
        raise BadInput("part", f"is {part} of {parts}", f"give 1 to {parts}")
    return tuple(cases[part - 1 :: parts])


def _cases_of_pattern(source: Path) -> FoundCases:
    """The cases of a file, or of a pattern such as `scans/*/t1.nii.gz`."""
    if source.exists():
        return FoundCases(with_different_names(cases_of_file(source, source.parent)), {})
    if not has_magic(str(source)):
        raise BadInput(source, "no such file or folder", "check the path")
    parts = source.parts
    fixed = next(index for index, part in enumerate(parts) if has_magic(part))
    root = Path(*parts[:fixed])
    cases: list[BatchCase] = []
    for path in sorted(root.glob("/".join(parts[fixed:]))):
        cases += cases_of_file(path, root)
    return FoundCases(with_different_names(cases), {})
