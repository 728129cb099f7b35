"""The metadata of OME-TIFF and ImageJ TIFF files: sizes, positions, channels, calibration of the values."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL
from napari_latentseg.core.units import MM_PER_UNIT, OME_SYMBOLS, SECONDS, as_known_unit, conversion
from napari_latentseg.errors import BadInput

# Axis letter to a length or time and its unit.
_Steps = dict[str, tuple[float, str]]

_UNKNOWN_LENGTH_NOTE = "the file gives the size of a pixel in a unit that is not known; sizes are in pixels"
_UNKNOWN_TIME_NOTE = "the file gives its time steps in a unit that is not known; they are only counted"
_ONE_SIZE_NOTE = "the file gives the size of a pixel along one axis alone; sizes are in pixels"
_UNEVEN_NOTE = "the slices are not equally spaced by their positions; the distance that the file gives counts"
_OTHER_STEP_NOTE = "the positions of the slices do not fit the distance that the file gives, which counts"
_CURVE_NOTE = "the file has a calibration curve for its values, which is not applied"
_UNITLESS = ("", "pixel", "reference frame")  # said where a size is not a length on purpose
_GAP_TOLERANCE = 0.05  # of a step: a stage moves, and its positions are written, with some play
_STRAIGHT_LINE = 0  # ImageJ's number of the calibration function c0 + c1 * value
_UNCALIBRATED = 20


@dataclass
class TiffSizes:
    """Sizes and positions by axis, and notes on those that could not be used.

    Attributes
    ----------
    steps
        Sizes of pixels, distance of slices, time step; all positive.
    offsets
        Position of the first slice.
    has_falling_z
        Whether each slice lies at a lower z than the one before it.
    notes
        For people.
    """

    steps: _Steps = field(default_factory=dict)
    offsets: _Steps = field(default_factory=dict)
    has_falling_z: bool = False
    notes: list[str] = field(default_factory=list)

    def geometry(self, axes: str) -> Geometry:
        """The geometry of these axes, without channels: in the unit of x, or in pixels if x or y has none."""
        steps, offsets = self.steps, self.offsets
        has_size = "x" in steps and "y" in steps
        if ("x" in steps) != ("y" in steps):
            self.add_note(_ONE_SIZE_NOTE)
        unit = steps["x"][1] if has_size else "pixel"
        matrix = np.eye(len(axes) + 1)
        units = []
        for i, axis in enumerate(axes):
            if axis == "t":
                matrix[i, i], name = steps.get("t", (1.0, "pixel"))
                units.append(name)
                continue
            step = _convert_length(steps[axis], unit) if axis in steps and has_size else None
            units.append("pixel" if step is None else unit)
            matrix[i, i] = 1.0 if step is None else -step if axis == "z" and self.has_falling_z else step
            offset = _convert_length(offsets[axis], unit) if axis in offsets and step is not None else None
            matrix[i, -1] = 0.0 if offset is None else offset
        return Geometry.from_matrix(matrix, tuple(units), tuple(axes))

    def add_step(self, axis: str, size: object, unit: object) -> None:
        """Keep the size of a pixel along a spatial axis, if it is a positive length."""
        length = _parse_length(size, unit)
        if length is None:
            if math.isfinite(float(str(size))) and str(unit).strip() not in _UNITLESS:
                self.add_note(_UNKNOWN_LENGTH_NOTE)
        elif length[0] > 0:
            self.steps[axis] = length

    def add_time_step(self, size: object, unit: object) -> None:
        """Keep the time between two images, if it is positive."""
        time = _time(size, unit)
        if time is not None:
            self.steps["t"] = time
        elif float(str(size)) > 0:
            self.add_note(_UNKNOWN_TIME_NOTE)

    def add_note(self, note: str) -> None:
        """Keep a note for people, once."""
        if note not in self.notes:
            self.notes.append(note)


def ome_channels(text: str) -> list[dict[str, str]]:
    """Names and colours (``"#rrggbb"``) of the channels of the first image, empty text if not given."""
    image = next((e for e in ElementTree.fromstring(text) if _tag(e) == "Image"), None)
    channels = []
    for element in image.iter() if image is not None else ():
        if _tag(element) == "Channel":
            colour = element.get("Color")  # RGBA in a signed 32-bit integer
            number = int(colour) & 0xFFFFFFFF if colour and colour.lstrip("-").isdigit() else None
            channels.append(
                {
                    "name": element.get("Name") or "",
                    "colour": "" if number is None else f"#{number >> 8:06x}",
                }
            )
    return channels


def ome_sizes(xml: str) -> TiffSizes:
    """The physical pixel sizes and the position of the first slice.

    The distance of the slices is `PhysicalSizeZ`. Where the file does not give it, it is that of their
    positions, if these are equally spaced; where the two disagree, a note says so. Positions that fall from
    slice to slice, as of a stage that moves down, make the step along z negative.
    """
    sizes = TiffSizes()
    pixels = next((e for e in ElementTree.fromstring(xml).iter() if _tag(e) == "Pixels"), None)
    if pixels is None:
        return sizes
    planes = [e for e in pixels if _tag(e) == "Plane"]
    first = min(planes, key=lambda e: [int(e.get(k, "0")) for k in ("TheT", "TheC", "TheZ")], default=None)
    for axis in "XYZ":
        sizes.add_step(
            axis.lower(),
            pixels.get(f"PhysicalSize{axis}", "nan"),
            pixels.get(f"PhysicalSize{axis}Unit", "um"),
        )
        if first is not None:
            unit = first.get(f"Position{axis}Unit", "reference frame")
            offset = _parse_length(first.get(f"Position{axis}", "nan"), unit)
            if offset is not None:
                sizes.offsets[axis.lower()] = offset
    _compare_z_positions(sizes, planes)
    sizes.add_time_step(pixels.get("TimeIncrement", "nan"), pixels.get("TimeIncrementUnit", "s"))
    return sizes


def _compare_z_positions(sizes: TiffSizes, planes: list[ElementTree.Element]) -> None:
    """Take the direction of slices from their positions, and their distance where it is not given.

    A note says where the two distances differ.
    """
    stack = {
        int(plane.get("TheZ", "0")): _parse_length(
            plane.get("PositionZ", "nan"), plane.get("PositionZUnit", "reference frame")
        )
        for plane in planes
        if (plane.get("TheC", "0"), plane.get("TheT", "0")) == ("0", "0")
    }
    lengths = [stack.get(z) for z in range(max(stack, default=0) + 1)]
    units = {length[1] for length in lengths if length is not None}
    if len(lengths) < 2 or None in lengths or len(units) != 1 or "pixel" in units:
        return
    (unit,) = units
    gaps = np.diff([length[0] for length in lengths if length is not None])
    sizes.has_falling_z = bool((gaps < 0).all())
    is_even = np.ptp(gaps) <= _GAP_TOLERANCE * abs(gaps).max() and gaps.all()
    given = _convert_length(sizes.steps["z"], unit) if "z" in sizes.steps else None
    if given is None and is_even:
        sizes.steps["z"] = (float(abs(gaps).mean()), unit)
    elif given is not None and gaps.any():  # all 0: no positions, as some programs write them
        if not is_even:
            sizes.add_note(_UNEVEN_NOTE)
        elif not math.isclose(abs(gaps).mean(), given, rel_tol=_GAP_TOLERANCE):
            sizes.add_note(_OTHER_STEP_NOTE)


def imagej_sizes(tif: Any) -> TiffSizes:
    """The pixel sizes of an ImageJ TIFF, an open `tifffile.TiffFile`."""
    meta = tif.imagej_metadata or {}
    tags = tif.pages[0].tags
    sizes = TiffSizes()

    def unit(key: str) -> str:
        # ImageJ writes the micro sign, or a Greek mu, as the six characters \u00B5 or \u03BC
        text = str(meta.get(key, meta.get("unit", "")))
        return re.sub(r"\\u([0-9A-Fa-f]{4})", lambda match: chr(int(match[1], 16)), text)

    for axis, tag, key in (("x", "XResolution", "unit"), ("y", "YResolution", "yunit")):
        if tag in tags and unit(key):
            count, per = tags[tag].value
            sizes.add_step(axis, per / count if count > 0 and per > 0 else "nan", unit(key))
            if sizes.steps.get(axis, (0.0, ""))[1] == "pixel":
                del sizes.steps[axis]
    if sizes.steps:
        sizes.add_step("z", meta.get("spacing", "nan"), unit("zunit"))
    # without a unit, ImageJ's interval is in seconds
    sizes.add_time_step(meta.get("finterval") or "nan", meta.get("tunit") or "s")
    return sizes


def imagej_calibration(meta: dict[str, Any]) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Slope and intercept of the values that ImageJ shows, and a note if they follow another curve.

    Notes
    -----
    ImageJ stores signed values of 16 bits as unsigned ones with the intercept -32768.
    """
    function = meta.get("cf", _UNCALIBRATED)
    if function == _STRAIGHT_LINE:
        slope, intercept = float(meta.get("c1", 1.0)), float(meta.get("c0", 0.0))
        if math.isfinite(slope) and math.isfinite(intercept) and slope != 0:
            return (slope, intercept), ()
    return (1.0, 0.0), () if function == _UNCALIBRATED else (_CURVE_NOTE,)


