"""One sample of a plane, at the size at which the model works."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.engines.torch_engine import TorchEngine
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.inference.tiles import TileBlender, make_tiling
from napari_latentseg.methods.base import Method
from napari_latentseg.utils.device import Compute

__all__ = ["sample_plane"]

_TILES_PER_BATCH = 4  # so few that they fit into memory beside a training


def sample_plane(
    method: Method, plane: NDArray[np.float32], preprocess: Preprocess, compute: Compute, *, seed: int = 0
) -> NDArray[np.float32]:
    """One sample of a plane `(3, H, W)` in [0, 1] at working size: probabilities `(K, H, W)`.

    For validation in training and fine-tuning: no augmentation, no cache, no cancelling.
    """
    engine = TorchEngine(method, compute)
    tiling = make_tiling(plane.shape, preprocess)
    blender = TileBlender(tiling, method.class_count)
    factor = method.downsampling_factor
    for corners in tiling.batches(_TILES_PER_BATCH):
        conditioning = engine.encode(np.stack([tiling.crop_tile(plane, corner) for corner in corners]))
        noise = None
        if not method.is_deterministic:
            noise = PositionalNoise(seed, 0, [(y // factor, x // factor) for y, x in corners])
        blender.add_tiles(engine.sample(conditioning, noise), corners)
    return blender.blend()
