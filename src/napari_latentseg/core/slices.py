"""A scan as the models see it: RGB planes in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.scan import CHANNEL, Scan, to_numpy
from napari_latentseg.core.units import MM_PER_UNIT
from napari_latentseg.errors import BadInput

__all__ = ["CropBox", "Planes"]

CropBox = tuple[int, int, int, int]
"""Rows and columns of a plane, half-open: top, left, bottom, right."""

_MAX_RANGE_VALUES = 4_000_000
_NON_FINITE_NOTE = "values that are not finite were read as black"


@dataclass(frozen=True)
class Planes:
    """The `yx` planes of a scan, one after another, each as float32 RGB in [0, 1].

    Values are brought to [0, 1] by one rule for training and use alike: 8-bit values are divided by
    255; floats that lie in [0, 1] stay; any other range is stretched from its 0.5th to its 99.5th
    percentile over the whole scan. Grey is repeated to three channels, alpha is dropped, values that
    are not finite become 0, and so does an image whose values are all the same.

    The range of a scan of more than four million values is settled from about that many of them, taken
    evenly; what lies beyond it becomes 0 or 1.

    Attributes
    ----------
    scan
        The scan they come from.
    low, high
        What becomes 0 and 1.
    notes
        What was mended on the way, in plain words, for the run record.
    box
        The rows and columns of each plane that are given out; None for all. The range is that of the whole
        scan even so.
    """

    scan: Scan
    low: float
    high: float
    notes: tuple[str, ...] = ()
    box: CropBox | None = None

    @classmethod
    def from_scan(cls, scan: Scan) -> Planes:
        """Look at the scan's values once, and settle the range.

        Parameters
        ----------
        scan
            Grey, RGB or RGBA; a dask array is read in part, never held whole.

        Raises
        ------
        BadInput
            Where no value is finite, or the number of channels is neither 1, 3 nor 4.
        """
        if scan.axes.endswith(CHANNEL) and scan.array.shape[-1] not in (1, 3, 4):
            raise BadInput(
                scan.name,
                f"has {scan.array.shape[-1]} channels, and a model takes grey or RGB",
                "choose one channel (--channel N)",
            )
        dtype = scan.array.dtype
        if dtype == np.bool_:
            return cls(scan, 0.0, 1.0)
        if dtype == np.uint8:
            return cls(scan, 0.0, 255.0)
        values, is_complete = _subsample(scan)
        finite = np.isfinite(values)
        if not finite.any():
            raise BadInput(scan.name, "holds no finite value", "choose another file")
        notes: tuple[str, ...] = ()
        if not finite.all():
            notes = (_NON_FINITE_NOTE,)
            values = values[finite]
        minimum, maximum = float(values.min()), float(values.max())
        if minimum == maximum and not is_complete:  # what differs may lie between the values that were taken
            minimum, maximum = _value_range(scan)
        if dtype.kind == "f" and minimum >= 0 and maximum <= 1:
            return cls(scan, 0.0, 1.0, notes)
        if not math.isfinite(maximum - minimum):
            raise BadInput(scan.name, "its values are too far apart to be an image's", "choose another file")
        low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
        if high <= low:  # a few bright points on a flat ground
            low, high = minimum, maximum
        return cls(scan, low, high, notes)

    def __len__(self) -> int:
        return math.prod(self.scan.spatial_shape[:-2])

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[number] for number in range(len(self)))

    @property
    def is_stack(self) -> bool:
        """Whether the scan has an axis beside those of the plane."""
        return len(self.scan.spatial_axes) > 2

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width; of the box, where there is one."""
        rows, columns = self.crop_slices
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def full_plane_shape(self) -> tuple[int, int]:
        """Height and width of the scan's planes."""
        height, width = self.scan.spatial_shape[-2:]
        return height, width

    @property
    def crop_slices(self) -> tuple[slice, slice]:
        """The rows and columns of the scan's planes that are given out."""
        top, left, bottom, right = self.box or (0, 0, *self.full_plane_shape)
        return slice(top, bottom), slice(left, right)

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Millimetres between rows and between columns; None where the scan does not know them."""
        geometry = self.scan.geometry
        if not set(geometry.units[-2:]) <= MM_PER_UNIT.keys():
            return None
        row_spacing, column_spacing = (
            step * MM_PER_UNIT[unit]
            for step, unit in zip(geometry.spacing[-2:], geometry.units[-2:], strict=True)
        )
        return row_spacing, column_spacing

    def crop(self, box: CropBox) -> Planes:
        """The same planes, of which only a box is given out.

        Raises
        ------
        BadInput
            Where it does not lie inside the planes.
        """
        (height, width), (top, left, bottom, right) = self.full_plane_shape, box
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise BadInput(
                "box",
                f"rows {top}-{bottom}, columns {left}-{right} are not all in a plane of {height} by {width}",
                "give a box inside it",
            )
        return replace(self, box=box)

    def index(self, number: int) -> tuple[int, ...]:
        """The position of plane `number` along the leading axes; empty for a single plane.

        Raises
        ------
        IndexError
            Where there is no such plane; they are counted from 0, and not from the end.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"plane {number} of {len(self)}")
        leading = self.scan.spatial_shape[:-2]
        return tuple(int(i) for i in np.unravel_index(number, leading)) if leading else ()

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        """Plane `number` as float32 `(H, W, 3)` in [0, 1]; dask arrays are read here, plane by plane.

        Raises
        ------
        IndexError
            Where there is no such plane.
        """
        return self.read_rgb(number, slice(None), slice(None))

    def read_raw(self, number: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Rows and columns of plane `number` as the scan holds them, `(h, w)` or `(h, w, C)`.

        Raises
        ------
        IndexError
            Where there is no such plane.
        """
        crop_rows, crop_columns = self.crop_slices
        array_index: tuple[int | slice, ...] = (
            *self.index(number),
            _offset_slice(rows, crop_rows),
            _offset_slice(columns, crop_columns),
        )
        return to_numpy(self.scan.array[array_index])

    def read_rgb(self, number: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Rows and columns of plane `number`, float32 `(h, w, 3)` in [0, 1]; no more is read.

        Raises
        ------
        IndexError
            Where there is no such plane.
        """
        raw = self.read_raw(number, rows, columns)
        if not self.scan.axes.endswith(CHANNEL):
            raw = raw[..., None]
        # 64 bits, for values far from 0 that differ by little; where the range is known, 32 are exact.
        is_8bit = raw.dtype in (np.dtype(np.uint8), np.dtype(np.bool_))
        values: NDArray[np.floating[Any]] = raw[..., :3].astype(np.float32 if is_8bit else np.float64)
        if raw.dtype.kind == "f":
            values[~np.isfinite(values)] = self.low
        np.clip(values, self.low, self.high, out=values)
        scaled = ((values - self.low) / ((self.high - self.low) or 1.0)).astype(np.float32, copy=False)
        return np.repeat(scaled, 3, axis=-1) if scaled.shape[-1] == 1 else scaled


def _offset_slice(inner: slice, outer: slice) -> slice:
    """Which part of the scan's rows or columns a part of the box is."""
    start, stop, _ = inner.indices(outer.stop - outer.start)
    return slice(outer.start + start, outer.start + stop)


def _subsample(scan: Scan) -> tuple[NDArray[np.float64], bool]:
    """Values enough to settle a range, taken evenly, and whether that is all of them; alpha left out."""
    shape = list(scan.spatial_shape)
    channels = min(scan.array.shape[-1], 3) if scan.axes.endswith(CHANNEL) else 1
    steps = [1] * len(shape)

    def kept_count(axis: int) -> int:
        return -(-shape[axis] // steps[axis])

    while channels * math.prod(kept_count(i) for i in range(len(shape))) > _MAX_RANGE_VALUES:
        steps[max(range(len(shape)), key=kept_count)] += 1
    subsampled = scan.array[tuple(slice(None, None, s) for s in steps)]
    if scan.axes.endswith(CHANNEL):
        subsampled = subsampled[..., :3]
    return to_numpy(subsampled).astype(np.float64).ravel(), max(steps) == 1


def _value_range(scan: Scan) -> tuple[float, float]:
    """The lowest and the highest finite value, plane by plane."""
    leading = scan.spatial_shape[:-2]
    minimum, maximum = math.inf, -math.inf
    for index in np.ndindex(*leading):
        plane = to_numpy(scan.array[index])
        if scan.axes.endswith(CHANNEL):
            plane = plane[..., :3]
        values = plane[np.isfinite(plane)]
        if values.size:
            minimum, maximum = min(minimum, float(values.min())), max(maximum, float(values.max()))
    return minimum, maximum
