"""Samples of several planes in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.helpers.medseglatdiff import AUTOENCODER, tiny_medseglatdiff

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.inference.tile_inference import sample_plane, sample_planes
from napari_latentseg.utils.device import Compute

COMPUTE = Compute("cpu", "float32")
WHOLE = Preprocess(mode="whole", size=32)
TILES = Preprocess(mode="tiles", size=32, long_side=48, overlap=8)


def planes(*shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((3, *shape), np.float32) for shape in shapes]


@pytest.mark.parametrize(
    ("preprocess", "shapes"),
    [(WHOLE, [(32, 32)] * 3), (TILES, [(32, 48), (48, 40)])],
    ids=["whole planes", "tiles of planes of two sizes"],
)
def test_each_sample_is_that_of_its_plane_alone(preprocess: Preprocess, shapes) -> None:
    method = tiny_medseglatdiff(autoencoder=AUTOENCODER | {"codes": 4})
    images = planes(*shapes)
    together = sample_planes(method, images, preprocess, COMPUTE, seeds=(0, 7))
    for image, samples in zip(images, together, strict=True):
        assert samples.shape == (2, 1, *image.shape[1:])
        for seed, sample in zip((0, 7), samples, strict=True):
            alone = sample_plane(method, image, preprocess, COMPUTE, seed=seed)
            np.testing.assert_allclose(sample, alone, atol=1e-3)
        assert np.abs(samples[0] - samples[1]).max() > 0.01


def test_samples_of_a_plane_share_batches_and_one_encoding() -> None:
    method = tiny_medseglatdiff()
    batches: dict[str, list[int]] = {"encode": [], "denoise": []}
    encode, denoise = method.encode, method.denoise

    def counted_encode(images: torch.Tensor) -> torch.Tensor:
        batches["encode"].append(len(images))
        return encode(images)

    def counted_denoise(z: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        batches["denoise"].append(len(z))
        return denoise(z, t, c)

    method.encode, method.denoise = counted_encode, counted_denoise  # type: ignore[method-assign]
    sample_planes(method, planes(*[(32, 32)] * 4), WHOLE, COMPUTE, seeds=range(5))
    assert batches == {"encode": [4], "denoise": [20] * 3}
