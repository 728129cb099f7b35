"""The cases that the source of a list stands for, with what is known of their results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from napari_latentseg.batches.batch_folder import BatchFolder
from napari_latentseg.batches.case import BatchCase
from napari_latentseg.batches.case_rows import CaseRow, read_case_rows
from napari_latentseg.batches.find_cases import NoImageFound, find_cases
from napari_latentseg.caselist.listed_case import ListedCase, doubt_of_sizes
from napari_latentseg.caselist.results import ResultIndex, sizes_of_record
from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicomweb.address import is_archive_address

__all__ = ["FoundList", "find_listed_cases"]

_LISTS = (".csv", ".tsv")
HIDDEN = ".cases"
"""The folder that holds the journal of a list, in the folder of its results or images."""


class FoundList(NamedTuple):
    """Cases in the order of their names, and the folder in which their journal lies."""

    cases: tuple[ListedCase, ...]
    home: Path


def find_listed_cases(source: Path, results: Path | None = None) -> FoundList:
    """The cases of a folder of images, a list, an archive, the results of a batch, or images with masks.

    No image is opened, except the headers of DICOM, which tell where a series begins; an archive is asked
    which series match.

    Parameters
    ----------
    source
        A folder, searched with those in it; a CSV file with the columns case and path; the results of
        `napari_latentseg.batch`; a folder with masks in `masks/`, `labelsTr/` or beside the images; or the
        address of an archive.
    results
        A folder of results or of masks with the names of the images; else they are looked for in `source`.
        Of a de-identified batch, whose table has no paths, each image is read to find its result.

    Raises
    ------
    BadInput
        If there is no such folder, or it holds no case; of an archive, if it cannot be asked, or there is no
        folder for the results.
    """
    source, results = Path(source), None if results is None else Path(results)
    if results is not None and not results.is_dir():
        raise BadInput(results, "no such folder", "give the folder of the results or masks")
    if is_archive_address(source):
        return _of_archive(source, results)
    if not source.exists():
        raise BadInput(source, "no such file or folder", "check the path")
    is_list = source.is_file() and source.suffix.lower() in _LISTS
    if source.is_file() and not is_list:
        raise BadInput(source, "is not a list of cases", "give a folder, or a CSV file with case and path")
    if not is_list and BatchFolder(source).table.exists():
        cases = [_of_table(row) for row in read_case_rows(source)]
        if not cases:
            raise BadInput(source, "holds no case yet", "wait for the batch")
        return FoundList(tuple(cases), source / HIDDEN)
    found = _images_of(source)
    table = {row.case: row for row in read_case_rows(results)} if results is not None else {}
    if table and not any(case.name in table for case in found):  # named after the hashes of their images
        found = find_cases(source, deidentify=True).cases
    images = source.parent if is_list else source
    # a list may lie anywhere, also at the top of a whole disk: nothing is looked for around it
    index = ResultIndex() if is_list and results is None else ResultIndex.of_folders(images, results)
    home = HIDDEN if not is_list or results is not None else f"{HIDDEN}-{source.stem}"
    return FoundList(
        tuple(_of_batch_case(case, table.get(case.name), index) for case in found), (results or images) / home
    )


def _images_of(source: Path) -> tuple[BatchCase, ...]:
    """The images of a folder or list.

    Raises
    ------
    BadInput
        If there is none; where results of `segment` alone are there, it says how these are given.
    """
    try:
        return find_cases(source).cases
    except NoImageFound as error:
        if not source.is_dir() or not ResultIndex.of_folders(source, None).records:
            raise
        remedy = "give the folder of the images, and this one as that of the results (--results)"
        raise BadInput(source, "holds results, and none of their images", remedy) from error


def _of_archive(address: Path, results: Path | None) -> FoundList:
    """The series of an archive that match, with their results in a folder."""
    if results is None:
        why = "is missing: the list of an archive keeps results and decisions in it"
        raise BadInput("folder of the results", why, "give one (--results)")
    found = find_cases(address).cases
    table = {row.case: row for row in read_case_rows(results)}
    index = ResultIndex.of_folders(address, results)
    return FoundList(
        tuple(_of_batch_case(case, table.get(case.name), index) for case in found), results / HIDDEN
    )


def _of_table(row: CaseRow) -> ListedCase:
    """A case of a batch."""
    result = Path(row.result) if row.result else None
    return ListedCase(
        name=row.case,
        path=Path(row.path) if row.path else None,
        series=_series(row.series),
        state="new" if result is None else "segmented",
        fit=row.fit,
        sizes=row.sizes,
        doubt=doubt_of_sizes(row.sizes, row.expected_dice),
        doubtful_slice=row.doubtful_slice,
        result=result,
        problem=row.reason if row.state == "failed" else "",
    )


def _of_batch_case(case: BatchCase, row: CaseRow | None, index: ResultIndex) -> ListedCase:
    """A case of a folder or list, with the result or mask that belongs to it."""
    problem = "" if case.problem is None else str(case.problem)
    if row is not None:
        listed = _of_table(row)
        return replace(listed, path=case.path, series=case.series, problem=problem or listed.problem)
    record = index.record_of(case)
    if record is not None:
        sizes, fit, expected_dice = sizes_of_record(record)
        return ListedCase(
            case.name, case.path, case.series, "segmented", fit=fit, sizes=sizes,
            doubt=doubt_of_sizes(sizes, expected_dice), result=record, problem=problem,
        )  # fmt: skip
    mask = index.mask_of(case)
    return ListedCase(
        case.name, case.path, case.series, "new" if mask is None else "segmented", mask=mask, problem=problem
    )


def _series(text: str) -> int | str | None:
    """A series as `BatchCase.series` has it; eight digits name a DICOM series."""
    if not text:
        return None
    return int(text) if text.isdecimal() and len(text) < 8 else text
