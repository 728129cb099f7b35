"""Store DICOM objects in an archive (STOW-RS)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors
from napari_latentseg.io._progress import report_progress
from napari_latentseg.io.dicom.files import begins_as_dicom, silence_dicom_loggers
from napari_latentseg.io.dicomweb.address import ArchiveAddress
from napari_latentseg.io.dicomweb.connection import connect
from napari_latentseg.utils.counts import count_text

__all__ = ["store_files"]


def store_files(files: Sequence[Path], address: ArchiveAddress) -> int:
    """Send DICOM files to an archive, one by one.

    Parameters
    ----------
    files
        DICOM files; all are looked at before the first is sent.
    address
        Of the archive; what it is asked for is not looked at.

    Returns
    -------
    int
        How many files were stored.

    Raises
    ------
    BadInput
        If one is not a DICOM file, or the archive does not take it; the message says how many it took.
    """
    import pydicom

    for file in files:
        if not file.is_file():
            name = file.name.partition("?")[0]  # behind which the address of an archive names the patient
            raise BadInput(name, "is not a file", "give the DICOM files of a result")
        if not begins_as_dicom(file):
            raise BadInput(file.name, "is not a DICOM file", "write the result with --format dicom-seg")
    stored = 0
    try:
        with connect(address) as client:
            for file in files:
                report_progress(stored, len(files))
                with silence_dicom_loggers(), read_errors(Path(file.name), "a DICOM file"):
                    dataset = pydicom.dcmread(file)
                answer = client.store_instances([dataset])
                if answer.get("FailedSOPSequence") or not answer.get("ReferencedSOPSequence"):
                    raise BadInput(address.title, "did not take a file", "ask its administrator")
                stored += 1
    except BadInput as error:
        if len(files) == 1:
            raise
        why = f"{error.why} (it took {stored} of {count_text(len(files), 'file')})"
        raise BadInput(error.what, why, error.remedy) from error
    report_progress(stored, len(files))
    return stored