def calibrated(array: Any, slope: float, intercept: float) -> Any:
    """The values ``slope * stored + intercept``; integers stay integers where both numbers are whole.

    Parameters
    ----------
    array
        NumPy or dask.
    slope, intercept
        As `imagej_calibration` gives them.
    """
    if (slope, intercept) == (1.0, 0.0):
        return array
    dtype = _calibrated_dtype(array.dtype, slope, intercept)

    def calibrate(values: NDArray[Any]) -> NDArray[Any]:
        scaled: NDArray[Any] = (values.astype(np.float64) * slope + intercept).astype(dtype)
        return scaled

    return calibrate(array) if isinstance(array, np.ndarray) else array.map_blocks(calibrate, dtype=dtype)


def _calibrated_dtype(dtype: np.dtype[Any], slope: float, intercept: float) -> np.dtype[Any]:
    if dtype.kind in "iu" and dtype.itemsize <= 4 and slope.is_integer() and intercept.is_integer():
        ends = [slope * int(end) + intercept for end in (np.iinfo(dtype).min, np.iinfo(dtype).max)]
        for whole in (np.int16, np.int32):
            if np.iinfo(whole).min <= min(ends) and max(ends) <= np.iinfo(whole).max:
                return np.dtype(whole)
    return np.dtype(np.float64 if dtype.itemsize >= 4 else np.float32)


