"""Images without a position in the patient (ultrasound, X-ray, photographs): pixel size and time step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_latentseg.core.geometry import Geometry

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Unpositioned", "unpositioned_layout"]

_UNIT_CENTIMETRES = 3  # code of Physical Units X Direction (PS3.3, C.8.5.5.1.1)
_EVEN_TOLERANCE = 0.01  # of the mean: frame times are rounded to milliseconds
_FRAME_TIME_KEYWORDS = ("FrameTime", "FrameTimeVector")
_CINE_MODALITIES = frozenset({"US", "IVUS", "XA", "RF", "ES", "XC", "OPT", "GM", "SM"})


@dataclass(frozen=True)
class Unpositioned:
    """Spacing of frames without a position in the patient.

    Attributes
    ----------
    spacing, unit
        Distance between rows and between columns in ``"mm"``; or, in ``"pixel"``, the aspect ratio.
    frame_axis
        Axis of the frames: ``"t"`` or ``"z"``; empty for one frame.
    frame_step, frame_step_unit
        Distance or time between frames.
    notes
        What was assumed, for people.
    """

    spacing: tuple[float, float]
    unit: str
    frame_axis: str = ""
    frame_step: float = 1.0
    frame_step_unit: str = "pixel"
    notes: tuple[str, ...] = ()

    def geometry(self) -> Geometry:
        """The geometry, without frame: the position in the patient is unknown."""
        steps, units = [*self.spacing], [self.unit, self.unit]
        if self.frame_axis:
            steps, units = [self.frame_step, *steps], [self.frame_step_unit, *units]
        return Geometry.from_matrix(np.diag([*steps, 1.0]), tuple(units), tuple(f"{self.frame_axis}yx"))


def unpositioned_layout(ds: Dataset, frames: int) -> Unpositioned:
    """Pixel size and time step from the header of an image without a position.

    Parameters
    ----------
    ds
        The header.
    frames
        Number of frames in the file.
    """
    spacing, unit, notes = _pixel_size(ds)
    if frames == 1:
        return Unpositioned(spacing, unit, notes=notes)
    pointer = ds.get("FrameIncrementPointer")
    is_cine = any(keyword in ds for keyword in _FRAME_TIME_KEYWORDS) or ds.get("Modality") in _CINE_MODALITIES
    if is_cine and pointer != 0x3004000C:  # Grid Frame Offset Vector: the frames are slices
        step, step_unit = _frame_interval(ds)
        return Unpositioned(spacing, unit, "t", step, step_unit, notes)
    if ds.get("ImagePositionPatient"):
        notes = (
            *notes,
            "the file gives one position for all frames: where they lie in the patient is not known",
        )
    slice_spacing = _positive(ds.get("SpacingBetweenSlices"))
    if not slice_spacing and (slice_spacing := _positive(ds.get("SliceThickness"))):
        notes = (*notes, "the distance of the slices is taken from their thickness")
    if slice_spacing and unit == "mm":
        return Unpositioned(spacing, unit, "z", slice_spacing, "mm", notes)
    return Unpositioned(spacing, unit, "z", notes=notes)


def _positive(value: object) -> float:
    """The size of a number; 0 where there is none, or it is not finite."""
    size = abs(float(str(value or 0)))
    return size if math.isfinite(size) else 0.0


def _pixel_size(ds: Dataset) -> tuple[tuple[float, float], str, tuple[str, ...]]:
    regions = ds.get("SequenceOfUltrasoundRegions")
    if regions and (region_spacing := _ultrasound_spacing(regions)):
        return region_spacing, "mm", ()
    for keyword in ("PixelSpacing", "NominalScannedPixelSpacing", "ImagerPixelSpacing"):
        steps = _positive_pair(ds.get(keyword))
        if steps:
            at_detector = ("sizes are those at the detector, not in the body",)
            return steps, "mm", at_detector if keyword == "ImagerPixelSpacing" else ()
    ratio = _positive_pair(ds.get("PixelAspectRatio"))
    return (ratio[0] / ratio[1], 1.0) if ratio else (1.0, 1.0), "pixel", ()


def _positive_pair(value: Sequence[object] | None) -> tuple[float, float] | None:
    if value is None or isinstance(value, str) or len(value) != 2:
        return None
    row_spacing, column_spacing = (float(str(v)) for v in value)
    usable = (
        math.isfinite(row_spacing)
        and math.isfinite(column_spacing)
        and row_spacing > 0
        and column_spacing > 0
    )
    return (row_spacing, column_spacing) if usable else None


def _ultrasound_spacing(regions: Sequence[Dataset]) -> tuple[float, float] | None:
    """The pixel size of an ultrasound image in mm, if all its calibrated regions agree."""
    steps = {
        (abs(float(r.PhysicalDeltaY)) * 10, abs(float(r.PhysicalDeltaX)) * 10)
        for r in regions
        if r.get("PhysicalUnitsXDirection") == _UNIT_CENTIMETRES
        and r.get("PhysicalUnitsYDirection") == _UNIT_CENTIMETRES
        and r.get("PhysicalDeltaX")
        and r.get("PhysicalDeltaY")
    }
    return steps.pop() if len(steps) == 1 else None


def _frame_interval(ds: Dataset) -> tuple[float, str]:
    vector = ds.get("FrameTimeVector")
    if vector is not None and not isinstance(vector, str) and len(vector) > 1:
        gaps = np.array([float(v) for v in vector[1:]])
        if gaps.min() > 0 and gaps.max() - gaps.min() <= _EVEN_TOLERANCE * gaps.mean():
            return float(gaps.mean()) / 1000, "s"
        return 1.0, "pixel"
    interval_ms = float(ds.get("FrameTime") or 0)
    rate = float(ds.get("CineRate") or ds.get("RecommendedDisplayFrameRate") or 0)
    if interval_ms <= 0 and rate > 0:
        interval_ms = 1000 / rate
    return (interval_ms / 1000, "s") if math.isfinite(interval_ms) and interval_ms > 0 else (1.0, "pixel")
