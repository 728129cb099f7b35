"""Copy a series of an archive into a private folder, from which the DICOM reader reads it (WADO-RS).

Instances are written one by one as they come, so that memory holds one, and pixels are decoded when they are
needed. Not the metadata alone with frames on demand: a server that sends half a series, or another one, would
be noticed in the middle of a run, and DICOM-SEG needs the headers again.
"""

from __future__ import annotations

import atexit
import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from napari_latentseg.errors import BadInput
from napari_latentseg.io._progress import report_progress
from napari_latentseg.io.dicom.header import short_hash
from napari_latentseg.io.dicomweb.address import ArchiveAddress, is_archive_address, parse_address
from napari_latentseg.io.dicomweb.connection import connect
from napari_latentseg.io.dicomweb.query import ArchiveSeries, ask_for_series, find_series
from napari_latentseg.utils.counts import count_text
from napari_latentseg.utils.scratch import make_scratch_folder, remove_scratch_folder

__all__ = ["discard_copy", "local_copy", "matching_series", "retrieve_series", "temporary_copy"]

_ALL_SYNTAXES = (("application/dicom", "*"),)  # as stored: a server that decodes may round
_Series = TypeVar("_Series", int | None, int | str | None)
_copies: dict[ArchiveAddress, Path] = {}
_locks: dict[ArchiveAddress, threading.Lock] = defaultdict(threading.Lock)
_WAIT_S = 0.1  # between two looks whether a person has cancelled


def matching_series(path: Path | str) -> list[ArchiveSeries]:
    """The series that an address stands for; empty if it names one series itself.

    Raises
    ------
    BadInput
        As `find_series`, or if none matches.
    """
    address = parse_address(path)
    if address.series:
        return []
    found = find_series(address)
    if not found:
        raise BadInput(address.title, "has no series that matches", "check patient, date and modality")
    return found


def local_copy(path: Path, series: _Series) -> tuple[Path, _Series | None]:
    """The folder of a retrieved series, and which image in it is meant; any other path is returned as it is.

    Parameters
    ----------
    path
        A path, or the address of an archive.
    series
        Where several series of the archive match, the number of one, from 1.

    Raises
    ------
    BadInput
        As `retrieve_series`, or if several series match and none is chosen.
    """
    if not is_archive_address(path):
        return path, series
    address = parse_address(path)
    found = matching_series(path)
    if len(found) <= 1:
        chosen = parse_address(found[0].address) if found else address
        return retrieve_series(chosen), series
    if not isinstance(series, int):
        remedy = "choose one with --series N; `info` lists them"
        raise BadInput(address.title, f"has {len(found)} series that match", remedy)
    if not 1 <= series <= len(found):
        raise BadInput("series", f"{series} of {len(found)} that match", f"give 1 to {len(found)}")
    return retrieve_series(parse_address(found[series - 1].address)), None


def retrieve_series(address: ArchiveAddress) -> Path:
    """Copy one series into a folder of this process, or find it there; it is removed at the end.

    Parameters
    ----------
    address
        Of one series. Progress is reported by `napari_latentseg.io._progress`.

    Returns
    -------
    Path
        A folder that only this user can read. Its name says nothing about the patient.

    Raises
    ------
    BadInput
        If the archive has no such series, sends less of it than it has, or something else, or fails.
    """
    with _alone(address):
        folder = _copies.get(address)
        if folder is not None and folder.is_dir():
            return folder
        scratch = make_scratch_folder()
        try:
            folder = scratch / f"series-{short_hash(address.series)}"
            folder.mkdir()
            with connect(address) as client:
                _copy(client, address, folder)
        except BaseException:
            remove_scratch_folder(scratch)
            raise
        _copies[address] = folder
        atexit.register(remove_scratch_folder, scratch)
        return folder


@contextmanager
def temporary_copy(path: Path, series: int | str | None) -> Iterator[tuple[Path, int | str | None]]:
    """As `local_copy`; what this block has retrieved is removed at its end, not at that of the process."""
    kept = set(_copies.values())
    copy, chosen = local_copy(path, series)
    try:
        yield copy, chosen
    finally:
        if copy not in kept:
            discard_copy(copy)


def discard_copy(folder: Path) -> None:
    """Remove a folder that `retrieve_series` made, before the end of the process; any other stays."""
    for address in [address for address, copy in _copies.items() if copy == folder]:
        del _copies[address]
        remove_scratch_folder(folder.parent)


@contextmanager
def _alone(address: ArchiveAddress) -> Iterator[None]:
    """Let the second reader of a series wait for the first."""
    lock = _locks[address]
    while not lock.acquire(timeout=_WAIT_S):
        report_progress(0, 0)  # raises what ends the waiting
    try:
        yield
    finally:
        lock.release()


def _copy(client: Any, address: ArchiveAddress, folder: Path) -> None:
    announced = ask_for_series(client, address)
    if not announced:
        raise BadInput(address.title, "has no such series", "look for it again")
    total = announced[0].images
    if total is None:
        total = len(client.search_for_instances(address.study, address.series))
    report_progress(0, total)
    names: set[str] = set()
    for dataset in client.iter_series(address.study, address.series, media_types=_ALL_SYNTAXES):
        _check_of_series(address, announced[0], dataset)
        # always the same name, whatever the order in which a server sends
        name = f"{hashlib.sha256(str(dataset.SOPInstanceUID).encode()).hexdigest()[:16]}.dcm"
        names.add(name)
        dataset.save_as(folder / name, enforce_file_format=False, overwrite=True)
        report_progress(len(names), max(total, len(names)))
    if len(names) < total:
        raise BadInput(
            address.title,
            f"sent {len(names)} of the {count_text(total, 'image')} of the series",
            "try again later",
        )


def _check_of_series(address: ArchiveAddress, announced: ArchiveSeries, dataset: Any) -> None:
    """Refuse an instance of another series or patient.

    Raises
    ------
    BadInput
        If it is one.
    """
    patient = str(dataset.get("PatientID") or "").strip()
    if announced.patient_id and patient != announced.patient_id:
        what = "another patient's images"
    elif [dataset.get(f"{it}InstanceUID") for it in ("Study", "Series")] != [address.study, address.series]:
        what = "images of another series"
    else:
        return
    raise BadInput(address.title, f"sent {what}", "do not use it; ask its administrator")
