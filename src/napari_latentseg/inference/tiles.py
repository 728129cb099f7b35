"""Overlapping tiles of a plane, and their blending without visible seams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TileBlender", "Tiling"]

# Not MONAI's sliding_window_inference: it is one call, so a run could neither be cancelled between batches of
# tiles nor continue with half the batch size when memory runs out, and it is no faster.

_MIN_WEIGHT = 1e-3  # of a tile's edge: small, but far above float32 rounding when weights are divided out


class Sliceable(Protocol):
    """A plane that can be cropped: a tensor `(C, H, W)`, or a `LazyView`."""

    def __getitem__(self, index: tuple[slice, slice, slice], /) -> Tensor: ...


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
        return [(y, x) for y in self._starts(self.height) for x in self._starts(self.width)]

    def _starts(self, length: int) -> list[int]:
        slack = length - self.size
        if slack <= 0:
            return [0]
        count = -(-slack // (self.size - self.overlap))
        return [round(i * slack / count) for i in range(count + 1)]

    def crop_tile(self, plane: Sliceable, corner: tuple[int, int]) -> Tensor:
        """The tile at a corner of a plane `(C, H, W)`: `(C, size, size)`."""
        top, left = corner
        tile = plane[:, top : top + self.size, left : left + self.size]
        return mirror_pad(tile, self.size)

    def batches(self, count: int) -> Iterator[list[tuple[int, int]]]:
        """The corners in batches of `count`."""
        corners = self.corners()
        for start in range(0, len(corners), count):
            yield corners[start : start + count]

    def window(self) -> Tensor:
        """Blending weight of each pixel of a tile, `(size, size)` in (0, 1]: sin² ramps over the overlap."""
        if not self.overlap:
            return torch.ones(self.size, self.size)
        ramp = torch.ones(self.size)
        rise = (torch.arange(self.overlap) + 0.5) / self.overlap
        # the minimum matters at the corners of a plane, which only one tile covers
        rise = (torch.sin(rise * torch.pi / 2) ** 2).clamp_min(_MIN_WEIGHT)
        ramp[: self.overlap] = rise
        ramp[-self.overlap :] = torch.minimum(ramp[-self.overlap :], rise.flip(0))
        return ramp[:, None] * ramp[None, :]


def mirror_pad(tile: Tensor, size: int) -> Tensor:
    """Pad `(C, h, w)` at the bottom and the right by mirroring, repeatedly if needed: `(C, size, size)`."""
    while tile.shape[-1] < size or tile.shape[-2] < size:
        height, width = tile.shape[-2:]
        pad_rows, pad_columns = min(size - height, height), min(size - width, width)
        # edge pixels are repeated ("symmetric"), so that a single pixel can be mirrored too
        tile = torch.cat([tile, tile[:, height - pad_rows :].flip(1)], dim=1)
        tile = torch.cat([tile, tile[:, :, width - pad_columns :].flip(2)], dim=2)
    return tile


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
        self.window = tiling.window()
        self.weighted_sum = torch.zeros(class_count, tiling.height, tiling.width)
        self.weight_sum = torch.zeros(1, tiling.height, tiling.width)

    def add_tile(self, tile: Tensor, corner: tuple[int, int]) -> None:
        """Add the probabilities of a tile, `(K, size, size)`, with its corner at row and column `corner`."""
        top, left = corner
        height = min(self.tiling.size, self.tiling.height - top)
        width = min(self.tiling.size, self.tiling.width - left)
        window = self.window[:height, :width]
        region = (slice(None), slice(top, top + height), slice(left, left + width))
        self.weighted_sum[region] += tile[:, :height, :width].float() * window
        self.weight_sum[region] += window

    def add_tiles(self, tiles: Tensor, corners: Sequence[tuple[int, int]]) -> None:
        """Add the probabilities of several tiles, `(B, K, size, size)`, each at its corner."""
        for tile, corner in zip(tiles, corners, strict=True):
            self.add_tile(tile, corner)

    def blend(self, size: tuple[int, int]) -> Tensor:
        """The weighted mean of the tiles, resized to `size`: `(K, *size)` in [0, 1]."""
        # the lowest weight is that of a corner of the window, the product of two edges
        blended = (self.weighted_sum / self.weight_sum.clamp_min(_MIN_WEIGHT**3))[None]
        if tuple(blended.shape[-2:]) != size:
            blended = F.interpolate(blended, size=size, mode="bilinear", antialias=True, align_corners=False)
        return blended[0].clamp(0, 1)
