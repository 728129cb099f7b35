"""Planes that are too large to hold at working size: seen, drawn and laid a row of tiles at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from napari_latentseg.inference.tiles import TileBlender, Tiling
from napari_latentseg.inference.tta import TTATransform, mirror_index

__all__ = ["IndexTransform", "LazyView", "StripBlender"]

CropReader = Callable[[slice, slice], Tensor]


@dataclass(frozen=True)
class IndexTransform:
    """How the elements of one plane lie in another: flips, quarter turns, shifts, all as indices.

    Element `(i, j)` is element ``(rows[i], columns[j])`` of the other, or ``(rows[j], columns[i])`` where
    it is `is_transposed`.
    """

    rows: Tensor
    columns: Tensor
    is_transposed: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        source_shape = (len(self.rows), len(self.columns))
        return source_shape[::-1] if self.is_transposed else source_shape

    def rot90(self) -> IndexTransform:
        """Turned once more, as `torch.rot90` does."""
        if self.is_transposed:
            return IndexTransform(self.rows.flip(0), self.columns, False)
        return IndexTransform(self.rows, self.columns.flip(0), True)

    def select(self, row_index: Tensor, column_index: Tensor) -> IndexTransform:
        """Its own rows `row_index` and columns `column_index`."""
        source_rows, source_columns = (
            (column_index, row_index) if self.is_transposed else (row_index, column_index)
        )
        return IndexTransform(self.rows[source_rows], self.columns[source_columns], self.is_transposed)

    def gather(self, read_crop: CropReader) -> Tensor:
        """The whole of it, `(C, H, W)`, from what `read_crop` gives of the other plane."""
        low_row, low_column = int(self.rows.min()), int(self.columns.min())
        crop = read_crop(
            slice(low_row, int(self.rows.max()) + 1), slice(low_column, int(self.columns.max()) + 1)
        )
        crop = crop[:, self.rows - low_row][:, :, self.columns - low_column]
        return crop.transpose(1, 2) if self.is_transposed else crop

    @classmethod
    def forward(cls, transform: TTATransform, height: int, width: int) -> IndexTransform:
        """What `Variation.apply` does to the places of a plane."""
        index_transform = cls(torch.arange(height), torch.arange(width))
        for _ in range(transform.quarter_turns % 4):
            index_transform = index_transform.rot90()
        row_index, column_index = (torch.arange(n) for n in index_transform.shape)
        if transform.flip_vertical:
            row_index = row_index.flip(0)
        if transform.flip_horizontal:
            column_index = column_index.flip(0)
        if transform.pad:
            row_index, column_index = (
                n[mirror_index(len(n), s, transform.pad)]
                for n, s in zip((row_index, column_index), transform.shift, strict=True)
            )
        return index_transform.select(row_index, column_index)

    @classmethod
    def inverse(cls, transform: TTATransform, height: int, width: int) -> IndexTransform:
        """What `Variation.invert` does to the places of what was found in a view of this height and width."""
        top, left = transform.shift if transform.pad else (0, 0)
        index_transform = cls(
            torch.arange(top, top + height - transform.pad), torch.arange(left, left + width - transform.pad)
        )
        row_index, column_index = (torch.arange(n) for n in index_transform.shape)
        if transform.flip_vertical:
            row_index = row_index.flip(0)
        if transform.flip_horizontal:
            column_index = column_index.flip(0)
        index_transform = index_transform.select(row_index, column_index)
        for _ in range(-transform.quarter_turns % 4):
            index_transform = index_transform.rot90()
        return index_transform


class LazyView:
    """A varied plane of which only parts are ever made; takes the place of a tensor in `Tiling.crop_tile`.

    Parameters
    ----------
    read_crop
        Gives rows and columns of the plane, `(3, h, w)` in [0, 1].
    shape
        Its height and width.
    transform
        What is done to it.
    mean
        The mean of the plane, which contrast is taken about.
    """

    def __init__(
        self, read_crop: CropReader, shape: tuple[int, int], transform: TTATransform, mean: float
    ) -> None:
        self._read_crop = read_crop
        self._index_transform = IndexTransform.forward(transform, *shape)
        self._transform = transform
        self._mean = mean
        self.shape = (3, *self._index_transform.shape)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> Tensor:
        _, row_range, column_range = index
        _, height, width = self.shape
        index_transform = self._index_transform.select(
            torch.arange(height)[row_range], torch.arange(width)[column_range]
        )
        tile = index_transform.gather(self._read_crop)
        transform = self._transform
        if transform.brightness != 1 or transform.contrast != 1:
            tile = (((tile - self._mean) * transform.contrast + self._mean) * transform.brightness).clamp(
                0, 1
            )
        return tile


class StripBlender:
    """As `TileBlender`, with only the rows in memory that tiles still come to; the others are in `scratch`.

    Parameters
    ----------
    tiling
        Whose tiles come row by row, from the top.
    class_count
        K.
    scratch
        `(K, height, width)`, where rows go when they are complete.
    """

    def __init__(self, tiling: Tiling, class_count: int, scratch: Any) -> None:
        self.tiling = tiling
        self.scratch = scratch
        self._class_count = class_count
        self._top = 0
        self._strip = self._new_strip()

    def _new_strip(self) -> TileBlender:
        tiling = self.tiling
        height = min(tiling.size, tiling.height - self._top)
        return TileBlender(Tiling(height, tiling.width, tiling.size, tiling.overlap), self._class_count)

    def add_tiles(self, tiles: Tensor, corners: Sequence[tuple[int, int]]) -> None:
        """Lay tiles `(B, K, size, size)` at their corners.

        Raises
        ------
        ValueError
            Where a corner lies above rows that are complete.
        """
        for tile, (top, left) in zip(tiles, corners, strict=True):
            if top < self._top:
                raise ValueError(f"row {top} is complete")
            if top > self._top:
                self._advance_to(top)
            self._strip.add_tile(tile, (0, left))

    def _advance_to(self, top: int) -> None:
        """Put the rows above `top` away, and make room for those below."""
        finished_rows = top - self._top
        previous, height = self._strip, self._strip.tiling.height
        self._flush_rows(min(finished_rows, height))
        self._top = top
        self._strip = self._new_strip()
        kept_rows = max(0, height - finished_rows)
        self._strip.weighted_sum[:, :kept_rows] = previous.weighted_sum[:, finished_rows:]
        self._strip.weight_sum[:, :kept_rows] = previous.weight_sum[:, finished_rows:]

    def _flush_rows(self, rows: int) -> None:
        size = (self._strip.tiling.height, self.tiling.width)
        blended = self._strip.blend(size)
        self.scratch[:, self._top : self._top + rows] = blended[:, :rows].numpy()

    def flush(self) -> None:
        """Put away what is left."""
        self._flush_rows(self._strip.tiling.height)
