"""The U-Net of latent diffusion in ours: names, heads, shapes, and what it computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.ldm_reference import ReferenceUNet, fill
from torch import Tensor, nn

from napari_latentseg.errors import BadInput
from napari_latentseg.methods.sdseg import SDSegConfig
from napari_latentseg.networks.denoiser import (
    DenoiserConfig,
    build_denoiser,
    zero_input_channels,
    zero_last_layers,
)
from napari_latentseg.networks.ldm_unet import ldm_unet_state
from napari_latentseg.utils.weights import load_state

PATH = Path("model.ckpt")
PREFIX = "model.diffusion_model."
SMALL = DenoiserConfig(
    widths=(32, 64, 64),
    attention=(True, True, False),
    layers_per_block=2,
    resample="resnet",
    scale_shift=True,
    heads=4,
)
# The first position of each channel, and the last, of what the reference computes of `inputs`.
STORED = torch.tensor([0.4158, 0.176199, 0.486386, 0.302469, 0.037226, -0.137673, 0.087427, -0.087472])


def reference(config: DenoiserConfig) -> ReferenceUNet:
    network = ReferenceUNet(4, config.widths, config.attention, config.layers_per_block, config.heads or 0)
    fill(network)
    return network.eval()


def inputs(size: int) -> tuple[Tensor, Tensor]:
    values = torch.arange(2 * 4 * size * size, dtype=torch.float64)
    return (values * 0.7548776662466927).frac().mul(4).sub(2).float().reshape(2, 4, size, size), torch.tensor(
        [999, 3]
    )


def converted(config: DenoiserConfig, published: nn.Module) -> nn.Module:
    unet = build_denoiser(config, 8, 4)
    state = {f"{PREFIX}{name}": value for name, value in published.state_dict().items()}
    load_state(unet, ldm_unet_state(state, unet, config, PATH), PATH)
    return unet.eval()


@torch.inference_mode()
def test_it_computes_what_the_published_network_computes() -> None:
    published = reference(SMALL)
    z_t, t = inputs(16)
    expected = published(z_t, t)
    z_c = torch.randn(z_t.shape, generator=torch.Generator().manual_seed(1))
    computed = converted(SMALL, published)(torch.cat([z_t, z_c], 1), t).sample
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.05
    ends = torch.cat([expected[0, :, 0, 0], expected[1, :, -1, -1]])
    torch.testing.assert_close(ends, STORED, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@torch.inference_mode()
def test_the_unet_of_lsun_churches_at_full_size() -> None:
    config = SDSegConfig().denoiser
    published = reference(config)
    z_t, t = inputs(16)
    computed = converted(config, published)(torch.cat([z_t, z_t], 1), t).sample
    torch.testing.assert_close(computed, published(z_t, t), atol=1e-5, rtol=1e-4)


def test_query_key_and_value_are_taken_head_by_head() -> None:
    published = reference(SMALL)
    qkv = published.input_blocks[1][1].qkv.weight[..., 0]
    width, head_width = 32, 8
    attention = converted(SMALL, published).down_blocks[0].attentions[0]
    for head in range(4):
        rows = slice(head * head_width, (head + 1) * head_width)
        start = head * 3 * head_width
        assert torch.equal(attention.to_q.weight[rows], qkv[start : start + head_width])
        assert torch.equal(attention.to_v.weight[rows], qkv[start + 2 * head_width : start + 3 * head_width])
    assert len(qkv) == 3 * width


@torch.inference_mode()
def test_channels_that_the_published_network_lacks_have_no_effect() -> None:
    unet = converted(SMALL, reference(SMALL))
    assert torch.equal(unet.conv_in.weight[:, 4:], torch.zeros(32, 4, 3, 3))


def test_the_unet_alone_is_taken_too() -> None:
    published = reference(SMALL)
    unet = build_denoiser(SMALL, 8, 4)
    with_prefix = {f"{PREFIX}{name}": value for name, value in published.state_dict().items()}
    others = {"first_stage_model.encoder.conv_in.weight": torch.zeros(1), "betas": torch.zeros(3)}
    alone = ldm_unet_state(published.state_dict(), unet, SMALL, PATH)
    within = ldm_unet_state(with_prefix | others, unet, SMALL, PATH)
    assert alone.keys() == within.keys() == unet.state_dict().keys()
    assert all(torch.equal(alone[name], within[name]) for name in alone)


State = dict[str, Tensor]
FAULTS: dict[str, tuple[Callable[[State], Any], str]] = {
    "nothing of it": (lambda s: s.clear(), r"holds no U-Net: no weight's name starts with model\.diff"),
    "a weight missing": (
        lambda s: s.pop("middle_block.1.qkv.bias"),
        r"has no weight middle_block\.1\.qkv\.bias",
    ),
    "a weight too many": (
        lambda s: s.update({"input_blocks.1.1.transformer.weight": torch.zeros(1)}),
        r"1 weights are unknown \(first: input_blocks\.1\.1\.transformer\.weight\)",
    ),
    "another width": (
        lambda s: s.update({"out.2.weight": torch.zeros(3, 32, 3, 3)}),
        r"weight out\.2\.weight has the shape \(3, 32, 3, 3\), not \(4, 32, 3, 3\)",
    ),
    "a claim": (
        lambda s: s.update({"middle_block.1.qkv.weight": torch.zeros(1).expand(10**12)}),
        r"weight middle_block\.1\.qkv\.weight has the shape \(1000000000000,\)",
    ),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_another_checkpoint_is_refused(fault: Callable[[State], Any], message: str) -> None:
    state = reference(SMALL).state_dict()
    fault(state)
    with pytest.raises(BadInput, match=rf"model\.ckpt: .*{message}") as refused:
        ldm_unet_state(state, build_denoiser(SMALL, 8, 4), SMALL, PATH)
    assert refused.value.remedy


def test_a_unet_that_resamples_otherwise_has_no_published_weights() -> None:
    config = SMALL.replace(resample="conv")
    with pytest.raises(BadInput, match=r"pretrained_unet: is for a U-Net that resamples"):
        ldm_unet_state(reference(SMALL).state_dict(), build_denoiser(config, 8, 4), config, PATH)


@torch.inference_mode()
def test_zeroed_last_layers_are_those_of_the_published_network() -> None:
    """The reference begins with zeros where the published code does."""
    published = ReferenceUNet(4, SMALL.widths, SMALL.attention, SMALL.layers_per_block, 4)
    unet = build_denoiser(SMALL, 8, 4)
    zero_last_layers(unet)
    zero_input_channels(unet, 4)
    taken = ldm_unet_state(published.state_dict(), unet, SMALL, PATH)

    def zeros(state: State) -> set[str]:
        return {name for name, weight in state.items() if name.endswith("weight") and not weight.any()}

    assert zeros(taken) == zeros(unet.state_dict())
    assert len(zeros(taken)) > 20
    z_t, t = inputs(16)
    assert not unet(torch.cat([z_t, z_t], 1), t).sample.any()
