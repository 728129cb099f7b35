"""The denoising U-Nets: the papers' counts, heads, classes, and the condition's channels."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention
from pydantic import ValidationError
from torch import nn

from napari_latentseg.networks.denoiser import Denoiser, DenoiserConfig, build_denoiser, zero_input_channels

SDSEG = {
    "widths": (192, 384, 384, 768, 768),
    "attention": (True, True, True, True, False),
    "resample": "resnet",
    "scale_shift": True,
    "heads": 8,
    "dropout": 0.2,
}
PLAIN = {"widths": (64, 128, 256)}
TINY = {"widths": (16, 32), "attention": (False, True), "norm_groups": 8, "layers_per_block": 1, "heads": 4}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Settings, channels in and out, classes; and the parameters that the papers or their codes have.
COUNTS: dict[str, tuple[dict[str, object], dict[str, int], int]] = {
    "SDSeg": (SDSEG, {"in_channels": 8, "out_channels": 4}, 294_973_828),
    "SDSeg, 9 classes": (SDSEG, {"in_channels": 8, "out_channels": 4, "classes": 9}, 294_980_740),
    "MedSegLatDiff": (PLAIN, {"in_channels": 8, "out_channels": 4}, 14_409_988),
    "without attention": (
        PLAIN | {"mid_attention": False},
        {"in_channels": 8, "out_channels": 4},
        14_146_308,
    ),
    "lowest level with attention": (
        PLAIN | {"attention": (False, False, True)},
        {"in_channels": 8, "out_channels": 4},
        15_728_388,
    ),
    "guided": (
        PLAIN | {"attention": (False, True, True)},
        {"in_channels": 8, "out_channels": 8, "classes": 29},
        16_069_640,
    ),
    "guided by vectors": (
        PLAIN | {"attention": (False, True, True)},
        {"in_channels": 8, "out_channels": 8, "class_vector": 512},
        16_062_216 + 512 * 256 + 256,
    ),
}


@pytest.mark.parametrize(("settings", "arguments", "expected"), COUNTS.values(), ids=COUNTS.keys())
def test_parameters_at_full_size(
    settings: dict[str, object], arguments: dict[str, int], expected: int
) -> None:
    with torch.device("meta"):
        unet = build_denoiser(DenoiserConfig(**settings), **arguments)
    assert count(unet) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [(SDSEG, {8}), (SDSEG | {"heads": None, "head_width": 48}, {4, 8, 16}), (PLAIN, {8})],
    ids=["SDSeg", "by width", "plain"],
)
def test_heads(settings: dict[str, object], expected: set[int]) -> None:
    with torch.device("meta"):
        unet = build_denoiser(DenoiserConfig(**settings), 8, 4)
    attentions = [m for m in unet.modules() if isinstance(m, Attention)]
    assert {m.heads for m in attentions} == expected
    assert all(m.group_norm is not None for m in attentions)
    assert all(m.scale == (m.inner_dim // m.heads) ** -0.5 for m in attentions)


@pytest.mark.parametrize("resample", ["conv", "resnet"])
@pytest.mark.parametrize("scale_shift", [False, True])
def test_what_comes_out_has_the_shape_of_what_went_in(resample: str, scale_shift: bool) -> None:
    config = DenoiserConfig(**TINY, resample=resample, scale_shift=scale_shift)
    denoiser = Denoiser(build_denoiser(config, 5, 4))
    z_t, z_c = torch.randn(2, 3, 8, 12), torch.randn(2, 2, 8, 12)
    assert config.size_multiple == 2
    assert denoiser(z_t, torch.tensor([1, 900]), z_c).shape == (2, 4, 8, 12)


def test_time_and_condition_count() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(build_denoiser(DenoiserConfig(**TINY), 4, 2)).eval()
    z_t, z_c, t = torch.randn(1, 2, 8, 8), torch.randn(1, 2, 8, 8), torch.tensor([10])
    found = denoiser(z_t, t, z_c)
    assert not torch.allclose(found, denoiser(z_t, t + 800, z_c), atol=1e-4)
    assert not torch.allclose(found, denoiser(z_t, t, z_c + 1), atol=1e-4)
    assert not torch.allclose(found, denoiser(z_t + 1, t, z_c), atol=1e-4)


def test_silenced_inputs_have_no_effect_until_they_are_taught() -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(build_denoiser(DenoiserConfig(**TINY), 4, 2)).eval()
    zero_input_channels(denoiser.unet, 2)
    z_t, z_c, t = torch.randn(2, 2, 8, 8), torch.randn(2, 2, 8, 8), torch.tensor([5, 500])
    weight = denoiser.unet.conv_in.weight
    assert not weight[:, 2:].any()
    assert weight[:, :2].all()
    assert torch.equal(denoiser(z_t, t, z_c), denoiser(z_t, t, 0 * z_c))
    denoiser(z_t, t, z_c).square().sum().backward()
    assert weight.grad[:, 2:].any()


@pytest.mark.parametrize("kind", ["numbers", "vectors"])
def test_classes_change_the_prediction(kind: str) -> None:
    torch.manual_seed(0)
    settings = {"classes": 3} if kind == "numbers" else {"class_vector": 5}
    denoiser = Denoiser(build_denoiser(DenoiserConfig(**TINY), 4, 2, **settings)).eval()
    z_t, z_c, t = torch.randn(2, 2, 8, 8), torch.randn(2, 2, 8, 8), torch.tensor([5, 5])
    one, other = (
        (torch.tensor([0, 1]), torch.tensor([0, 2]))
        if kind == "numbers"
        else (torch.eye(5)[:2], torch.eye(5)[[0, 2]])
    )
    found, changed = denoiser(z_t, t, z_c, one), denoiser(z_t, t, z_c, other)
    assert torch.allclose(found[0], changed[0], atol=1e-5)
    assert not torch.allclose(found[1], changed[1], atol=1e-4)


def test_a_class_is_a_number_or_a_vector() -> None:
    with pytest.raises(ValueError, match="only one of them"):
        build_denoiser(DenoiserConfig(**TINY), 4, 2, classes=3, class_vector=5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": (True,)}, "there are 2 levels, and 1 entries"),
        ({"widths": (16, 36)}, "36 is not a multiple of the 8 norm_groups"),
        ({"widths": ()}, "widths"),
        ({"heads": 5}, "heads: 5 does not divide the width 32"),
        ({"heads": None, "head_width": 24}, "head_width: 24 does not divide the width 32"),
        ({"dropout": 1.0}, "dropout"),
        ({"resample": "pool"}, "resample"),
        ({"depth": 3}, "depth"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DenoiserConfig(**(TINY | changes))


def test_no_attention_is_the_default_at_every_level() -> None:
    assert DenoiserConfig(**PLAIN).attention == (False, False, False)
    assert DenoiserConfig(**PLAIN) == DenoiserConfig(**PLAIN, attention=(False, False, False))
