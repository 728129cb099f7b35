"""A codec that remembers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.training.latent_cache import CachingCodec


class Counting(Codec):
    kind, channels, downsampling_factor = "kl", 1, 1
    scale = 0.5

    def __init__(self, has_posterior: bool = True) -> None:
        super().__init__()
        self.has_posterior = has_posterior
        self.seen: list[int] = []

    def encode(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        return images.mean(1, keepdim=True) * 2

    def decode(self, latents: Tensor) -> Tensor:
        return latents.expand(-1, 3, -1, -1) / 2

    def posterior_std(self, images: Tensor) -> Tensor | None:
        return images.std(1, keepdim=True) if self.has_posterior else None


def test_each_row_is_encoded_once_and_comes_back_in_its_place() -> None:
    codec = Counting()
    remembering = CachingCodec(codec)
    images = torch.rand(4, 3, 5, 6)
    for order in ([0, 1], [1, 0, 2], [3, 3, 0], [2, 1]):
        assert torch.equal(remembering.encode(images[order]), images[order].mean(1, keepdim=True) * 2)
    assert codec.seen == [1, 1, 1, 1]


def test_images_and_masks_are_not_taken_for_each_other() -> None:
    codec = Counting()
    remembering = CachingCodec(codec)
    mask = (torch.rand(2, 1, 5, 6) > 0.5).float()
    assert torch.equal(remembering.encode_mask(mask), mask * 2)
    assert torch.equal(remembering.posterior_std(mask.expand(-1, 3, -1, -1)), torch.zeros(2, 1, 5, 6))
    assert torch.equal(remembering.encode_mask(mask.flip(0)), mask.flip(0) * 2)
    assert codec.seen == [1, 1]


@pytest.mark.parametrize("has_posterior", [True, False])
def test_the_posterior_is_that_of_the_codec(has_posterior: bool) -> None:
    codec = Counting(has_posterior)
    images = torch.rand(2, 3, 5, 6)
    for _ in range(2):
        found = CachingCodec(codec).posterior_std(images)
        assert (found is not None) == has_posterior
        if found is not None:
            assert torch.equal(found, codec.posterior_std(images))


def test_it_stands_for_its_codec() -> None:
    codec = Counting()
    remembering = CachingCodec(codec)
    assert (remembering.kind, remembering.channels, remembering.downsampling_factor, remembering.scale) == (
        "kl",
        1,
        1,
        0.5,
    )
    z = torch.rand(1, 1, 5, 6, requires_grad=True)
    remembering.decode_mask(z).sum().backward()
    assert z.grad.abs().sum() > 0  # gradients pass through to a latent


def test_what_was_computed_for_looking_can_be_learnt_from() -> None:
    """Tensors of the inference mode may not be used in a backward pass; a copy of them may."""
    remembering = CachingCodec(Counting())
    images = torch.rand(2, 3, 5, 6)
    with torch.inference_mode():
        remembering.encode(images)
    weight = torch.ones(1, requires_grad=True)
    (remembering.encode(images) * weight).sum().backward()
    assert float(weight.grad) == pytest.approx(float(images.mean(1).sum() * 2), rel=1e-5)
