"""One sample of one plane at working size, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_latentseg.inference.large import LargeView
from napari_latentseg.inference.noise import FieldNoise
from napari_latentseg.inference.tiles import Canvas, Tiling
from napari_latentseg.methods.base import Method, Noise
from napari_latentseg.precision import Compute
from napari_latentseg.preprocess import Preprocess

__all__ = ["Conditions", "conditions_of", "draw_tiles", "noise_of", "sample_plane", "tiling_of"]

Corners = list[tuple[int, int]]
Conditions = list[tuple[Corners, Tensor]]


def tiling_of(plane: Tensor | LargeView, preprocess: Preprocess) -> Tiling:
    """The tiles of a plane `(3, H, W)` at working size; a single one for models that see the whole."""
    height, width = plane.shape[-2:]
    if preprocess.mode == "whole":
        return Tiling(height, width, max(height, width), 0)
    return Tiling(height, width, preprocess.size, preprocess.overlap)


def conditions_of(
    method: Method, plane: Tensor | LargeView, tiling: Tiling, corners: Corners, compute: Compute
) -> Tensor:
    """What the method computes once of these tiles."""
    tiles = torch.stack([tiling.cut(plane, corner) for corner in corners])
    tiles = tiles.to(compute.torch_device()).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), compute.autocast():
        return method.encode(tiles)


def draw_tiles(
    method: Method,
    condition: Tensor,
    compute: Compute,
    noise: Noise | None = None,
    classes: Sequence[int] | None = None,
) -> Tensor:
    """One sample of the tiles that `conditions_of` looked at: `(B, K, size, size)`, on the CPU.

    Of all classes, or of those whose positions are given.
    """
    with torch.inference_mode(), compute.autocast():
        if classes is None:
            return method.draw(condition, noise).float().cpu()
        return method.draw_only(classes, condition, noise).float().cpu()


def sample_plane(
    method: Method, plane: Tensor, preprocess: Preprocess, compute: Compute, *, seed: int = 0
) -> Tensor:
    """One sample of a plane `(3, H, W)` at working size: probabilities `(K, H, W)`.

    The noise of a method that is not deterministic comes from the seed.
    """
    tiling = tiling_of(plane, preprocess)
    canvas = Canvas(tiling, method.class_count)
    for corners in tiling.batches(4):
        condition = conditions_of(method, plane, tiling, corners, compute)
        noise = None if method.is_deterministic else noise_of(method, corners, seed, 0)
        canvas.lay(draw_tiles(method, condition, compute, noise), corners)
    return canvas.plane((tiling.height, tiling.width))


def noise_of(method: Method, corners: Corners, seed: int, sample: int) -> Noise:
    """The noise of one sample for tiles at these corners, given in pixels."""
    step = method.factor
    return FieldNoise(seed, sample, [(y // step, x // step) for y, x in corners])
