"""Samples of planes at the size at which the model works, for validation in training and fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.engines.torch_engine import TorchEngine
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.inference.tiles import TileBlender, make_tiling
from napari_latentseg.methods.base import Method
from napari_latentseg.utils.device import Compute

__all__ = ["sample_plane", "sample_planes"]

# So few pixels that they fit into memory beside a training, whose batches are larger: 4 tiles of 224 x 224,
# or 48 of 64 x 64. A diffusion runs its network many times, which in small batches is mostly overhead.
_PIXELS_PER_BATCH = 4 * 224**2
_MIN_TILES_PER_BATCH = 4


def sample_plane(
    method: Method, plane: NDArray[np.float32], preprocess: Preprocess, compute: Compute, *, seed: int = 0
) -> NDArray[np.float32]:
    """One sample of a plane `(3, H, W)` in [0, 1] at working size: probabilities `(K, H, W)`.

    For validation in training and fine-tuning: no augmentation, no cache, no cancelling.
    """
    sample: NDArray[np.float32] = sample_planes(method, [plane], preprocess, compute, seeds=(seed,))[0][0]
    return sample


def sample_planes(
    method: Method,
    planes: Sequence[NDArray[np.float32]],
    preprocess: Preprocess,
    compute: Compute,
    *,
    seeds: Sequence[int] = (0,),
    source: str = "",
) -> list[NDArray[np.float32]]:
    """Samples of several planes, whose tiles go through the networks together.

    Each equals that of `sample_plane`, but for rounding, which depends on the size of a batch.

    Parameters
    ----------
    method
        The method; a tile is encoded once for all of its samples.
    planes
        `(3, H, W)` in [0, 1] at working size; they may differ in size.
    preprocess
        Says how large tiles are.
    compute
        Device and precision.
    seeds
        One for each sample of a plane; a deterministic method gives the same for each.
    source
        A sampling source of a method that predicts without it too, whose noise the samples then get.

    Returns
    -------
    list of ndarray
        For each plane the probabilities of its samples, `(len(seeds), K, H, W)`.
    """
    engine = TorchEngine(method, compute)
    tilings = [make_tiling(plane.shape, preprocess) for plane in planes]
    blenders = [[TileBlender(tiling, method.class_count) for _ in seeds] for tiling in tilings]
    tiles = [(i, corner) for i, tiling in enumerate(tilings) for corner in tiling.corners()]
    tiles.sort(key=lambda tile: tilings[tile[0]].size)  # a batch has tiles of one size
    factor = method.downsampling_factor
    start = 0
    while start < len(tiles):
        size = tilings[tiles[start][0]].size
        batch_size = max(_MIN_TILES_PER_BATCH, _PIXELS_PER_BATCH // size**2)
        batch = [tile for tile in tiles[start : start + batch_size] if tilings[tile[0]].size == size]
        start += len(batch)
        conditioning = engine.encode(
            np.stack([tilings[i].crop_tile(planes[i], corner) for i, corner in batch])
        )
        draws = [(row, number) for row in range(len(batch)) for number in range(len(seeds))]
        for first in range(0, len(draws), batch_size):
            part = draws[first : first + batch_size]
            noise = None
            if engine.uses_noise(source):
                corners = [batch[row][1] for row, _ in part]
                noise = PositionalNoise(
                    [seeds[number] for _, number in part], 0, [(y // factor, x // factor) for y, x in corners]
                )
            probabilities = engine.sample([conditioning[row] for row, _ in part], noise)
            for (row, number), tile_probabilities in zip(part, probabilities, strict=True):
                i, corner = batch[row]
                blenders[i][number].add_tiles(tile_probabilities[None], [corner])
    return [np.stack([blender.blend() for blender in of_plane]) for of_plane in blenders]
