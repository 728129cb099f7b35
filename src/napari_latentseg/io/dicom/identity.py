"""Whose images two series are, and when they were taken: compared in memory, and never shown or kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors
from napari_latentseg.io.dicom.header import short_hash
from napari_latentseg.io.dicom.series import find_series

__all__ = ["SeriesIdentity", "series_identity"]

_KEYWORDS = (
    "PatientID",
    "IssuerOfPatientID",
    "FrameOfReferenceUID",
    "AcquisitionDate",
    "SeriesDate",
    "StudyDate",
)


@dataclass(frozen=True)
class SeriesIdentity:
    """What two series are compared by.

    Attributes
    ----------
    patient, frame_of_reference
        The start of hashes; empty where the file does not say.
    date
        As DICOM writes it, ``"YYYYMMDD"``; empty where the file does not say.
    """

    patient: str = field(default="", repr=False)
    frame_of_reference: str = field(default="", repr=False)
    date: str = field(default="", repr=False)


def series_identity(image: Scan | Segmentation) -> SeriesIdentity | None:
    """The identity of the series that an image was read from; None where it is not DICOM, or is gone.

    Parameters
    ----------
    image
        The image, as it was read, or a result of it that was not written and read.
    """
    if image.format != "dicom" or image.source is None:
        return None
    try:
        return _read(image.source, str(image.properties.get("dicom_series", "")))
    except BadInput:  # moved, or a copy that was retrieved from an archive and is gone
        return None


def _read(path: Path, series: str) -> SeriesIdentity | None:
    import pydicom

    for candidate in find_series(path)[0]:
        if candidate.header.series != series:
            continue
        item = candidate.header.item
        with read_errors(Path(item.name), "a DICOM file"), item.open() as file:
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_KEYWORDS))
            text = {keyword: str(header.get(keyword) or "").strip() for keyword in _KEYWORDS}
        patient, issuer, frame, *dates = (text[keyword] for keyword in _KEYWORDS)
        return SeriesIdentity(
            short_hash(f"{issuer}\0{patient}") if patient else "",
            short_hash(frame) if frame else "",
            next((date for date in dates if date), ""),
        )
    return None
