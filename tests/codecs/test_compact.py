from __future__ import annotations

import pytest
import torch

from napari_latentseg.codecs.compact import CompactCodec


def codec(scale: float) -> CompactCodec:
    torch.manual_seed(4)
    return CompactCodec(4, (8, 8), (1, 1), scale=scale).freeze()


@pytest.mark.parametrize("scale", [1.0, 0.25, 3.0])
def test_latents_are_scaled_once_each_way(scale: float) -> None:
    plain, scaled = codec(1.0), codec(scale)
    x = torch.rand(1, 3, 16, 24)
    z = plain.encode(x)
    assert z.shape == (1, 4, 2, 3)
    torch.testing.assert_close(scaled.encode(x), scale * z)
    torch.testing.assert_close(scaled.decode(scale * z), plain.decode(z))
    assert scaled.scale == scale


@pytest.mark.parametrize("scale", [1.0, 0.25, 3.0])
def test_the_encoder_to_train_maps_what_encode_maps(scale: float) -> None:
    scaled = codec(scale)
    x = torch.rand(1, 3, 16, 24)
    copy = scaled.trainable_encoder()
    torch.testing.assert_close(copy(x), scaled.encode(x))
    torch.testing.assert_close(scaled.encode(x), scale * codec(1.0).encode(x))  # the codec's own is as it was
    assert all(p.requires_grad and p.grad_fn is None for p in copy.parameters())


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none(scale: float) -> None:
    with pytest.raises(ValueError, match="a scale is above 0"):
        codec(scale)
