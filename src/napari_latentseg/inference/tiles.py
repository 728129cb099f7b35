"""Cutting a plane into tiles that overlap, and putting it together so that no seam shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TileBlender", "Tiling"]

# Not MONAI's sliding_window_inference: it is one call, so a run could neither be cancelled between batches of
# tiles nor go on with half of the batch when memory runs out, and it is no faster.

_MIN_WEIGHT = 1e-3


class Sliceable(Protocol):
    """A plane of which parts can be taken: a tensor `(C, H, W)`, or what stands for one."""

    def __getitem__(self, index: tuple[slice, slice, slice], /) -> Tensor: ...


@dataclass(frozen=True)
class Tiling:
    """Where the tiles of a plane lie.

    Attributes
    ----------
    height, width
        Of the plane.
    size
        Side of a tile; a plane smaller than a tile is one tile, mirrored out to full size.
    overlap
        Pixels that neighbours share at least.
    """

    height: int
    width: int
    size: int
    overlap: int

    def corners(self) -> list[tuple[int, int]]:
        """Top left corner of every tile, row by row, spread evenly from edge to edge."""
        return [(y, x) for y in self._starts(self.height) for x in self._starts(self.width)]

    def _starts(self, length: int) -> list[int]:
        slack = length - self.size
        if slack <= 0:
            return [0]
        count = -(-slack // (self.size - self.overlap))
        return [round(i * slack / count) for i in range(count + 1)]

    def crop_tile(self, plane: Sliceable, corner: tuple[int, int]) -> Tensor:
        """The tile at a corner: `(C, H, W)` to `(C, size, size)`."""
        top, left = corner
        tile = plane[:, top : top + self.size, left : left + self.size]
        return mirror_pad(tile, self.size)

    def batches(self, count: int) -> Iterator[list[tuple[int, int]]]:
        """The corners, `count` at a time."""
        corners = self.corners()
        for start in range(0, len(corners), count):
            yield corners[start : start + count]

    def window(self) -> Tensor:
        """The weight of each pixel of a tile, `(size, size)`: one inside, less at the edges, never 0."""
        if not self.overlap:
            return torch.ones(self.size, self.size)
        ramp = torch.ones(self.size)
        rise = (torch.arange(self.overlap) + 0.5) / self.overlap
        # the floor keeps the corner of a plane, which only one tile covers, well above rounding
        rise = (torch.sin(rise * torch.pi / 2) ** 2).clamp_min(_MIN_WEIGHT)
        ramp[: self.overlap] = rise
        ramp[-self.overlap :] = torch.minimum(ramp[-self.overlap :], rise.flip(0))
        return ramp[:, None] * ramp[None, :]


def mirror_pad(tile: Tensor, size: int) -> Tensor:
    """Mirror `(C, h, w)` out at the bottom and the right, as often as it takes, to `(C, size, size)`."""
    while tile.shape[-1] < size or tile.shape[-2] < size:
        height, width = tile.shape[-2:]
        pad_rows, pad_columns = min(size - height, height), min(size - width, width)
        # "symmetric" mirroring, edge pixels twice, so that it works from a single pixel on
        tile = torch.cat([tile, tile[:, height - pad_rows :].flip(1)], dim=1)
        tile = torch.cat([tile, tile[:, :, width - pad_columns :].flip(2)], dim=2)
    return tile


class TileBlender:
    """Weighted sums of tiles on a plane; memory does not depend on the number of tiles."""

    def __init__(self, tiling: Tiling, class_count: int) -> None:
        self.tiling = tiling
        self.window = tiling.window()
        self.weighted_sum = torch.zeros(class_count, tiling.height, tiling.width)
        self.weight_sum = torch.zeros(1, tiling.height, tiling.width)

    def add_tile(self, tile: Tensor, corner: tuple[int, int]) -> None:
        """Lay a tile of probabilities `(K, size, size)` on the canvas."""
        top, left = corner
        height = min(self.tiling.size, self.tiling.height - top)
        width = min(self.tiling.size, self.tiling.width - left)
        window = self.window[:height, :width]
        region = (slice(None), slice(top, top + height), slice(left, left + width))
        self.weighted_sum[region] += tile[:, :height, :width].float() * window
        self.weight_sum[region] += window

    def add_tiles(self, tiles: Tensor, corners: Sequence[tuple[int, int]]) -> None:
        """Lay several tiles, `(B, K, size, size)`, each at its corner."""
        for tile, corner in zip(tiles, corners, strict=True):
            self.add_tile(tile, corner)

    def blend(self, size: tuple[int, int]) -> Tensor:
        """What has been laid, normalised and resized: `(K, *size)` in [0, 1]."""
        blended = (self.weighted_sum / self.weight_sum.clamp_min(_MIN_WEIGHT**3))[None]
        if tuple(blended.shape[-2:]) != size:
            blended = F.interpolate(blended, size=size, mode="bilinear", antialias=True, align_corners=False)
        return blended[0].clamp(0, 1)
