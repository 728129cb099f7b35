"""A plane at the size at which the model works: in memory if it fits, otherwise read piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.slices import Planes
from napari_latentseg.inference.banded_resize import resize_in_bands, row_bands
from napari_latentseg.inference.out_of_core import IndexTransform, LazyView, StripBlender
from napari_latentseg.inference.tiles import TileBlender, Tiling
from napari_latentseg.inference.tta import TTATransform
from napari_latentseg.utils.scratch_arrays import allocate

__all__ = ["WorkingPlane", "open_plane"]

# gives some rows of a plane, `(K, rows, W)`
RowReader = Callable[[slice], NDArray[np.float32]]


class WorkingPlane(Protocol):
    """One plane during sampling; implemented in memory and out of core.

    Attributes
    ----------
    can_cache
        Whether the conditioning of its tiles may be cached for the next sample.
    """

    can_cache: bool

    def prepare(self, transform: TTATransform) -> Iterator[float]:
        """Read what `augment` needs of the whole plane, band by band; yields the fraction that is done."""
        ...

    def augment(self, transform: TTATransform) -> NDArray[np.float32] | LazyView:
        """The augmented plane, `(3, H, W)` in [0, 1]."""
        ...

    def new_blender(self, tiling: Tiling) -> TileBlender | StripBlender:
        """A blender for the tiles of an augmented plane."""
        ...

    def deaugment(self, blender: TileBlender | StripBlender, transform: TTATransform) -> RowReader:
        """Undo the augmentation: gives rows of the blended probabilities, `(K, rows, W)`, of the plane."""
        ...


def open_plane(
    planes: Planes, number: int, working_size: tuple[int, int], class_count: int, max_bytes: int
) -> Generator[float, None, WorkingPlane]:
    """Read a plane of a scan and resize it to the working size, band by band, so that it can be cancelled.

    Parameters
    ----------
    planes
        All planes of the scan.
    number
        Index of the plane.
    working_size
        Height and width in pixels at which the model works.
    class_count
        K.
    max_bytes
        Memory limit in bytes for the plane, its augmented copy and the blender.

    Yields
    ------
    float
        The fraction that is read, in (0, 1).

    Returns
    -------
    WorkingPlane
        In memory if it fits; otherwise its pixels are read from the scan, or, if it has to be resized, from a
        temporary file.
    """

    def read_rows(band: slice) -> NDArray[np.float32]:
        return planes.read_channels(number, band, slice(None))

    channels = planes.channel_count
    # float32: the plane, its augmented copy, and the sums of K classes
    if 4 * (2 * channels + class_count) * working_size[0] * working_size[1] <= max_bytes:
        plane = np.empty((channels, *working_size), dtype=np.float32)
        for rows, band in resize_in_bands(read_rows, planes.plane_shape, working_size, channels):
            np.clip(band, 0, 1, out=plane[:, rows])
            if rows.stop < working_size[0]:
                yield rows.stop / working_size[0]
        return InMemoryPlane(plane, class_count)
    if working_size == planes.plane_shape:

        def read_crop(row_range: slice, column_range: slice) -> NDArray[np.float32]:
            return planes.read_channels(number, row_range, column_range)

        return OutOfCorePlane(read_crop, working_size, class_count)
    scratch = allocate((channels, *working_size), 0)
    for band_rows, band in resize_in_bands(read_rows, planes.plane_shape, working_size, channels):
        scratch[:, band_rows] = band.clip(0, 1)
        yield band_rows.stop / working_size[0]
    return OutOfCorePlane(lambda down, across: scratch[:, down, across], working_size, class_count)


class InMemoryPlane:
    """A plane held as an array `(C, H, W)`; see `WorkingPlane`."""

    can_cache = True

    def __init__(self, plane: NDArray[np.float32], class_count: int) -> None:
        self._plane = plane
        self._class_count = class_count

    def prepare(self, transform: TTATransform) -> Iterator[float]:
        return iter(())

    def augment(self, transform: TTATransform) -> NDArray[np.float32]:
        return _as_rgb(transform.apply(self._plane))

    def new_blender(self, tiling: Tiling) -> TileBlender:
        return TileBlender(tiling, self._class_count)

    def deaugment(self, blender: TileBlender | StripBlender, transform: TTATransform) -> RowReader:
        filled_blender = cast(TileBlender, blender)
        probabilities = transform.invert(filled_blender.blend())
        return lambda band: probabilities[:, band]


class OutOfCorePlane:
    """A plane that is read crop by crop and blended into a temporary file; see `WorkingPlane`."""

    can_cache = False  # the conditioning can be larger than the plane, which is already too large

    def __init__(
        self,
        read_crop: Callable[[slice, slice], NDArray[np.float32]],
        size: tuple[int, int],
        class_count: int,
    ) -> None:
        self._read_crop = read_crop
        self._size = size
        self._class_count = class_count
        self._mean_value: float | None = None

    def prepare(self, transform: TTATransform) -> Iterator[float]:
        if self._mean_value is not None or transform.contrast == 1:
            return
        height, width = self._size
        total = 0.0
        for band in row_bands(height, 3 * width):
            total += float(self._read_crop(band, slice(0, width)).mean(axis=0, dtype=np.float64).sum())
            yield band.stop / height
        self._mean_value = total / (height * width)

    def augment(self, transform: TTATransform) -> LazyView:
        mean = self._mean_value if transform.contrast != 1 else 0.0
        assert mean is not None  # `prepare` has computed it
        return LazyView(
            lambda rows, columns: _as_rgb(self._read_crop(rows, columns)), self._size, transform, mean
        )

    def new_blender(self, tiling: Tiling) -> StripBlender:
        scratch: Any = allocate((self._class_count, tiling.height, tiling.width), 0)
        return StripBlender(tiling, self._class_count, scratch)

    def deaugment(self, blender: TileBlender | StripBlender, transform: TTATransform) -> RowReader:
        filled_blender = cast(StripBlender, blender)
        filled_blender.flush()
        inverse_transform = IndexTransform.inverse(
            transform, filled_blender.tiling.height, filled_blender.tiling.width
        )
        all_rows, all_columns = (np.arange(length) for length in self._size)

        def read_scratch(row_range: slice, column_range: slice) -> NDArray[np.float32]:
            values: NDArray[np.float32] = filled_blender.scratch[:, row_range, column_range]
            return values

        return lambda band: inverse_transform.select(all_rows[band], all_columns).gather(read_scratch)


def _as_rgb(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """A grey plane `(1, h, w)` with three channels, of which two take no memory; a coloured one as it is."""
    return np.broadcast_to(plane, (3, *plane.shape[1:]))
