"""One DICOM file's header: its frames, where they lie, and how their values are stored."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom.encoding import PixelEncoding, read_encoding
from napari_latentseg.io.dicom.files import DicomFile
from napari_latentseg.io.dicom.geometry import SlicePose
from napari_latentseg.io.dicom.unpositioned import Unpositioned, unpositioned_layout

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Frame", "Header", "read_header"]

# What is read of a header: a fixed list, so that names and dates are not even held in memory.
_KEYWORDS = (
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
)  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """One picture of a file.

    Attributes
    ----------
    index
        Its number in the file, from 0.
    pose
        Where it lies; None where the file does not say.
    slope, intercept
        From stored to meant values.
    distinguishing_attributes
        What may tell it from another frame at the same place: time, b-value, echo, kind.
    """

    item: DicomFile
    index: int
    encoding: PixelEncoding
    pose: SlicePose | None
    slope: float
    intercept: float
    distinguishing_attributes: dict[str, Any] = field(compare=False)


@dataclass(frozen=True)
class Header:
    """One file's frames, and what groups them.

    Attributes
    ----------
    series, frame_of_reference
        The first eight digits of a hash of the UIDs, which would lead to the patient.
    description
        For a chooser on the screen alone: it may hold anything, and is not recorded.
    skip_reason
        Why the file is no picture of its own (``"is a report"``); empty where it is one.
    unpositioned
        How its frames lie where they have no place in the patient.
    """

    item: DicomFile
    series: str = ""
    frame_of_reference: str = ""
    number: int = 0
    modality: str = ""
    description: str = ""
    frames: tuple[Frame, ...] = ()
    unpositioned: Unpositioned | None = None
    time_step: float = 0.0
    skip_reason: str = ""


def short_hash(uid: object) -> str:
    """Eight digits that stand for a UID and do not lead back to it."""
    return hashlib.sha256(str(uid).encode()).hexdigest()[:8]


def read_header(item: DicomFile) -> Header:
    """Read a file's header, and see whether its pixels are all there; they are not decoded.

    Raises
    ------
    BadInput
        Where it is cut short, or says where it lies in a way that cannot be.
    """
    import pydicom

    with item.open() as file:
        ds = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_header_tags(), force=True)
        skip_reason = _skip_reason(item, ds)
        if skip_reason:
            return Header(item, skip_reason=skip_reason)
        encoding = read_encoding(item, file, ds)
    frame_count = int(ds.get("NumberOfFrames") or 1)
    if frame_count < 1 or encoding.rows < 1 or encoding.columns < 1:
        raise BadInput(item.name, "has no pixels", "export it again")
    groups = [_FunctionalGroups(ds, i) for i in range(frame_count)]
    series = ds.get("SeriesInstanceUID") or ds.get("SOPInstanceUID") or item.name
    return Header(
        item,
        short_hash(series),
        short_hash(ds.get("FrameOfReferenceUID", "")),
        int(ds.get("SeriesNumber") or 0),
        str(ds.get("Modality") or ""),
        str(ds.get("SeriesDescription") or ""),
        tuple(_read_frame(item, ds, group, encoding) for group in groups),
        unpositioned_layout(ds, frame_count),
        float(ds.get("TemporalResolution") or 0) / 1000,
    )


@cache
def _header_tags() -> list[Any]:
    from pydicom.tag import Tag

    return [Tag(keyword) for keyword in _KEYWORDS]


def _skip_reason(item: DicomFile, ds: Dataset) -> str:
    """Why a file is not read as an image; empty where it is one. A slice that lost its pixels is refused."""
    if "DirectoryRecordSequence" in ds:
        return "is a list of files, not a scan"
    if str(ds.get("Modality") or "") == "SEG":
        return "is a segmentation, not a scan"
    if "TotalPixelMatrixColumns" in ds or str(ds.get("DimensionOrganizationType") or "").startswith("TILED"):
        return "is a whole slide in tiles, which is not read"
    if "Rows" not in ds or "Columns" not in ds or "BitsAllocated" not in ds:
        kind = ds.get("SOPClassUID")
        if kind is not None and "Image Storage" in kind.name:
            raise BadInput(item.name, "ends before its pixels", "copy it again")
        if kind is None and not ds.get("Modality"):
            raise BadInput(item.name, "is not a DICOM file, or is damaged", "copy it again")
        return "holds no picture"
    return ""


class _FunctionalGroups:
    """What a header says of one frame: its own groups, then the shared ones, then the file's top."""

    def __init__(self, ds: Dataset, index: int) -> None:
        self._levels: list[Any] = []
        frame_groups = ds.get("PerFrameFunctionalGroupsSequence") or []
        if index < len(frame_groups):
            self._levels.append(frame_groups[index])
        self._levels.extend((ds.get("SharedFunctionalGroupsSequence") or [])[:1])
        self._dataset = ds
        self.index = index

    def get(self, group: str, keyword: str) -> Any:
        """The value in a functional group, or at the top; None where neither has it."""
        for level in self._levels:
            items = level.get(group) or []
            if items and items[0].get(keyword) is not None:
                return items[0].get(keyword)
        return self.file_level(keyword)

    def file_level(self, keyword: str) -> Any:
        """The value at the top of the header, or None."""
        return self._dataset.get(keyword)


def _read_frame(item: DicomFile, ds: Dataset, groups: _FunctionalGroups, encoding: PixelEncoding) -> Frame:
    transformation_group = "PixelValueTransformationSequence"
    slope = groups.get(transformation_group, "RescaleSlope")
    if "DoseGridScaling" in ds:
        slope = ds.DoseGridScaling
    slope_value = 1.0 if slope in (None, "") else float(slope)
    intercept = float(groups.get(transformation_group, "RescaleIntercept") or 0)
    if not math.isfinite(slope_value) or slope_value == 0 or not math.isfinite(intercept):
        raise BadInput(item.name, "scales its values in a way that cannot be", "export it again")
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
        return None  # one place for many frames says nothing of the others
    thickness = groups.get("PixelMeasuresSequence", "SpacingBetweenSlices") or groups.get(
        "PixelMeasuresSequence", "SliceThickness"
    )
    pose = SlicePose.from_header(
        item.name,
        [float(v) for v in position],
        [float(v) for v in orientation],
        [float(v) for v in spacing],
        abs(float(thickness or 1.0)),
    )
    return _pose_at_offset(item, pose, offsets, groups.index) if is_multiframe and offsets else pose


def _pose_at_offset(item: DicomFile, pose: SlicePose, offsets: Sequence[Any], index: int) -> SlicePose:
    """A dose's frames lie along the normal of the first (PS3.3, C.8.8.3.2)."""
    normal = pose.normal
    first = float(offsets[0])
    if first != 0 and not np.allclose(normal, (0, 0, 1)):
        raise BadInput(item.name, "does not say where its frames lie", "export it again")
    x, y, z = (float(v) for v in pose.position + normal * (float(offsets[index]) - first))
    return SlicePose((x, y, z), pose.row, pose.column, pose.spacing, pose.thickness)


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
