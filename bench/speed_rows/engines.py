"""The networks of a model as a run computes them, and in torch, float32, one image at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from napari_latentseg.engines.choose import open_engines
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.models.folder import Model


def random_tiles(model: Model, seed: int) -> NDArray[np.float32]:
    """Tiles of all samples of a run, `(n, 3, size, size)` in [0, 1]; what they show does not matter."""
    size, count = model.card.preprocess.size, model.card.default_samples
    return np.random.default_rng(seed).random((count, 3, size, size), dtype=np.float32)


def torch_pass(model: Model, images: torch.Tensor) -> None:
    """Encode and sample each image by itself in torch, float32, as a run without an engine would."""
    with torch.inference_mode():
        for image in images:
            encoded = model.method.encode(image[None].contiguous(memory_format=torch.channels_last))
            model.method.sample(encoded)


class NetworkPasses:
    """Each call encodes and samples n tiles in one batch, through the engine that a run takes.

    The tiles are others at each of `count` calls, since an engine remembers what it has encoded.
    """

    def __init__(self, predictor: Predictor, count: int) -> None:
        model = predictor.model
        self._engine = open_engines(model, predictor.compute, [model.card.preprocess.size])[0][0]
        self._tiles = [random_tiles(model, seed) for seed in range(count)]

    def __call__(self) -> None:
        self._engine.sample(self._engine.encode(self._tiles.pop()))


def torch_predictor(model: Model) -> Predictor:
    """A predictor that computes in torch, float32, on the CPU."""
    return Predictor(model, "cpu", "float32", "torch")
