"""The result that is in a folder already: whose it is, and what of it a new one may replace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from napari_latentseg.core.record import RunRecord
from napari_latentseg.errors import BadInput, first_validation_error, system_failure
from napari_latentseg.io.commit_files import REPLACE_REMEDY
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.result_names import RECORD_NAME, RESULT_SUFFIXES, array_names

__all__ = [
    "EarlierResult",
    "check_not_of_result",
    "check_replaceable",
    "files_to_remove",
    "find_earlier_result",
    "names_in_records",
    "read_record",
]

_ARRAY_SUFFIXES = (*RESULT_SUFFIXES.values(), ".dcm")
_OTHER_NAMES = ("contours.geojson", "measurements.csv", "report.html")


@dataclass(frozen=True)
class EarlierResult:
    """The files of the result that has the same name.

    Attributes
    ----------
    record_path, record
        Its run record; `record` is None where there is none, or it cannot be read.
    files
        Names of its files that are there, without the record.
    changed
        Those of them that somebody has changed since they were written.
    hashes
        `path_sha256` of those of them that were read.
    """

    record_path: Path
    record: RunRecord | None
    files: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)


def find_earlier_result(folder: Path, prefix: str, *, compare: bool = True) -> EarlierResult:
    """Read the record of the result with this name prefix and compare its files with it.

    Parameters
    ----------
    folder
        Need not exist.
    prefix
        `napari_latentseg.io.result_names.name_prefix` of the result.
    compare
        Whether to read the files and compare their hashes; without it, none counts as changed.
    """
    record_path = folder / f"{prefix}{RECORD_NAME}"
    try:
        record = read_record(record_path) if record_path.is_file() else None
    except BadInput:
        record = None
    if record is None:
        return EarlierResult(record_path, None)
    if not record.files:  # written before records named the files
        arrays = [f"{name}{suffix}" for name in array_names(record.classes) for suffix in _ARRAY_SUFFIXES]
        names = [f"{prefix}{name}" for name in (*arrays, *_OTHER_NAMES)]
        return EarlierResult(record_path, record, tuple(n for n in names if os.path.lexists(folder / n)))
    # a name that leads to another folder is not one that was written here
    hashes = {f"{prefix}{name}": sha256 for name, sha256 in record.files.items() if Path(name).name == name}
    names = [name for name in hashes if os.path.lexists(folder / name)]
    found = {name: path_sha256(folder / name) for name in names} if compare else {}
    changed = [name for name in found if found[name] != hashes[name]]
    return EarlierResult(record_path, record, tuple(names), tuple(changed), found)


def names_in_records(folder: Path, entries: Iterable[Path]) -> set[str]:
    """The names of run records among the entries of a folder, and of the files that these records name."""
    names: set[str] = set()
    for entry in entries:
        if entry.name.endswith(RECORD_NAME):
            prefix = entry.name.removesuffix(RECORD_NAME)
            names |= {entry.name, *find_earlier_result(folder, prefix, compare=False).files}
    return names


def check_replaceable(
    earlier: EarlierResult, input_sha256: Callable[[], str], new_names: Iterable[str], *, is_box: bool
) -> None:
    """Refuse to replace what is not an unchanged result of the same image.

    Parameters
    ----------
    earlier
        What is there.
    input_sha256
        Gives the hash of the image; called only where there is a record to compare it with.
    new_names
        Names of the files to be written.
    is_box
        Whether the hash is that of a box in the image.

    Raises
    ------
    BadInput
        If there is a result of another image, a file that was changed after the run, or a file that belongs
        to no result.
    """
    record_path = earlier.record_path
    folder = record_path.parent
    if earlier.record is not None and earlier.record.input.sha256 != input_sha256():
        is_part = is_box or earlier.record.box is not None
        other = "another image, or of another part of this one" if is_part else "another image"
        raise BadInput(record_path, f"is of a result of {other}", REPLACE_REMEDY)
    for name in earlier.changed:
        raise BadInput(folder / name, "was changed after the run that wrote it", REPLACE_REMEDY)
    for name in new_names:
        if name == record_path.name and earlier.record is not None:
            continue
        if name not in earlier.files and os.path.lexists(folder / name):
            raise BadInput(
                folder / name, "already exists, and no run record says what it is of", REPLACE_REMEDY
            )


def files_to_remove(earlier: EarlierResult, new_names: Iterable[str]) -> list[str]:
    """The files of an earlier result that a new one does not replace."""
    return sorted(set(earlier.files) - set(new_names))


def check_not_of_result(path: Path) -> None:
    """Refuse to write a single file, such as a report, over one that a run record names.

    Parameters
    ----------
    path
        The file to be written; it need not exist.

    Raises
    ------
    BadInput
        If it is a file of a result, which would no longer be what its record says.
    """
    if not os.path.lexists(path):
        return
    for record_path in path.absolute().parent.glob(f"*{RECORD_NAME}"):
        prefix = record_path.name.removesuffix(RECORD_NAME)
        if not path.name.startswith(prefix):
            continue
        earlier = find_earlier_result(record_path.parent, prefix, compare=False)
        if path.name in (record_path.name, *earlier.files):
            raise BadInput(path, f"is a file of the result {record_path.name}", "choose another name")


def read_record(path: Path) -> RunRecord:
    """Read a run record.

    Raises
    ------
    BadInput
        If it is none.
    """
    try:
        return RunRecord.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        field, why = first_validation_error(error)
        raise BadInput(path, f"{field or 'the file'}: {why}", "write the result again") from error
    except (OSError, UnicodeDecodeError) as error:
        # without access, or on a disk that is gone, there is nothing wrong with the file
        failure = system_failure(error) if isinstance(error, OSError) else None
        raise failure or BadInput(path, "cannot be read", "write the result again") from error
