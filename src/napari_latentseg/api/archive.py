"""Find series in an archive, and store results there, by DICOMweb."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.utils.argument_types import as_paths

if TYPE_CHECKING:
    from napari_latentseg.io.dicomweb.query import ArchiveSeries

__all__ = ["find_in_archive", "retrieve_from_archive", "store_in_archive"]


def find_in_archive(
    address: str,
    *,
    patient: str | None = None,
    name: str | None = None,
    date: str | None = None,
    modality: str | None = None,
) -> list[ArchiveSeries]:
    """The series of an archive that match; their `address` is what `read_scan` and `segment` take.

    Parameters
    ----------
    address
        ``dicomweb://host[:port]/path`` (HTTPS) or ``dicomweb+http://...`` (without encryption), perhaps with
        what is asked for: ``?patient=ID&date=DATE&modality=MR``. docs/archive.md says where user, password
        and token are kept.
    patient, name
        ID and name of the patient; ``*`` stands for any characters.
    date
        A day, ``"2026-11-02"``, or a range of days, ``"2026-11-01..2026-11-30"``.
    modality
        Such as ``"MR"``.

    Returns
    -------
    list of ArchiveSeries
        In the order of date, patient and series number; 1,000 at most.

    Raises
    ------
    BadInput
        If the address cannot be used, or the archive cannot be asked. The message names its host alone.

    Examples
    --------
    >>> from napari_latentseg import BadInput, find_in_archive
    >>> try:
    ...     find_in_archive("dicomweb://pacs.example.org/dicom-web", date="last week")
    ... except BadInput as error:
    ...     print(error)
    date: is not a date; write 2026-11-02, or a range: 2026-11-01..2026-11-30
    """
    from napari_latentseg.io.dicomweb.address import parse_address
    from napari_latentseg.io.dicomweb.query import find_series

    return find_series(parse_address(address).matching(patient, name, date, modality))


def retrieve_from_archive(address: str) -> Path:
    """Copy one series of an archive into a private folder, which is removed when the program ends.

    Parameters
    ----------
    address
        Of one series, as `find_in_archive` gives it.

    Returns
    -------
    Path
        The folder; its name reveals neither patient nor UID.

    Raises
    ------
    BadInput
        If several series match, or the archive sends less than the whole series, or that of another patient.

    Examples
    --------
    >>> from napari_latentseg import BadInput, retrieve_from_archive
    >>> try:
    ...     retrieve_from_archive("dicomweb://pacs.example.org/dicom-web?date=yesterday")
    ... except BadInput as error:
    ...     print(error)
    date: is not a date; write 2026-11-02, or a range: 2026-11-01..2026-11-30
    """
    from napari_latentseg.io.dicomweb.retrieve import local_copy

    return local_copy(Path(address), None)[0]


def store_in_archive(files: str | Path | Iterable[str | Path], address: str) -> int:
    """Store DICOM files in an archive, such as those of a result that was written as ``"dicom-seg"``.

    Parameters
    ----------
    files
        DICOM files, or one of them.
    address
        Of the archive, as for `find_in_archive`.

    Returns
    -------
    int
        How many were stored.

    Raises
    ------
    BadInput
        If one is not a DICOM file (nothing is sent then), or the archive does not take one; the message says
        how many it took.

    Examples
    --------
    >>> from napari_latentseg import BadInput, store_in_archive
    >>> try:
    ...     store_in_archive("knee_mask.nii.gz", "dicomweb://pacs.example.org/dicom-web")
    ... except BadInput as error:
    ...     print(error)
    knee_mask.nii.gz: is not a file; give the DICOM files of a result
    """
    from napari_latentseg.io.dicomweb.address import parse_address
    from napari_latentseg.io.dicomweb.store import store_files

    return store_files(as_paths("files", files), parse_address(address))
