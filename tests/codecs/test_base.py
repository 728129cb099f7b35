from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.compact import CompactCodec
from napari_latentseg.errors import BadInput


class Recorder(Codec):
    """Gives back pixels that it was told to, and keeps what it was given."""

    kind = "compact"
    channels = 3

    def __init__(self, pixels: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.pixels = pixels

    def encode(self, images: Tensor) -> Tensor:
        return images * self.weight

    def decode(self, latents: Tensor) -> Tensor:
        return latents * self.weight if self.pixels is None else self.pixels


# Three channels of a pixel that was decoded, and the probability: the mean, then the clamp.
PIXELS = {
    "within": ([0.2, 0.4, 0.6], 0.4),
    "one above, one below": ([3.0, -1.0, 0.1], 0.7),  # the other way round it would be 0.37
    "mean above": ([3.0, 0.5, 0.5], 1.0),
    "mean below": ([-3.0, 0.5, 0.5], 0.0),
}


@pytest.mark.parametrize(("pixels", "expected"), PIXELS.values(), ids=PIXELS.keys())
def test_a_mask_is_the_mean_of_the_channels_then_clamped(pixels: list[float], expected: float) -> None:
    codec = Recorder(torch.tensor(pixels).reshape(1, 3, 1, 1))
    found = codec.decode_mask(torch.zeros(1, 3, 1, 1))
    assert found.shape == (1, 1, 1, 1)
    assert found.item() == pytest.approx(expected)


def test_a_mask_is_encoded_as_three_equal_channels() -> None:
    mask = torch.tensor([[[[0.0, 1.0]]], [[[0.25, 0.0]]]])
    assert torch.equal(Recorder().encode_mask(mask), torch.cat([mask] * 3, dim=1))


@pytest.mark.parametrize("channels", [2, 3])
def test_masks_of_several_classes_are_not_taken_for_colours(channels: int) -> None:
    with pytest.raises(ValueError, match=f"one channel, not {channels}"):
        Recorder().encode_mask(torch.zeros(1, channels, 8, 8))


def test_a_codec_without_an_encoder_to_train_says_so() -> None:
    with pytest.raises(BadInput, match="a compact codec has no encoder that can be trained; use a frozen"):
        Recorder().trainable_encoder()


def test_freezing() -> None:
    codec = Recorder().train()
    assert codec.freeze() is codec
    assert not codec.training
    assert not codec.weight.requires_grad


def test_a_trainable_copy_of_the_encoder_is_a_copy() -> None:
    codec = CompactCodec(4, (8, 8), (1, 1)).freeze()
    copy = codec.trainable_encoder()
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(copy(x), codec.encode(x))
    assert all(p.requires_grad for p in copy.parameters())
    with torch.no_grad():
        for weight in copy.parameters():
            weight.add_(1)
    assert not torch.equal(copy(x), codec.encode(x))
    assert not any(p.requires_grad for p in codec.parameters())


def test_without_a_posterior_there_is_no_spread() -> None:
    codec, x = Recorder(), torch.rand(1, 3, 2, 2)
    assert codec.posterior_std(x) is None
    mean, std = codec.posterior(x)
    assert torch.equal(mean, codec.encode(x))
    assert std is None
