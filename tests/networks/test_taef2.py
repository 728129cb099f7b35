from __future__ import annotations

import pytest
import torch

from napari_latentseg.networks.taef2 import build_taef2_decoder, build_taef2_encoder

POOL = 64 * 256 + 2 * 256 + 256 * 64


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_it_is_the_tiny_autoencoder_of_diffusers_with_three_pools_more(half: str) -> None:
    diffusers = pytest.importorskip("diffusers")
    with torch.device("meta"):
        tiny = getattr(diffusers.AutoencoderTiny(latent_channels=32), half)
        ours = {"encoder": build_taef2_encoder, "decoder": build_taef2_decoder}[half]()
    count = sum(p.numel() for p in ours.parameters())
    assert count == sum(p.numel() for p in tiny.parameters()) + 3 * POOL


def pools(network: torch.nn.Sequential) -> list[int]:
    """Which of the blocks have one."""
    blocks = [m for m in network if hasattr(m, "pool")]
    return [i for i, block in enumerate(blocks) if block.pool is not None]


def test_the_pools_are_at_the_lowest_resolution() -> None:
    with torch.device("meta"):
        assert pools(build_taef2_encoder()) == [7, 8, 9]
        assert pools(build_taef2_decoder()) == [0, 1, 2]


def test_without_its_pools_it_is_the_encoder_of_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    ours = build_taef2_encoder().eval()
    tiny = diffusers.AutoencoderTiny(latent_channels=32).encoder.eval()
    own = {k: v for k, v in ours.state_dict().items() if ".pool." not in k}
    tiny.layers.load_state_dict(dict(zip(tiny.layers.state_dict(), own.values(), strict=True)))
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(ours(x), tiny(2 * x - 1), atol=1e-4)
        for block in ours:
            if getattr(block, "pool", None) is not None:
                block.pool[3].weight.zero_()
        torch.testing.assert_close(ours(x), tiny(2 * x - 1))
