"""The mapper in two parts is the mapper."""

from __future__ import annotations

import pytest
import torch

from napari_latentseg.networks.lmm import LatentMappingModel


@pytest.mark.parametrize("width", [16, 32])
def test_front_and_back_together_are_the_whole(width: int) -> None:
    torch.manual_seed(0)
    mapper = LatentMappingModel(4, width=width).eval()
    z = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        features = mapper.encode_features(z)
        assert features.shape == (2, 2 * width, 8, 8)
        torch.testing.assert_close(mapper.decode_features(features), mapper(z)["out"])


def test_back_learns_in_channels_last_where_nothing_before_it_does() -> None:
    """Where its input asks for no gradient, torch's GroupNorm would take the process down."""
    torch.manual_seed(0)
    mapper = LatentMappingModel(4, width=16).requires_grad_(False)
    mapper.last_block.requires_grad_(True)
    with torch.no_grad():
        features = mapper.encode_features(torch.randn(2, 4, 8, 8)).contiguous(
            memory_format=torch.channels_last
        )
    mapper.decode_features(features).square().mean().backward()
    learnt = {name for name, p in mapper.named_parameters() if p.grad is not None}
    assert learnt == {name for name, p in mapper.named_parameters() if p.requires_grad}
    assert all(name.startswith(("up.3", "heads.out")) for name in learnt)