def ome_metadata(path: Path, geometry: Geometry, order: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """The metadata from which tifffile writes OME-XML.

    Parameters
    ----------
    path
        For messages.
    geometry
        Of all axes but `c`.
    order, shape
        The axes as they are stored, with `c`.

    Raises
    ------
    BadInput
        As `napari_latentseg.io.tiff.write`.
    """
    matrix = geometry.matrix
    axes = order.removeprefix(CHANNEL)
    may_fall = [axis == "z" and unit in MM_PER_UNIT for axis, unit in zip(axes, geometry.units, strict=True)]
    if not geometry.is_axis_aligned or (np.diag(matrix)[:-1][~np.array(may_fall)] <= 0).any():
        raise BadInput(path, "a TIFF cannot hold a rotated or flipped geometry", "write NIfTI instead")
    metadata: dict[str, Any] = {}
    planes: dict[str, Any] = {}
    counts = [n for a, n in zip(order, shape, strict=True) if a not in "yx"]
    plane_count = math.prod(counts)
    for i, axis in enumerate(axes):
        step, start, unit = float(matrix[i, i]), float(matrix[i, -1]), geometry.units[i]
        if unit == "pixel" and (step, start) == (1.0, 0.0):
            continue
        is_known = unit in SECONDS if axis == "t" else unit in MM_PER_UNIT or unit == "pixel"
        if not is_known or (axis == "t" and start != 0):
            raise BadInput(path, f"a TIFF cannot hold the axis {axis} in {unit!r}", "write NIfTI instead")
        if axis == "t":
            metadata |= {"TimeIncrement": step, "TimeIncrementUnit": OME_SYMBOLS[unit]}
            continue
        name = axis.upper()
        metadata |= {f"PhysicalSize{name}": abs(step), f"PhysicalSize{name}Unit": OME_SYMBOLS[unit]}
        position = np.full(plane_count, start)
        if axis == "z":
            position += step * np.indices(counts)[[a for a in order if a not in "yx"].index("z")].ravel()
        planes |= {
            f"Position{name}": position.tolist(),
            f"Position{name}Unit": [OME_SYMBOLS[unit]] * plane_count,
        }
    return {**metadata, "Plane": planes} if planes else metadata


def _parse_length(size: object, unit: object) -> tuple[float, str] | None:
    """A length in a unit of `MM_PER_UNIT` or in pixels; None if not finite, or the unit is not of length."""
    number, (factor, name) = float(str(size)), as_known_unit(unit) or (1.0, "")
    if not math.isfinite(number) or (name != "pixel" and name not in MM_PER_UNIT):
        return None
    return number * factor, name


def _time(size: object, unit: object) -> tuple[float, str] | None:
    """A time in a unit of `SECONDS`; None if it is not a positive number or the unit is no time."""
    number, (factor, name) = float(str(size)), as_known_unit(unit) or (1.0, "")
    if not math.isfinite(number) or number <= 0 or name not in SECONDS:
        return None
    return number * factor, name


def _convert_length(length: tuple[float, str], unit: str) -> float | None:
    """Convert a length to another unit; None between pixels and physical units."""
    number, length_unit = length
    factor = conversion(length_unit, unit)
    return None if factor is None else number * factor


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
