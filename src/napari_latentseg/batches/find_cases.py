"""The cases that the input of a batch stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import NamedTuple

from napari_latentseg.batches.archive_cases import archive_cases
from napari_latentseg.batches.bids_cases import bids_cases, bids_root, is_bids, place_in_data_set
from napari_latentseg.batches.case import BatchCase
from napari_latentseg.batches.case_input import CaseInput
from napari_latentseg.batches.case_list import listed_cases
from napari_latentseg.batches.folder_cases import cases_of_file, folder_cases, is_image
from napari_latentseg.batches.nnunet_cases import is_nnunet, nnunet_cases
from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import is_archive_address
from napari_latentseg.io.registry import find_reader, stem_of
from napari_latentseg.utils.paths import is_there

__all__ = ["FoundCases", "NoImageFound", "cases_of_part", "find_cases"]

_LISTS = (".csv", ".tsv")
_HIDDEN_NAME_DIGITS = 12  # of a hash: two of a million images agree in them with odds of 1 to 500


class FoundCases(NamedTuple):
    """Cases in the order of their names, and how many files were passed over, by the reason."""

    cases: tuple[BatchCase, ...]
    passed_over: dict[str, int]


class NoImageFound(BadInput):
    """What was given can be read, and no image is there."""


def find_cases(
    source: Path | None,
    *,
    case_list: Path | None = None,
    out: Path | None = None,
    deidentify: bool = False,
) -> FoundCases:
    """The cases of a folder, a pattern, a file, a BIDS data set, a folder of nnU-Net, a list or an archive.

    Parameters
    ----------
    source
        What a person gave: a CSV file is a list. None where there is a list.
    case_list
        A list of cases, see `napari_latentseg.batches.case_list.listed_cases`; the source is then a folder in
        which its paths may be.
    out
        The folder of the batch, which may lie in the source.
    deidentify
        Whether names that come from files, which may be those of patients, give way to the start of the hash
        of each image. Codes of a list, and the names of BIDS, which are codes too, stay.

    Returns
    -------
    FoundCases
        In the order of their names.

    Raises
    ------
    BadInput
        If it does not exist, holds no case, or two cases would have one name.
    """
    passed_over: Counter[str] = Counter()
    if case_list is None and source is not None and is_archive_address(source):
        return FoundCases(_with_different_names(archive_cases(source)), {})
    if case_list is None and source is not None and source.suffix.lower() in _LISTS:
        source, case_list = None, source
    if case_list is not None:
        cases = listed_cases(case_list, source)
    elif source is None:
        raise BadInput("scans", "are missing", "give a folder, a pattern or a list of images")
    elif not source.is_dir():
        cases = _cases_of_pattern(source, passed_over)
    elif is_bids(source):
        cases = bids_cases(source, passed_over)
    elif is_nnunet(source):
        cases = nnunet_cases(source, passed_over)
    else:
        cases = folder_cases(source, out, passed_over)
    if not cases and passed_over["result of an earlier run"]:
        raise NoImageFound(source, "holds results of earlier runs, and no image", "give the folder of images")
    if not cases:
        raise NoImageFound(source, "holds no image", "give a folder, a pattern or a list of images")
    if deidentify:
        cases = _without_file_names(cases)
    return FoundCases(_with_different_names(cases), {kind: n for kind, n in passed_over.items() if n})


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


def _cases_of_pattern(source: Path, passed_over: Counter[str]) -> list[BatchCase]:
    """The cases of a file, or of a pattern such as `in/*/t1.nii.gz`, which may lead into a BIDS data set.

    What else a pattern matches is counted in `passed_over`; a single file that is not an image is refused.
    """
    if is_there(source):
        find_reader(source)
        paths, root = [source], source.parent
    elif not has_magic(str(source)):
        raise BadInput(source, "no such file or folder", "check the path")
    else:
        parts = source.parts
        fixed = next(index for index, part in enumerate(parts) if has_magic(part))
        root = Path(*parts[:fixed])
        paths = []
        for path in sorted(root.glob("/".join(parts[fixed:]))):
            if is_image(path):
                paths.append(path)
            else:
                passed_over[f"{'folder' if path.is_dir() else 'file'} that is not an image"] += 1
    cases: list[BatchCase] = []
    for path in paths:
        data_set = bids_root(path)
        if data_set is not None and path.name.startswith("sub-"):
            cases.append(place_in_data_set(path, data_set))
        else:
            cases += cases_of_file(path, root)
    return cases


def _with_different_names(cases: list[BatchCase]) -> tuple[BatchCase, ...]:
    """Cases in the order of their names; files that differ in their endings alone are called after these too.

    Raises
    ------
    BadInput
        If two cases would still have one name.
    """
    counts = Counter(case.name.lower() for case in cases)
    renamed = []
    for case in cases:
        ending = case.path.name.removeprefix(stem_of(case.path)).replace(".", "-").strip("-")
        if counts[case.name.lower()] > 1 and not case.is_code and case.series is None and ending:
            case = replace(case, name=f"{case.name}-{ending}")
        renamed.append(case)
    owners: dict[str, BatchCase] = {}
    for case in renamed:
        other = owners.setdefault(case.name.lower(), case)
        if other is not case:
            why = f"its case would have the same name, {case.name!r}, as that of {other.path}"
            raise BadInput(case.path, why, "rename one of them, or name the cases in a list (--list)")
    # other processes, which may run in other folders, read the files too
    absolute = (
        case if is_archive_address(case.path) else replace(case, path=case.path.absolute())
        for case in renamed
    )
    return tuple(sorted(absolute, key=lambda case: case.name))


def _without_file_names(cases: list[BatchCase]) -> list[BatchCase]:
    """Cases that are called after the hash of their image; those that cannot be read are numbered."""
    renamed: list[BatchCase] = []
    counts: Counter[str] = Counter()
    for case in sorted(cases, key=lambda case: case.name):
        if case.is_code or case.folder:
            renamed.append(case)
            continue
        try:
            name = (
                "scan-unreadable" if case.problem else f"scan-{CaseInput(case).sha256[:_HIDDEN_NAME_DIGITS]}"
            )
        except BadInput:
            name = "scan-unreadable"
        counts[name] += 1  # copies of one image are cases of their own
        renamed.append(replace(case, name=name if counts[name] == 1 else f"{name}-{counts[name]}"))
    return renamed
