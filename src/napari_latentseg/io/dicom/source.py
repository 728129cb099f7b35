"""The DICOM series that was segmented: find it again, and de-identify its headers for new objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors
from napari_latentseg.io.dicom.files import DicomFile
from napari_latentseg.io.dicom.series import Series, find_series
from napari_latentseg.io.image_header import ImageHeader

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["DicomSource", "deidentified", "find_source", "use_utf8_for"]

# What a new object needs from its source, besides patient and study.
_KEPT_KEYWORDS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "Modality", "ImageType", "Rows", "Columns", "NumberOfFrames",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "SeriesNumber", "InstanceNumber", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "DimensionOrganizationSequence", "DimensionIndexSequence",
    "PixelRepresentation", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation",
)  # fmt: skip
_REPLACED_KEYWORDS = (
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
)  # fmt: skip
_EMPTIED_KEYWORDS = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "PositionReferenceIndicator",  # the last may hold any text
)  # fmt: skip
_CHINESE_ESCAPE = "\x1b$)A"  # of ISO 2022 IR 58, which pydicom leaves in the text


@dataclass(frozen=True)
class DicomSource:
    """Headers of the images that were segmented.

    Attributes
    ----------
    datasets
        One for each slice, or a single one of a multiframe file.
    frames
        For each slice of the result, the number of its image, from 0.
    """

    datasets: tuple[Dataset, ...]
    frames: tuple[int, ...]

    def to_source_order(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Slices of the result, `(z, ...)`, in the order of the images."""
        return volume[np.argsort(self.frames)]


def find_source(image: ImageHeader) -> DicomSource:
    """Read the headers of the series of a result again.

    Raises
    ------
    BadInput
        If it is not DICOM, has no position in the patient, is a time series, or has changed or moved.
    """
    if image.format != "dicom" or image.source is None:
        raise BadInput(
            "dicom-seg", "refers to a DICOM series, and the source is none", "write NIfTI or TIFF instead"
        )
    if image.axes != "zyx" or image.geometry.frame != "LPS":
        raise BadInput(
            image.source.name,
            "is not a volume with a position in the patient",
            "write NIfTI or TIFF instead",
        )
    series = _matching_series(image, image.source)
    items = list(dict.fromkeys(frame.item for frame in series.frames))
    datasets = tuple(_read_header(item) for item in items)
    needed = ("FrameOfReferenceUID", "StudyInstanceUID", "SeriesInstanceUID")
    if not all(ds.get(keyword) for ds in datasets for keyword in needed):
        raise BadInput(
            image.source.name, "names no frame of reference, study or series", "write NIfTI instead"
        )
    if series.frames[0].encoding.is_mosaic:
        raise BadInput(
            image.source.name,
            "keeps its slices in mosaics, which DICOM-SEG cannot name",
            "write NIfTI instead",
        )
    sizes = [int(ds.get("NumberOfFrames") or 1) for ds in datasets]
    if sum(sizes) > len(series.frames) or (len(items) > 1 and max(sizes) > 1):
        raise BadInput(
            image.source.name,
            "holds other frames in the same file, or one scan in several multiframe files",
            "write NIfTI instead",
        )
    starts = {item: k for k, item in enumerate(items)}
    return DicomSource(datasets, tuple(starts[frame.item] + frame.index for frame in series.frames))


def _matching_series(image: ImageHeader, path: Path) -> Series:
    """The segmented series, by its hash and its geometry."""
    uid = image.properties.get("dicom_series")
    for candidate in find_series(path)[0]:
        if candidate.header.series != uid or candidate.geometry is None or candidate.shape[:3] != image.shape:
            continue
        if candidate.geometry.agrees_with(image.geometry, image.shape):
            return candidate
    raise BadInput(path.name, "no longer holds the series that was segmented", "put it back, or write NIfTI")


def _read_header(item: DicomFile) -> Dataset:
    import pydicom

    with read_errors(Path(item.name), "a DICOM file"), item.open() as file:
        ds = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        for keyword in _EMPTIED_KEYWORDS:
            if ds.get(keyword) is None:
                setattr(ds, keyword, "")
        if ds.PatientSex not in ("M", "F", "O"):
            ds.PatientSex = ""
        if not ds.get("SliceThickness"):
            ds.SliceThickness = 0  # highdicom asks for it, but uses the pixel measures it is given
        _use_one_character_set(ds)
        return ds


def _use_one_character_set(ds: Dataset) -> None:
    """Turn text in ISO 2022, with escape sequences, or in a set that is not defined, into UTF-8.

    highdicom refuses the usual sets of Japanese, Korean and Chinese hospitals; any other stays as it is.
    """
    from highdicom import SpecificCharacterSetValues
    from pydicom.valuerep import PersonName

    if "SpecificCharacterSet" not in ds:
        return
    accepted = [each.value for each in SpecificCharacterSetValues if not each.value.startswith("ISO 2022")]
    if ds.SpecificCharacterSet in accepted:
        return
    ds.decode()
    for element in ds:
        if isinstance(element.value, str | PersonName) and _CHINESE_ESCAPE in str(element.value):
            element.value = str(element.value).replace(_CHINESE_ESCAPE, "")
    ds.SpecificCharacterSet = SpecificCharacterSetValues.UNICODE_IN_UTF8.value


def use_utf8_for(texts: Iterable[str], datasets: Sequence[Dataset]) -> None:
    """Turn headers into UTF-8 where a text of a new object needs it, such as the name of a class.

    New objects have the character set of their source, in which pydicom writes a question mark for each
    letter that it lacks.

    Parameters
    ----------
    texts
        Of the new objects.
    datasets
        The headers; they are changed.
    """
    from highdicom import SpecificCharacterSetValues

    if all(text.isascii() for text in texts):
        return
    for ds in datasets:
        ds.decode()
        ds.SpecificCharacterSet = SpecificCharacterSetValues.UNICODE_IN_UTF8.value


def deidentified(datasets: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """Copies with listed attributes only, empty names and new UIDs (PS3.15, annex E).

    Equal UIDs get equal new UIDs, so objects written together still belong together. They no longer refer to
    the source; only the coordinates of the result still match it.
    """
    from pydicom import Dataset
    from pydicom.uid import generate_uid

    new_uids: dict[str, str] = {}
    copies = []
    for ds in datasets:
        copy = Dataset()
        copy.file_meta = ds.file_meta
        for keyword in _KEPT_KEYWORDS:
            if keyword in ds:
                copy.add(ds[keyword])
        for keyword in _REPLACED_KEYWORDS:
            if keyword in ds:
                old = str(ds[keyword].value)
                setattr(copy, keyword, new_uids.setdefault(old, generate_uid(prefix=None)))
        for keyword in _EMPTIED_KEYWORDS:
            setattr(copy, keyword, "")
        copies.append(copy)
    return tuple(copies)
