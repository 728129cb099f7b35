"""Planes too large for memory at working size: augmented, cropped and blended one row of tiles at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.inference.tiles import TileWeights, Tiling
from napari_latentseg.inference.tta import TTATransform, mirror_index

__all__ = ["IndexTransform", "LazyView", "StripBlender"]

# gives rows and columns of a plane, `(C, h, w)`
CropReader = Callable[[slice, slice], NDArray[np.float32]]


@dataclass(frozen=True)
class IndexTransform:
    """An augmentation as a mapping of pixel indices: flips, quarter turns and shifts.

    Pixel `(i, j)` of the transformed plane is pixel ``(rows[i], columns[j])`` of the source plane, or
    ``(rows[j], columns[i])`` if `is_transposed`.

    Attributes
    ----------
    rows, columns
        Indices into the source plane, int64 `(n,)`.
    is_transposed
        Whether rows and columns are exchanged.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    is_transposed: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the transformed plane."""
        source_shape = (len(self.rows), len(self.columns))
        return source_shape[::-1] if self.is_transposed else source_shape

    def rot90(self) -> IndexTransform:
        """The transform followed by a quarter turn, as `numpy.rot90`."""
        if self.is_transposed:
            return IndexTransform(self.rows[::-1], self.columns, False)
        return IndexTransform(self.rows, self.columns[::-1], True)

    def select(self, row_index: NDArray[np.int64], column_index: NDArray[np.int64]) -> IndexTransform:
        """The transform cropped to, or reindexed by, these rows and columns of the transformed plane."""
        source_rows, source_columns = (
            (column_index, row_index) if self.is_transposed else (row_index, column_index)
        )
        return IndexTransform(self.rows[source_rows], self.columns[source_columns], self.is_transposed)

    def gather(self, read_crop: CropReader) -> NDArray[np.float32]:
        """The transformed plane, `(C, H, W)`, from a crop of the source plane."""
        low_row, low_column = int(self.rows.min()), int(self.columns.min())
        crop = read_crop(
            slice(low_row, int(self.rows.max()) + 1), slice(low_column, int(self.columns.max()) + 1)
        )
        crop = crop[:, self.rows - low_row][:, :, self.columns - low_column]
        return crop.swapaxes(1, 2) if self.is_transposed else crop

    @classmethod
    def forward(cls, transform: TTATransform, height: int, width: int) -> IndexTransform:
        """The index mapping of `TTATransform.apply` on a plane of this size."""
        index_transform = cls(np.arange(height), np.arange(width))
        for _ in range(transform.quarter_turns % 4):
            index_transform = index_transform.rot90()
        row_index, column_index = (np.arange(n) for n in index_transform.shape)
        if transform.flip_vertical:
            row_index = row_index[::-1]
        if transform.flip_horizontal:
            column_index = column_index[::-1]
        if transform.pad:
            row_index, column_index = (
                n[mirror_index(len(n), s, transform.pad)]
                for n, s in zip((row_index, column_index), transform.shift, strict=True)
            )
        return index_transform.select(row_index, column_index)

    @classmethod
    def inverse(cls, transform: TTATransform, height: int, width: int) -> IndexTransform:
        """The index mapping of `TTATransform.invert` on an augmented plane of this height and width."""
        top, left = transform.shift if transform.pad else (0, 0)
        index_transform = cls(
            np.arange(top, top + height - transform.pad), np.arange(left, left + width - transform.pad)
        )
        row_index, column_index = (np.arange(n) for n in index_transform.shape)
        if transform.flip_vertical:
            row_index = row_index[::-1]
        if transform.flip_horizontal:
            column_index = column_index[::-1]
        index_transform = index_transform.select(row_index, column_index)
        for _ in range(-transform.quarter_turns % 4):
            index_transform = index_transform.rot90()
        return index_transform


class LazyView:
    """An augmented plane that is computed crop by crop; stands for an array in `Tiling.crop_tile`.

    Parameters
    ----------
    read_crop
        Gives rows and columns of the plane, `(3, h, w)` in [0, 1].
    shape
        Height and width of the plane.
    transform
        The augmentation.
    mean
        Mean value of the plane, which the change of contrast leaves as it is.
    """

    def __init__(
        self, read_crop: CropReader, shape: tuple[int, int], transform: TTATransform, mean: float
    ) -> None:
        self._read_crop = read_crop
        self._index_transform = IndexTransform.forward(transform, *shape)
        self._transform = transform
        self._mean = mean
        self.shape = (3, *self._index_transform.shape)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        _, row_range, column_range = index
        _, height, width = self.shape
        index_transform = self._index_transform.select(
            np.arange(height)[row_range], np.arange(width)[column_range]
        )
        return self._transform.change_values(index_transform.gather(self._read_crop), self._mean)


class StripBlender:
    """A `TileBlender` that holds only the rows that later tiles still overlap; finished rows go to `scratch`.

    Parameters
    ----------
    tiling
        Positions of the tiles, which must arrive row by row from the top.
    class_count
        K.
    scratch
        Array `(K, height, width)` for the finished rows.
    """

    def __init__(self, tiling: Tiling, class_count: int, scratch: Any) -> None:
        self.tiling = tiling
        self.scratch = scratch
        self._class_count = class_count
        self._weights = TileWeights(tiling)
        self._top = 0
        self._strip = self._new_strip()

    def _new_strip(self) -> NDArray[np.float32]:
        height = min(self.tiling.size, self.tiling.height - self._top)
        return np.zeros((self._class_count, height, self.tiling.width), dtype=np.float32)

    def add_tiles(self, tiles: Iterable[NDArray[np.float32]], corners: Sequence[tuple[int, int]]) -> None:
        """Add the probabilities of several tiles, `(B, K, size, size)`, each at its corner.

        Raises
        ------
        ValueError
            If a corner lies above the row of an earlier tile.
        """
        for tile, (top, left) in zip(tiles, corners, strict=True):
            if top < self._top:
                raise ValueError(f"row {top} is already finished")
            if top > self._top:
                self._advance_to(top)
            self._weights.add_to(self._strip, tile, (top, left), self._top)

    def _advance_to(self, top: int) -> None:
        """Write the rows above `top` to `scratch`, and make room for those below."""
        finished_rows = top - self._top
        previous, height = self._strip, self._strip.shape[1]
        self._flush_rows(min(finished_rows, height))
        self._top = top
        self._strip = self._new_strip()
        kept_rows = max(0, height - finished_rows)
        self._strip[:, :kept_rows] = previous[:, finished_rows:]

    def _flush_rows(self, rows: int) -> None:
        self.scratch[:, self._top : self._top + rows] = self._strip[:, :rows].clip(0, 1)

    def flush(self) -> None:
        """Write the remaining rows to `scratch`."""
        self._flush_rows(self._strip.shape[1])
