"""The header of a DICOM file: its frames, their positions, and how their values are stored."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom.deflated import inflated_size
from napari_latentseg.io.dicom.encoding import PixelEncoding, read_encoding
from napari_latentseg.io.dicom.files import DicomFile
from napari_latentseg.io.dicom.geometry import SlicePose
from napari_latentseg.io.dicom.lookup_tables import note_on_modality_lut
from napari_latentseg.io.dicom.mosaic import is_mosaic, read_mosaic
from napari_latentseg.io.dicom.unpositioned import Unpositioned, unpositioned_layout

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["MANUFACTURER", "Frame", "Header", "read_header"]

MANUFACTURER = "napari-latentseg"
"""What the results that are written as DICOM state."""

# The attributes that are read. Of patients only name and number are among them, to find out whether the
# description of the series repeats them, and whether two files are of one patient; they are not kept.
_IDENTIFYING_KEYWORDS = ("PatientName", "PatientID", "OtherPatientNames", "OtherPatientIDs")
_KEYWORDS = (
    *_IDENTIFYING_KEYWORDS, "StudyInstanceUID",
    "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription",
    "FrameOfReferenceUID", "ImageType", "InstanceNumber", "AcquisitionNumber", "AcquisitionTime", "EchoTime",
    "TemporalPositionIdentifier", "TemporalResolution", "TriggerTime", "DiffusionBValue",
    "DiffusionGradientOrientation", "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate",
    "FrameIncrementPointer", "SpacingBetweenSlices", "SliceThickness", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing",
    "PixelAspectRatio", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope",
    "RescaleIntercept", "ModalityLUTSequence", "GridFrameOffsetVector", "DoseGridScaling",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "SequenceOfUltrasoundRegions",
    "DirectoryRecordSequence", "DimensionOrganizationType", "TotalPixelMatrixColumns", "PixelPaddingValue",
    "PixelIntensityRelationship", "SegmentSequence", "Manufacturer",
)  # fmt: skip
# Segmentation Storage, Label Map Segmentation Storage, Parametric Map Storage
_SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_PARAMETRIC_MAP_CLASS = "1.2.840.10008.5.1.4.1.1.30"
# Numbers without which a scan is still read rightly: left out where they hold text.
_OPTIONAL_NUMBERS = ("SeriesNumber", "InstanceNumber", "AcquisitionNumber", "TemporalPositionIdentifier")


@dataclass(frozen=True)
class Frame:
    """One frame (2D image) of a file.

    Attributes
    ----------
    item
        The file.
    index
        Number of the frame in the file, from 0.
    encoding
        How its pixels are stored.
    pose
        Position and orientation in the patient; None if the file has none.
    slope, intercept
        Rescaling of stored values.
    distinguishing_attributes
        What may distinguish it from another frame at the same position: time, b-value, echo, image type.
    tile
        Of a mosaic, the number of the tile that is this frame, from 0.
    """

    item: DicomFile
    index: int
    encoding: PixelEncoding
    pose: SlicePose | None
    slope: float
    intercept: float
    distinguishing_attributes: dict[str, Any] = field(compare=False)
    tile: int = 0


@dataclass(frozen=True)
class Header:
    """The frames of a file, and the attributes by which files are grouped to series.

    Attributes
    ----------
    item
        The file.
    series, frame_of_reference, study
        The first eight digits of a hash of the UIDs; the UIDs themselves would lead to the patient.
    patient
        Whose image it is: as many digits of a hash of the patient's number, or of the name where there is no
        number. Only compared with those of other files, and never recorded.
    number, modality, description
        Of the series. The description is shown on screen only, never recorded: it may hold anything.
    title
        The description where it does not name the patient, else empty; for names of layers.
    unnamed_series
        Where the file has no UID of its series, as after some anonymisation: a hash of what files of one
        series have in common. Empty otherwise.
    frames
        In the order of the file.
    unpositioned
        Pixel size and time step of frames without a position in the patient.
    time_step
        Temporal resolution in seconds; 0 if not given.
    skip_reason
        Why the file is not read as an image (``"holds no image"``); empty for an image.
    notes
        What was assumed or left out, for people.
    problem
        Why the series of this file cannot be read, though the file is intact; None if it can.
    is_result
        Whether this program has written it, as the variance or doubt of a result.
    """

    item: DicomFile
    series: str = ""
    frame_of_reference: str = ""
    study: str = ""
    patient: str = field(default="", repr=False)
    number: int = 0
    modality: str = ""
    description: str = ""
    title: str = ""
    unnamed_series: str = ""
    frames: tuple[Frame, ...] = ()
    unpositioned: Unpositioned | None = None
    time_step: float = 0.0
    skip_reason: str = ""
    notes: tuple[str, ...] = ()
    problem: BadInput | None = None
    is_result: bool = False


def short_hash(uid: object) -> str:
    """Eight hexadecimal digits that identify a UID without revealing it."""
    return hashlib.sha256(str(uid).encode()).hexdigest()[:8]


def read_header(item: DicomFile) -> Header:
    """Read the header of a file, and check that its pixels are complete, without decoding them.

    Raises
    ------
    BadInput
        If the file is cut short, or its position, spacing or rescaling is invalid.
    """
    import pydicom

    with item.open() as file:
        inflated_bytes = inflated_size(item, file)
        ds = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_header_tags(), force=True)
        skip_reason = _skip_reason(item, ds)
        if skip_reason:
            return Header(item, skip_reason=skip_reason)
        _check_numbers(item, ds)
        encoding = read_encoding(item, file, ds, inflated_bytes)
    frame_count = int(ds.get("NumberOfFrames") or 1)
    if frame_count < 1 or encoding.rows < 1 or encoding.columns < 1:
        raise BadInput(item.name, "has no pixels", "export it again")
    groups = [_FunctionalGroups(ds, i) for i in range(frame_count)]
    frames = tuple(_read_frame(item, ds, group, encoding) for group in groups)
    frames, notes, problem = _split_mosaic(item, ds, frames)
    lut_note = note_on_modality_lut(ds)
    series_uid = ds.get("SeriesInstanceUID")
    series = series_uid or ds.get("SOPInstanceUID") or item.name
    description = str(ds.get("SeriesDescription") or "")
    return Header(
        item,
        short_hash(series),
        short_hash(ds.get("FrameOfReferenceUID", "")),
        short_hash(ds.get("StudyInstanceUID") or ""),
        short_hash(str(ds.get("PatientID") or ds.get("PatientName") or "").strip()),
        int(ds.get("SeriesNumber") or 0),
        str(ds.get("Modality") or ""),
        description,
        "" if _names_patient(description, ds) else " ".join(description.split()),
        "" if series_uid else _hash_of_common_attributes(ds),
        frames,
        unpositioned_layout(ds, frame_count),
        float(ds.get("TemporalResolution") or 0) / 1000,
        notes=(*notes, lut_note) if lut_note else notes,
        problem=problem or _problem_of_values(item, ds),
        is_result=ds.get("SOPClassUID") == _PARAMETRIC_MAP_CLASS and ds.get("Manufacturer") == MANUFACTURER,
    )


def _check_numbers(item: DicomFile, ds: Dataset) -> None:
    """Refuse numbers that hold text (``0,5``), or leave them out; pydicom returns them as text."""
    from pydicom.datadict import dictionary_description, dictionary_VR

    for keyword in _KEYWORDS:
        if keyword not in ds or dictionary_VR(keyword) not in ("DS", "IS"):
            continue
        try:
            value = ds.get(keyword)
            for number in [value] if value is None or isinstance(value, str | int | float) else value:
                float(number or 0)
        except (ValueError, TypeError) as error:
            if keyword not in _OPTIONAL_NUMBERS:
                name = dictionary_description(keyword).lower()
                raise BadInput(item.name, f"has text in place of its {name}", "export it again") from error
            del ds[keyword]


def _problem_of_values(item: DicomFile, ds: Dataset) -> BadInput | None:
    """Values in the upper bits, which were allowed before 2006 and which most programs read wrongly."""
    bits_stored = int(ds.get("BitsStored") or ds.BitsAllocated)
    high_bit = ds.get("HighBit")
    if high_bit is None or int(high_bit) <= bits_stored - 1 or bits_stored == 1:
        return None
    why = f"stores values in its upper bits (high bit {int(high_bit)}, {bits_stored} bits stored)"
    return BadInput(item.name, why, "export it with the usual high bit")


def _split_mosaic(
    item: DicomFile, ds: Dataset, frames: tuple[Frame, ...]
) -> tuple[tuple[Frame, ...], tuple[str, ...], BadInput | None]:
    """The slices of a mosaic as frames; with notes, or with the reason why it cannot be split."""
    if not is_mosaic(ds):
        return frames, (), None
    try:
        mosaic = read_mosaic(item)
    except BadInput as problem:
        return frames, (), problem
    if mosaic is None:
        return frames, (), None
    (image,) = frames
    rows, columns = image.encoding.rows // mosaic.tiles[0], image.encoding.columns // mosaic.tiles[1]
    encoding = replace(image.encoding, rows=rows, columns=columns, tiles=mosaic.tiles)
    slices = [replace(image, encoding=encoding, pose=pose, tile=k) for k, pose in enumerate(mosaic.poses)]
    return tuple(slices), mosaic.notes, None


@cache
def _header_tags() -> list[Any]:
    from pydicom.tag import Tag

    return [Tag(keyword) for keyword in _KEYWORDS]


def _names_patient(text: str, ds: Dataset) -> bool:
    """Whether a text repeats a part of the patient's name, or the patient's number."""
    identifying = " ".join(str(ds.get(keyword) or "") for keyword in _IDENTIFYING_KEYWORDS)
    # a single letter, such as a middle initial or a number 1, is in most texts
    parts = {part for part in re.split(r"[\W_]+", identifying.casefold()) if len(part) > 1}
    words = set(re.split(r"[\W_]+", text.casefold()))
    return any(part in words or (len(part) > 3 and part in text.casefold()) for part in parts)


def _hash_of_common_attributes(ds: Dataset) -> str:
    """A hash of what the files of one series share, besides size and orientation."""
    keywords = ("StudyInstanceUID", "PatientID", "SeriesNumber", "Modality", "SeriesDescription", "ImageType")
    return short_hash([str(ds.get(keyword) or "") for keyword in keywords])


def _skip_reason(item: DicomFile, ds: Dataset) -> str:
    """Why a file is not read as an image; empty for an image. An image without pixels raises `BadInput`."""
    if "DirectoryRecordSequence" in ds:
        return "is a list of files, not a scan"
    is_segmentation = ds.get("SOPClassUID") in _SEGMENTATION_CLASSES or "SegmentSequence" in ds
    if is_segmentation or str(ds.get("Modality") or "") == "SEG":
        return "is a segmentation, not a scan"
    if "TotalPixelMatrixColumns" in ds or str(ds.get("DimensionOrganizationType") or "").startswith("TILED"):
        return "is a tiled whole-slide image, which is not supported"
    if "Rows" not in ds or "Columns" not in ds or "BitsAllocated" not in ds:
        kind = ds.get("SOPClassUID")
        if kind is not None and "Image Storage" in kind.name:
            raise BadInput(item.name, "ends before its pixels", "copy it again")
        if kind is None and not ds.get("Modality"):
            raise BadInput(item.name, "is not a DICOM file, or is damaged", "copy it again")
        return "holds no image"
    return ""


class _FunctionalGroups:
    """Attributes of one frame: from its own functional groups, the shared ones, or the top of the header."""

    def __init__(self, ds: Dataset, index: int) -> None:
        self._levels: list[Any] = []
        frame_groups = ds.get("PerFrameFunctionalGroupsSequence") or []
        if index < len(frame_groups):
            self._levels.append(frame_groups[index])
        self._levels.extend((ds.get("SharedFunctionalGroupsSequence") or [])[:1])
        self._dataset = ds
        self.index = index

    def get(self, group: str, keyword: str) -> Any:
        """The value in a functional group, or at the top level; None if neither has it."""
        for level in self._levels:
            items = level.get(group) or []
            if items and items[0].get(keyword) is not None:
                return items[0].get(keyword)
        return self.file_level(keyword)

    def file_level(self, keyword: str) -> Any:
        """The value at the top level of the header, or None."""
        return self._dataset.get(keyword)


def _read_frame(item: DicomFile, ds: Dataset, groups: _FunctionalGroups, encoding: PixelEncoding) -> Frame:
    transformation_group = "PixelValueTransformationSequence"
    slope = groups.get(transformation_group, "RescaleSlope")
    if "DoseGridScaling" in ds:
        slope = ds.DoseGridScaling
    slope_value = 1.0 if slope in (None, "") else float(slope)
    intercept = float(groups.get(transformation_group, "RescaleIntercept") or 0)
    if not math.isfinite(slope_value) or slope_value == 0 or not math.isfinite(intercept):
        raise BadInput(item.name, "has an invalid rescale slope or intercept", "export it again")
    return Frame(
        item,
        groups.index,
        encoding,
        _read_pose(item, ds, groups),
        slope_value,
        intercept,
        _distinguishing_attributes(groups),
    )


def _read_pose(item: DicomFile, ds: Dataset, groups: _FunctionalGroups) -> SlicePose | None:
    position = groups.get("PlanePositionSequence", "ImagePositionPatient")
    orientation = groups.get("PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = groups.get("PixelMeasuresSequence", "PixelSpacing")
    if not position or not orientation or not spacing:
        return None
    is_multiframe = int(ds.get("NumberOfFrames") or 1) > 1
    offsets = ds.get("GridFrameOffsetVector")
    if is_multiframe and not offsets and "PerFrameFunctionalGroupsSequence" not in ds:
        return None  # one position for many frames: the others have none
    thickness = groups.get("PixelMeasuresSequence", "SpacingBetweenSlices") or groups.get(
        "PixelMeasuresSequence", "SliceThickness"
    )
    pose = SlicePose.from_header(
        item.name,
        [float(v) for v in position],
        [float(v) for v in orientation],
        [float(v) for v in spacing],
        abs(float(thickness or 0.0)),
    )
    return _pose_at_offset(item, pose, offsets, groups.index) if is_multiframe and offsets else pose


def _pose_at_offset(item: DicomFile, pose: SlicePose, offsets: Sequence[Any], index: int) -> SlicePose:
    """The frames of RT Dose lie along the normal of the first (PS3.3, C.8.8.3.2)."""
    normal = pose.normal
    first = float(offsets[0])
    if first != 0 and not np.allclose(normal, (0, 0, 1)):
        raise BadInput(item.name, "has no positions of its frames", "export it again")
    return pose.moved_to(pose.position + normal * (float(offsets[index]) - first))


def _distinguishing_attributes(groups: _FunctionalGroups) -> dict[str, Any]:
    b_value = groups.get("MRDiffusionSequence", "DiffusionBValue")
    direction = groups.get("MRDiffusionSequence", "DiffusionGradientOrientation")
    attributes = {
        "kind": groups.get("MRImageFrameTypeSequence", "FrameType") or groups.file_level("ImageType"),
        "echo": groups.get("MREchoSequence", "EffectiveEchoTime") or groups.file_level("EchoTime"),
        "stack": groups.get("FrameContentSequence", "StackID"),
        "time": groups.get("FrameContentSequence", "TemporalPositionIndex")
        or groups.file_level("TemporalPositionIdentifier"),
        "b-value": None if b_value is None else (b_value, *(direction or ())),
        "trigger": groups.get("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime")
        or groups.file_level("TriggerTime"),
        "acquisition": groups.file_level("AcquisitionNumber"),
        "clock": groups.file_level("AcquisitionTime"),
    }
    return {name: _plain_value(value) for name, value in attributes.items() if value not in (None, "")}


def _plain_value(value: Any) -> Any:
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        return value
    return tuple(_plain_value(v) for v in value)
