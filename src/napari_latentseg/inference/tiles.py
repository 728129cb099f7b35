"""Overlapping tiles of a plane, and their blending without visible seams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.preprocess import Preprocess

__all__ = ["TileBlender", "TileWeights", "Tiling", "make_tiling"]

# Not MONAI's sliding_window_inference: it is one call, so a run could neither be cancelled between batches of
# tiles nor continue with half the batch size when memory runs out, and it is no faster.

_MIN_WEIGHT = 1e-3  # of a tile's edge: small, but far above rounding when weights are divided out


class Sliceable(Protocol):
    """A plane that can be cropped: an array `(C, H, W)`, or a `LazyView`."""

    def __getitem__(self, index: tuple[slice, slice, slice], /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Tiling:
    """Positions of the tiles of a plane.

    Attributes
    ----------
    height, width
        Size of the plane in pixels.
    size
        Side of a tile in pixels. A plane that is smaller is one tile, padded by mirroring.
    overlap
        Minimum overlap of neighbouring tiles in pixels.
    """

    height: int
    width: int
    size: int
    overlap: int

    def corners(self) -> list[tuple[int, int]]:
        """Row and column of the top left pixel of every tile, row by row, evenly spaced from edge to edge."""
        return [(y, x) for y in self.starts(self.height) for x in self.starts(self.width)]

    def starts(self, length: int) -> list[int]:
        """Where the tiles begin along an axis of this length."""
        slack = length - self.size
        if slack <= 0:
            return [0]
        count = -(-slack // (self.size - self.overlap))
        return [round(i * slack / count) for i in range(count + 1)]

    def crop_tile(self, plane: Sliceable, corner: tuple[int, int]) -> NDArray[Any]:
        """The tile at a corner of a plane `(C, H, W)`: `(C, size, size)`, a view where it lies inside."""
        top, left = corner
        tile = plane[:, top : top + self.size, left : left + self.size]
        return mirror_pad(tile, self.size)

    def batches(self, count: int) -> Iterator[list[tuple[int, int]]]:
        """The corners in batches of `count`."""
        corners = self.corners()
        for start in range(0, len(corners), count):
            yield corners[start : start + count]


def make_tiling(shape: tuple[int, ...], preprocess: Preprocess) -> Tiling:
    """The tiling of a plane of this shape, `(..., H, W)`; one tile for models that see the whole plane."""
    height, width = shape[-2:]
    if preprocess.mode == "whole":
        return Tiling(height, width, max(height, width), 0)
    return Tiling(height, width, preprocess.size, preprocess.overlap)


def mirror_pad(tile: NDArray[Any], size: int) -> NDArray[Any]:
    """Pad `(C, h, w)` at the bottom and the right by mirroring, repeatedly if needed: `(C, size, size)`."""
    while tile.shape[-1] < size or tile.shape[-2] < size:
        height, width = tile.shape[-2:]
        pad_rows, pad_columns = min(size - height, height), min(size - width, width)
        # edge pixels are repeated ("symmetric"), so that a single pixel can be mirrored too
        tile = np.concatenate([tile, tile[:, height - pad_rows :][:, ::-1]], axis=1)
        tile = np.concatenate([tile, tile[:, :, width - pad_columns :][:, :, ::-1]], axis=2)
    return tile


class TileWeights:
    """How much each tile counts at each pixel: sin² ramps over the overlap, which add up to 1 everywhere.

    The weight is the product of one for the row and one for the column.

    Parameters
    ----------
    tiling
        Positions of the tiles.
    """

    def __init__(self, tiling: Tiling) -> None:
        rise = (np.arange(tiling.overlap) + 0.5) / max(1, tiling.overlap)
        # the minimum matters at the edges of a plane, which only one tile covers
        rise = np.maximum(np.sin(rise * np.pi / 2) ** 2, _MIN_WEIGHT)
        self._ramp = np.ones(tiling.size)
        self._ramp[: tiling.overlap] = rise
        self._ramp[tiling.size - tiling.overlap :] = np.minimum(
            self._ramp[tiling.size - tiling.overlap :], rise[::-1]
        )
        self._rows = self._shares(tiling.height, tiling.starts(tiling.height))
        self._columns = self._shares(tiling.width, tiling.starts(tiling.width))

    def _shares(self, length: int, starts: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """The weights along an axis of the tiles that begin at each position; all in (0, 1]."""
        size = min(length, len(self._ramp))
        total = np.zeros(length)
        for start in starts:
            total[start : start + size] += self._ramp[:size]
        return {
            start: (self._ramp[:size] / total[start : start + size]).astype(np.float32) for start in starts
        }

    def add_to(
        self, blended: NDArray[np.float32], tile: NDArray[np.float32], corner: tuple[int, int], top: int = 0
    ) -> None:
        """Add a tile `(K, size, size)`, times its weights, to a plane or to the rows of it from `top` on."""
        row_shares, column_shares = self._rows[corner[0]], self._columns[corner[1]]
        height, width = len(row_shares), len(column_shares)
        weighted = tile[:, :height, :width] * row_shares[:, None]
        weighted *= column_shares
        row, column = corner[0] - top, corner[1]
        blended[:, row : row + height, column : column + width] += weighted


class TileBlender:
    """Weighted sum of overlapping tiles; its memory does not depend on the number of tiles.

    Parameters
    ----------
    tiling
        Positions of the tiles.
    class_count
        K.
    """

    def __init__(self, tiling: Tiling, class_count: int) -> None:
        self.tiling = tiling
        self._class_count = class_count
        # made with the first tile: a run makes blenders ahead of its networks
        self._weights: TileWeights | None = None
        self._blended: NDArray[np.float32] | None = None

    def add_tile(self, tile: NDArray[np.float32], corner: tuple[int, int]) -> None:
        """Add the probabilities of a tile, `(K, size, size)`, with its corner at row and column `corner`."""
        if self._weights is None or self._blended is None:
            shape = (self._class_count, self.tiling.height, self.tiling.width)
            self._weights, self._blended = TileWeights(self.tiling), np.zeros(shape, dtype=np.float32)
        self._weights.add_to(self._blended, tile, corner)

    def add_tiles(self, tiles: Iterable[NDArray[np.float32]], corners: Sequence[tuple[int, int]]) -> None:
        """Add the probabilities of several tiles, `(B, K, size, size)`, each at its corner."""
        for tile, corner in zip(tiles, corners, strict=True):
            self.add_tile(tile, corner)

    def blend(self) -> NDArray[np.float32]:
        """The weighted mean of the tiles, all of which were added: `(K, height, width)` in [0, 1]."""
        assert self._blended is not None
        return np.clip(self._blended, 0, 1, out=self._blended)
