"""One sample of one plane at working size, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.inference.out_of_core import LazyView
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.inference.tiles import TileBlender, Tiling
from napari_latentseg.methods.base import Method, Noise
from napari_latentseg.utils.device import Compute

__all__ = ["ConditioningCache", "encode_tiles", "make_tiling", "sample_plane", "sample_tiles", "tile_noise"]

TileCorners = list[tuple[int, int]]
ConditioningCache = list[tuple[TileCorners, Tensor]]


def make_tiling(plane: Tensor | LazyView, preprocess: Preprocess) -> Tiling:
    """The tiles of a plane `(3, H, W)` at working size; a single one for models that see the whole."""
    height, width = plane.shape[-2:]
    if preprocess.mode == "whole":
        return Tiling(height, width, max(height, width), 0)
    return Tiling(height, width, preprocess.size, preprocess.overlap)


def encode_tiles(
    method: Method, plane: Tensor | LazyView, tiling: Tiling, corners: TileCorners, compute: Compute
) -> Tensor:
    """What the method computes once of these tiles."""
    tiles = torch.stack([tiling.crop_tile(plane, corner) for corner in corners])
    tiles = tiles.to(compute.torch_device()).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), compute.autocast():
        return method.encode(tiles)


def sample_tiles(
    method: Method,
    conditioning: Tensor,
    compute: Compute,
    noise: Noise | None = None,
    class_indices: Sequence[int] | None = None,
) -> Tensor:
    """One sample of the tiles that `conditions_of` looked at: `(B, K, size, size)`, on the CPU.

    Of all classes, or of those whose positions are given.
    """
    with torch.inference_mode(), compute.autocast():
        if class_indices is None:
            return method.sample(conditioning, noise).float().cpu()
        return method.sample_classes(class_indices, conditioning, noise).float().cpu()


def sample_plane(
    method: Method, plane: Tensor, preprocess: Preprocess, compute: Compute, *, seed: int = 0
) -> Tensor:
    """One sample of a plane `(3, H, W)` at working size: probabilities `(K, H, W)`.

    The noise of a method that is not deterministic comes from the seed.
    """
    tiling = make_tiling(plane, preprocess)
    blender = TileBlender(tiling, method.class_count)
    for corners in tiling.batches(4):
        conditioning = encode_tiles(method, plane, tiling, corners, compute)
        noise = None if method.is_deterministic else tile_noise(method, corners, seed, 0)
        blender.add_tiles(sample_tiles(method, conditioning, compute, noise), corners)
    return blender.blend((tiling.height, tiling.width))


def tile_noise(method: Method, corners: TileCorners, seed: int, sample: int) -> Noise:
    """The noise of one sample for tiles at these corners, given in pixels."""
    latent_factor = method.downsampling_factor
    return PositionalNoise(seed, sample, [(y // latent_factor, x // latent_factor) for y, x in corners])
