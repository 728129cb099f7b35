"""Encoding and sampling of tiles of one plane, at the size at which the model works."""

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

__all__ = [
    "encode_images",
    "encode_tiles",
    "make_tiling",
    "sample_plane",
    "sample_tiles",
    "tile_noise",
]

TileCorners = list[tuple[int, int]]
"""Row and column of the top left pixel of each tile."""


def make_tiling(plane: Tensor | LazyView, preprocess: Preprocess) -> Tiling:
    """The tiling of a plane `(3, H, W)`; a single tile for models that see the whole plane."""
    height, width = plane.shape[-2:]
    if preprocess.mode == "whole":
        return Tiling(height, width, max(height, width), 0)
    return Tiling(height, width, preprocess.size, preprocess.overlap)


def encode_tiles(
    method: Method, plane: Tensor | LazyView, tiling: Tiling, corners: TileCorners, compute: Compute
) -> Tensor:
    """The conditioning of some tiles of a plane `(3, H, W)` in [0, 1], one entry of the batch for each tile.

    It does not depend on the sample, so it can be computed once and reused.
    """
    return encode_images(
        method, torch.stack([tiling.crop_tile(plane, corner) for corner in corners]), compute
    )


def encode_images(method: Method, images: Tensor, compute: Compute) -> Tensor:
    """The conditioning of images `(B, 3, size, size)` in [0, 1], such as tiles."""
    images = images.to(compute.torch_device()).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), compute.autocast():
        return method.encode(images)


def sample_tiles(
    method: Method,
    conditioning: Tensor,
    compute: Compute,
    noise: Noise | None = None,
    class_indices: Sequence[int] | None = None,
) -> Tensor:
    """One sample of some tiles: probabilities in [0, 1], float32 `(B, K, size, size)`, on the CPU.

    Parameters
    ----------
    method
        The segmentation method.
    conditioning
        From `encode_tiles`.
    compute
        Device and precision.
    noise
        From `tile_noise`; None for a method that needs none.
    class_indices
        Indices of the requested classes; None for all.
    """
    with torch.inference_mode(), compute.autocast():
        if class_indices is None:
            return method.sample(conditioning, noise).float().cpu()
        return method.sample_classes(class_indices, conditioning, noise).float().cpu()


def sample_plane(
    method: Method, plane: Tensor, preprocess: Preprocess, compute: Compute, *, seed: int = 0
) -> Tensor:
    """One sample of a plane `(3, H, W)` in [0, 1] at working size: probabilities `(K, H, W)`.

    For validation in training and fine-tuning: no augmentation, no cache, no cancelling.
    """
    tiling = make_tiling(plane, preprocess)
    blender = TileBlender(tiling, method.class_count)
    for corners in tiling.batches(4):  # as `InferenceSettings.tiles_at_once` by default
        conditioning = encode_tiles(method, plane, tiling, corners, compute)
        noise = None if method.is_deterministic else tile_noise(method, corners, seed, 0)
        blender.add_tiles(sample_tiles(method, conditioning, compute, noise), corners)
    return blender.blend((tiling.height, tiling.width))


def tile_noise(method: Method, corners: TileCorners, seed: int, samples: int | Sequence[int]) -> Noise:
    """The noise of tiles at these corners, which are in pixels, of one sample or of one for each tile."""
    latent_factor = method.downsampling_factor
    return PositionalNoise(seed, samples, [(y // latent_factor, x // latent_factor) for y, x in corners])
