"""The slices of a scan as the models see them: float32 RGB in [0, 1].

Throughout this package a *plane* is one 2D slice of a scan; a single 2D image is a scan of one plane.
"""

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
"""Rows and columns of a slice: top, left, bottom, right, half-open."""

# Values from which the percentiles are taken: 32 MB as float64, 0.3 s. Of 4 million, 20,000 lie beyond
# either percentile, so a sample of that size misses its rank by about 1 % of those.
_MAX_RANGE_VALUES = 4_000_000
_COLOUR_NOTE = "colours were read as grey, because the model takes neighbouring slices of a grey volume"
_ALONE_NOTE = "the model takes neighbouring slices, and this image has none, which it was not made for"
_NON_FINITE_NOTE = "values that are not finite (NaN, infinity) were read as black"


@dataclass(frozen=True)
class Planes:
    """The slices of a scan, in order, each normalized to float32 RGB in [0, 1].

    Training and inference normalize by the same rule: 8-bit values are divided by 255; floating-point values
    that all lie in [0, 1] stay; any other range is scaled linearly from the 0.5th to the 99.5th percentile of
    the whole scan, and clipped. Grey is repeated to three channels and alpha is dropped. Values that are not
    finite become 0, as does an image whose values are all equal. With an intensity window, all values are
    scaled linearly from its ends instead, whatever the range of the scan.

    With a neighbour distance, red, green and blue are the slice before, the slice itself and the slice after,
    in grey (2.5D). At the ends of a volume, and where there is no slice axis, the slice stands for its
    missing neighbour. In patient coordinates the order is that of the patient, from right to left, front to
    back and feet to head, whatever the order in the file.

    The percentiles of a scan of more than four million values are taken from about that many of them, sampled
    evenly.

    Attributes
    ----------
    scan
        The scan.
    low, high
        The values that become 0 and 1.
    notes
        What was changed in the values, in words for the run record.
    box
        Region of interest: the rows and columns of each slice that are returned; None for all. The
        normalization is that of the whole scan even so.
    neighbour_step
        How many slices away the neighbours in red and blue are; 0 for none.

    Examples
    --------
    >>> from napari_latentseg.core.geometry import Geometry
    >>> volume = np.zeros((20, 64, 48), np.uint8)
    >>> planes = Planes.from_scan(Scan(volume, "zyx", Geometry.from_spacing("zyx")))
    >>> len(planes), planes[0].shape, planes.crop((0, 0, 32, 32)).plane_shape
    (20, (64, 48, 3), (32, 32))
    """

    scan: Scan
    low: float
    high: float
    notes: tuple[str, ...] = ()
    box: CropBox | None = None
    neighbour_step: int = 0

    @classmethod
    def from_scan(
        cls, scan: Scan, window: tuple[float, float] | None = None, neighbours: float | None = None
    ) -> Planes:
        """Determine the intensity range of a scan, reading its values once.

        Parameters
        ----------
        scan
            Grey, RGB or RGBA. Of a dask array, a sample is read; it is never held in memory as a whole.
        window
            The values that become 0 and 1, in the unit of the scan; None for the rule above.
        neighbours
            Distance in mm of the neighbouring slices in red and blue, rounded to whole slices of the scan, at
            least one; the adjacent slices where the scan has no physical units. None for no neighbours.

        Returns
        -------
        Planes
            Of whole slices, without a box.

        Raises
        ------
        BadInput
            If no value is finite, the window leaves less than one of 256 grey levels of the values, or there
            are not 1, 3 or 4 channels.
        """
        if scan.axes.endswith(CHANNEL) and scan.array.shape[-1] not in (1, 3, 4):
            raise BadInput(
                scan.name,
                f"has {scan.array.shape[-1]} channels, and a model takes grey or RGB",
                "choose one channel (--channel N)",
            )
        low, high, notes = _value_window(scan, window)
        if neighbours is None:
            return cls(scan, low, high, notes)
        if scan.axes.endswith(CHANNEL) and scan.array.shape[-1] > 1:
            notes = (*notes, _COLOUR_NOTE)
        if not _is_volume(scan):
            notes = (*notes, _ALONE_NOTE)
        return cls(scan, low, high, notes, neighbour_step=_slices_in(scan, neighbours))

    def __len__(self) -> int:
        return math.prod(self.scan.spatial_shape[:-2])

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[number] for number in range(len(self)))

    @property
    def is_stack(self) -> bool:
        """Whether the scan has a slice or time axis, even of length one."""
        return len(self.scan.spatial_axes) > 2

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Height and width of a slice, or of the box."""
        rows, columns = self.crop_slices
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def full_plane_shape(self) -> tuple[int, int]:
        """Height and width of a whole slice."""
        height, width = self.scan.spatial_shape[-2:]
        return height, width

    @property
    def crop_slices(self) -> tuple[slice, slice]:
        """The rows and columns of each slice that are returned."""
        top, left, bottom, right = self.box or (0, 0, *self.full_plane_shape)
        return slice(top, bottom), slice(left, right)

    @property
    def spacing(self) -> tuple[float, float] | None:
        """Distance between rows and between columns in mm; None if the scan has no physical units."""
        geometry = self.scan.geometry
        if not set(geometry.units[-2:]) <= MM_PER_UNIT.keys():
            return None
        row_spacing, column_spacing = (
            step * MM_PER_UNIT[unit]
            for step, unit in zip(geometry.spacing[-2:], geometry.units[-2:], strict=True)
        )
        return row_spacing, column_spacing

    def crop(self, box: CropBox) -> Planes:
        """The same slices cropped to a box.

        Parameters
        ----------
        box
            Rows and columns of the whole slice: top, left, bottom, right, half-open.

        Raises
        ------
        BadInput
            If the box is empty or not inside the slice.
        """
        (height, width), (top, left, bottom, right) = self.full_plane_shape, box
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise BadInput(
                "box",
                f"rows {top}-{bottom}, columns {left}-{right} are not inside a slice of {height} x {width}",
                "give a box inside it",
            )
        return replace(self, box=box)

    def index(self, number: int) -> tuple[int, ...]:
        """The index of slice `number` along the axes before the slice's own; ``()`` for a 2D image.

        Raises
        ------
        IndexError
            If there is no such slice. Slices are counted from 0; negative numbers are not allowed.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"plane {number} of {len(self)}")
        leading = self.scan.spatial_shape[:-2]
        return tuple(int(i) for i in np.unravel_index(number, leading)) if leading else ()

    def __getitem__(self, number: int) -> NDArray[np.float32]:
        """Slice `number` as float32 `(H, W, 3)` in [0, 1]. Of a dask array, this slice alone is read.

        Raises
        ------
        IndexError
            If there is no such slice.
        """
        return self.read_rgb(number, slice(None), slice(None))

    def read_raw(self, number: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Rows and columns of slice `number`, not normalized: `(h, w)` or `(h, w, C)`, dtype of the scan.

        Raises
        ------
        IndexError
            If there is no such slice.
        """
        crop_rows, crop_columns = self.crop_slices
        array_index: tuple[int | slice, ...] = (
            *self.index(number),
            _offset_slice(rows, crop_rows),
            _offset_slice(columns, crop_columns),
        )
        return to_numpy(self.scan.array[array_index])

    def read_rgb(self, number: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Rows and columns of slice `number`, float32 `(h, w, 3)` in [0, 1]. Only these are read.

        Parameters
        ----------
        number
            Of the slice, from 0.
        rows, columns
            Counted from the top left of the box, where there is one.

        Raises
        ------
        IndexError
            If there is no such slice.
        """
        channels = self.read_channels(number, rows, columns)
        return np.repeat(channels, 3 // len(channels), axis=0).transpose(1, 2, 0)

    @property
    def channel_count(self) -> int:
        """How many channels `read_channels` gives: 1 where red, green and blue are the same, else 3."""
        if self.neighbour_step:
            return 3
        return 3 if self.scan.axes.endswith(CHANNEL) and self.scan.array.shape[-1] > 1 else 1

    def read_channels(self, number: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """As `read_rgb`, but channels first, `(C, h, w)`, and a single one of a grey image."""
        if not self.neighbour_step:
            return self._read_slice(number, rows, columns)
        values = {
            i: self._read_slice(i, rows, columns).mean(axis=0, dtype=np.float32)
            for i in set(self._neighbours(number))
        }
        return np.stack([values[i] for i in self._neighbours(number)])

    def _neighbours(self, number: int) -> tuple[int, int, int]:
        """The numbers of the slices in red, green and blue."""
        if not _is_volume(self.scan):
            return number, number, number
        depth = self.scan.spatial_shape[-3]
        first = number - number % depth  # of the volume, in a time series
        position = number - first
        before = first + max(position - self.neighbour_step, 0)
        after = first + min(position + self.neighbour_step, depth - 1)
        return (after, number, before) if _runs_backwards(self.scan) else (before, number, after)

    def _read_slice(self, number: int, rows: slice, columns: slice) -> NDArray[np.float32]:
        """A slice without its neighbours, `(C, h, w)` in [0, 1]."""
        raw = self.read_raw(number, rows, columns)
        raw = raw[..., :3].transpose(2, 0, 1) if self.scan.axes.endswith(CHANNEL) else raw[None]
        # float64 for small differences between large values; of 8-bit values, float32 is exact
        is_8bit = raw.dtype in (np.dtype(np.uint8), np.dtype(np.bool_))
        values: NDArray[np.floating[Any]] = raw.astype(np.float32 if is_8bit else np.float64, order="C")
        if raw.dtype.kind == "f":
            values[~np.isfinite(values)] = self.low
        np.clip(values, self.low, self.high, out=values)
        values -= self.low
        values /= (self.high - self.low) or 1.0
        return values.astype(np.float32, copy=False)


def _offset_slice(inner: slice, outer: slice) -> slice:
    """Rows (or columns) of the scan for rows of the box."""
    start, stop, _ = inner.indices(outer.stop - outer.start)
    return slice(outer.start + start, outer.start + stop)


def _is_volume(scan: Scan) -> bool:
    """Whether the slices of a scan lie one above the other, and not one after the other in time."""
    return scan.spatial_axes[:-2].endswith("z") and scan.spatial_shape[-3] > 1


def _slices_in(scan: Scan, distance: float) -> int:
    """How many slices make up a distance in mm, at least one."""
    unit = scan.geometry.units[-3] if len(scan.spatial_shape) > 2 else ""
    if unit not in MM_PER_UNIT:
        return 1
    return max(1, round(distance / (scan.geometry.spacing[-3] * MM_PER_UNIT[unit])))


def _runs_backwards(scan: Scan) -> bool:
    """Whether the slices of a volume are counted against the axis of the patient that they follow."""
    if scan.geometry.frame != "LPS":
        return False
    direction = scan.geometry.matrix[-4:-1, -4]
    return bool(direction[np.abs(direction).argmax()] < 0)


def _value_window(scan: Scan, window: tuple[float, float] | None) -> tuple[float, float, tuple[str, ...]]:
    """The values of a scan that become 0 and 1, by the rule of `Planes`, and notes on its values."""
    dtype = scan.array.dtype
    if window is not None:
        return *window, _checked_window_notes(scan, window)
    if dtype == np.bool_:
        return 0.0, 1.0, ()
    if dtype == np.uint8:
        return 0.0, 255.0, ()
    values, is_complete = _subsample(scan)
    values, notes = _finite(scan, values)
    minimum, maximum = float(values.min()), float(values.max())
    if minimum == maximum and not is_complete:  # the sample may have missed the values that differ
        minimum, maximum = _value_range(scan)
    if dtype.kind == "f" and minimum >= 0 and maximum <= 1:
        return 0.0, 1.0, notes
    if not math.isfinite(maximum - minimum):
        raise BadInput(scan.name, "its range of values is too large", "choose another file")
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    if high <= low:  # a few bright pixels on a uniform background
        low, high = minimum, maximum
    return low, high, notes


def _subsample(scan: Scan) -> tuple[NDArray[np.float64], bool]:
    """At most `_MAX_RANGE_VALUES` values without alpha, sampled evenly, and whether these are all of them."""
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


def _finite(scan: Scan, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The finite ones of some values of a scan, and a note where there are others."""
    finite = np.isfinite(values)
    if not finite.any():
        raise BadInput(scan.name, "holds no finite value (all are NaN or infinite)", "choose another image")
    return (values, ()) if finite.all() else (values[finite], (_NON_FINITE_NOTE,))


def _checked_window_notes(scan: Scan, window: tuple[float, float]) -> tuple[str, ...]:
    """Refuse a scan of which an intensity window leaves nothing; returns the notes on its values."""
    low, high = window

    def is_emptied(minimum: float, maximum: float) -> bool:
        shown = min(max(maximum, low), high) - min(max(minimum, low), high)
        return shown < (high - low) / 255

    values, is_complete = _subsample(scan)
    values, notes = _finite(scan, values)
    minimum, maximum = float(values.min()), float(values.max())
    if is_emptied(minimum, maximum) and not is_complete:  # the sample may have missed the values that differ
        minimum, maximum = _value_range(scan)
    if is_emptied(minimum, maximum):
        raise BadInput(
            scan.name,
            f"has values from {minimum:g} to {maximum:g}, of which the model's intensity window from {low:g}"
            f" to {high:g} leaves nothing",
            "give the scan in the unit of the window, which is HU for CT",
        )
    return notes


def _value_range(scan: Scan) -> tuple[float, float]:
    """The lowest and the highest finite value, read slice by slice."""
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
