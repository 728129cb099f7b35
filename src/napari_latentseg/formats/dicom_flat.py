"""Pictures without a place in the patient: ultrasound, X-ray, photographs; their size, and their time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_latentseg.scan import Geometry

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Flat", "flat_of"]

_CENTIMETRES = 3
_EVEN = 0.01
_OVER_TIME = ("FrameTime", "FrameTimeVector")
_MOVING = frozenset({"US", "IVUS", "XA", "RF", "ES", "XC", "OPT", "GM", "SM"})


@dataclass(frozen=True)
class Flat:
    """How frames lie in their own world.

    Attributes
    ----------
    spacing, unit
        Between rows and columns: in ``"mm"``, or the shape of an element in ``"pixel"``.
    axis
        What the frames run over: ``"t"`` or ``"z"``; empty for one frame.
    step, step_unit
        From frame to frame.
    notes
        What one should know of these.
    """

    spacing: tuple[float, float]
    unit: str
    axis: str = ""
    step: float = 1.0
    step_unit: str = "pixel"
    notes: tuple[str, ...] = ()

    def geometry(self) -> Geometry:
        """In the order of the array's axes; without a frame, since the patient is not in it."""
        steps, units = [*self.spacing], [self.unit, self.unit]
        if self.axis:
            steps, units = [self.step, *steps], [self.step_unit, *units]
        return Geometry.from_matrix(np.diag([*steps, 1.0]), tuple(units), tuple(f"{self.axis}yx"))


def flat_of(ds: Dataset, frames: int) -> Flat:
    """What a header says of the size and time of frames that lie nowhere.

    Parameters
    ----------
    ds
        The header.
    frames
        How many there are in the file.
    """
    spacing, unit, notes = _size(ds)
    if frames == 1:
        return Flat(spacing, unit, notes=notes)
    pointer = ds.get("FrameIncrementPointer")
    moves = any(keyword in ds for keyword in _OVER_TIME) or ds.get("Modality") in _MOVING
    if moves and pointer != 0x3004000C:
        step, step_unit = _time(ds)
        return Flat(spacing, unit, "t", step, step_unit, notes)
    between = abs(float(ds.get("SpacingBetweenSlices") or 0))
    if between > 0 and unit == "mm":
        return Flat(spacing, unit, "z", between, "mm", notes)
    return Flat(spacing, unit, "z", notes=notes)


def _size(ds: Dataset) -> tuple[tuple[float, float], str, tuple[str, ...]]:
    regions = ds.get("SequenceOfUltrasoundRegions")
    if regions and (found := _regions(regions)):
        return found, "mm", ()
    for keyword in ("PixelSpacing", "NominalScannedPixelSpacing", "ImagerPixelSpacing"):
        steps = _pair(ds.get(keyword))
        if steps:
            at_detector = ("sizes are those at the detector, not in the body",)
            return steps, "mm", at_detector if keyword == "ImagerPixelSpacing" else ()
    ratio = _pair(ds.get("PixelAspectRatio"))
    return (ratio[0] / ratio[1], 1.0) if ratio else (1.0, 1.0), "pixel", ()


def _pair(value: Sequence[object] | None) -> tuple[float, float] | None:
    if value is None or isinstance(value, str) or len(value) != 2:
        return None
    down, across = (float(str(v)) for v in value)
    usable = math.isfinite(down) and math.isfinite(across) and down > 0 and across > 0
    return (down, across) if usable else None


def _regions(regions: Sequence[Dataset]) -> tuple[float, float] | None:
    """The step of an ultrasound picture, where all its regions with a length have the same."""
    steps = {
        (abs(float(r.PhysicalDeltaY)) * 10, abs(float(r.PhysicalDeltaX)) * 10)
        for r in regions
        if r.get("PhysicalUnitsXDirection") == _CENTIMETRES
        and r.get("PhysicalUnitsYDirection") == _CENTIMETRES
        and r.get("PhysicalDeltaX")
        and r.get("PhysicalDeltaY")
    }
    return steps.pop() if len(steps) == 1 else None


def _time(ds: Dataset) -> tuple[float, str]:
    vector = ds.get("FrameTimeVector")
    if vector is not None and not isinstance(vector, str) and len(vector) > 1:
        gaps = np.array([float(v) for v in vector[1:]])
        if gaps.min() > 0 and gaps.max() - gaps.min() <= _EVEN * gaps.mean():
            return float(gaps.mean()) / 1000, "s"
        return 1.0, "pixel"
    every = float(ds.get("FrameTime") or 0)
    rate = float(ds.get("CineRate") or ds.get("RecommendedDisplayFrameRate") or 0)
    if every <= 0 and rate > 0:
        every = 1000 / rate
    return (every / 1000, "s") if math.isfinite(every) and every > 0 else (1.0, "pixel")
