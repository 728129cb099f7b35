"""One sample of one plane at working size, tile by tile."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from napari_latentseg.inference.tiles import Canvas, Tiling
from napari_latentseg.methods.base import Method
from napari_latentseg.precision import Compute
from napari_latentseg.preprocess import Preprocess

__all__ = ["Conditions", "conditions_of", "draw_plane", "draw_tiles", "sample_plane", "tiling_of"]

Corners = list[tuple[int, int]]
Conditions = list[tuple[Corners, Tensor]]


def tiling_of(plane: Tensor, preprocess: Preprocess) -> Tiling:
    """The tiles of a plane `(3, H, W)` at working size; a single one for models that see the whole."""
    height, width = plane.shape[-2:]
    if preprocess.mode == "whole":
        return Tiling(height, width, max(height, width), 0)
    return Tiling(height, width, preprocess.size, preprocess.overlap)


def conditions_of(
    method: Method, plane: Tensor, tiling: Tiling, corners: Corners, compute: Compute
) -> Tensor:
    """What the method computes once of these tiles."""
    tiles = torch.stack([tiling.cut(plane, corner) for corner in corners])
    tiles = tiles.to(compute.torch_device()).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), compute.autocast():
        return method.encode(tiles)


def draw_tiles(
    method: Method, condition: Tensor, compute: Compute, generator: torch.Generator | None = None
) -> Tensor:
    """One sample of the tiles that `conditions_of` looked at: `(B, K, size, size)`, on the CPU."""
    with torch.inference_mode(), compute.autocast():
        return method.draw(condition, generator).float().cpu()


def draw_plane(
    method: Method,
    conditions: Iterable[tuple[Corners, Tensor]],
    compute: Compute,
    canvas: Canvas,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Draw one sample of the tiles that `conditions_of` looked at, and lay them on the canvas."""
    for corners, condition in conditions:
        canvas.lay(draw_tiles(method, condition, compute, generator), corners)


def sample_plane(method: Method, plane: Tensor, preprocess: Preprocess, compute: Compute) -> Tensor:
    """One sample of a plane `(3, H, W)` at working size: probabilities `(K, H, W)`."""
    tiling = tiling_of(plane, preprocess)
    canvas = Canvas(tiling, 1)
    for corners in tiling.batches(4):
        condition = conditions_of(method, plane, tiling, corners, compute)
        draw_plane(method, [(corners, condition)], compute, canvas)
    return canvas.plane((tiling.height, tiling.width))
