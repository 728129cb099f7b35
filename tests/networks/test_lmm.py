from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from napari_latentseg.networks.lmm import LatentMappingModel, ResidualUnit, SpatialAttention

LEVELS = LatentMappingModel.LEVEL_NAMES


@pytest.fixture(scope="module")
def published() -> LatentMappingModel:
    torch.manual_seed(0)
    return LatentMappingModel()


@pytest.fixture(scope="module")
def small() -> LatentMappingModel:
    torch.manual_seed(0)
    return LatentMappingModel(width=16).eval()


# The counts of algorithms that were derived from the paper's code: four heads, three, and the last alone.
@pytest.mark.parametrize(
    ("heads", "expected"),
    [(LEVELS, 1_564_976), (("level2", "level1", "out"), 1_560_112), (("out",), 1_556_464)],
)
def test_parameters(published: LatentMappingModel, heads: tuple[str, ...], expected: int) -> None:
    left_out = tuple(f"heads.{name}." for name in LEVELS if name not in heads)
    assert sum(p.numel() for n, p in published.named_parameters() if not n.startswith(left_out)) == expected


def test_widths(published: LatentMappingModel) -> None:
    def widths(blocks: nn.ModuleList) -> list[tuple[int, int]]:
        return [(block[0].conv1.in_channels, block[0].conv1.out_channels) for block in blocks]

    assert widths(published.down) == [(32, 32), (32, 64), (64, 128), (128, 128)]
    assert widths(published.up) == [(256, 128), (192, 64), (96, 32), (64, 32)]


def test_heads_sit_on_the_decoder_blocks_in_order(published: LatentMappingModel) -> None:
    assert {name: head[0].num_channels for name, head in published.heads.items()} == {
        "level3": 128, "level2": 64, "level1": 32, "out": 32,
    }  # fmt: skip


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (1, 3)])
def test_every_level_keeps_the_resolution(small: LatentMappingModel, size: tuple[int, int]) -> None:
    found = small(torch.randn(2, 4, *size), LEVELS)
    assert list(found) == list(LEVELS)
    assert {level.shape for level in found.values()} == {(2, 4, *size)}


@pytest.mark.parametrize("levels", [("out",), ("out", "level2"), ("level3",)])
def test_only_what_is_asked_is_given(small: LatentMappingModel, levels: tuple[str, ...]) -> None:
    z = torch.randn(1, 4, 4, 4)
    every, found = small(z, LEVELS), small(z, levels)
    assert set(found) == set(levels)
    assert all(torch.equal(found[name], every[name]) for name in levels)


def test_a_level_that_is_not_known_is_refused(small: LatentMappingModel) -> None:
    with pytest.raises(ValueError, match="levle1"):
        small(torch.zeros(1, 4, 4, 4), ("out", "levle1"))


def test_the_prediction_gives_no_gradient_to_the_other_heads(small: LatentMappingModel) -> None:
    small.zero_grad()
    small(torch.randn(1, 4, 4, 4))["out"].sum().backward()
    reached = {name: any(p.grad is not None for p in head.parameters()) for name, head in small.heads.items()}
    assert reached == {"level3": False, "level2": False, "level1": False, "out": True}


def test_each_decoder_block_takes_the_feature_of_its_depth_and_what_came_before(
    small: LatentMappingModel,
) -> None:
    came: dict[str, torch.Tensor] = {}
    given: dict[str, torch.Tensor] = {}
    parts = {"stem": small.stem} | {
        f"{k}{i}": b for k in ("down", "up") for i, b in enumerate(getattr(small, k))
    }

    def keep(name: str, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        given[name], came[name] = args[0], out

    hooks = [
        part.register_forward_hook(lambda _, args, out, name=name: keep(name, args, out))
        for name, part in parts.items()
    ]
    with torch.no_grad():
        small(torch.randn(1, 4, 3, 3))
    for hook in hooks:
        hook.remove()
    for i, (skip, before) in enumerate(
        [("down2", "down3"), ("down1", "up0"), ("down0", "up1"), ("stem", "up2")]
    ):
        assert torch.equal(given[f"up{i}"], torch.cat([came[skip], came[before]], dim=1))


def test_image_latents_may_have_other_channels() -> None:
    net = LatentMappingModel(channels=4, in_channels=12, width=16)
    assert net(torch.zeros(1, 12, 4, 4))["out"].shape == (1, 4, 4, 4)


def test_initialisation(published: LatentMappingModel) -> None:
    """Kaiming normal by the fan out (gain of a rectifier), no bias."""
    drawn = 0
    for module in published.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            if module.weight.numel() > 8000:
                assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
                drawn += 1
            assert module.bias is None or not module.bias.any()
    assert drawn > 10


@pytest.mark.parametrize("size", [(3, 5), (4, 4)])
def test_attention_is_that_of_the_equations(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    layer = SpatialAttention(32).double()
    nn.init.normal_(layer.norm.weight)
    x = torch.randn(2, 32, *size, dtype=torch.float64)

    for image, found in zip(x, layer(x), strict=True):
        grouped = image.reshape(16, -1)  # 16 groups of 2 channels
        normal = (grouped - grouped.mean(1, keepdim=True)) / torch.sqrt(
            grouped.var(1, unbiased=False, keepdim=True) + 1e-6
        )
        h = normal.reshape(32, -1) * layer.norm.weight[:, None] + layer.norm.bias[:, None]
        q, k, v = (
            part.weight[:, :, 0, 0] @ h + part.bias[:, None] for part in (layer.query, layer.key, layer.value)
        )
        scores = torch.exp(q.T @ k / math.sqrt(32))
        attended = v @ (scores / scores.sum(1, keepdim=True)).T
        out = layer.out.weight[:, :, 0, 0] @ attended + layer.out.bias[:, None]
        torch.testing.assert_close(found, image + out.reshape(image.shape))


@pytest.mark.parametrize("n_out", [16, 32])
def test_residual_unit_normalises_then_activates_then_convolves(n_out: int) -> None:
    torch.manual_seed(2)
    unit = ResidualUnit(16, n_out)
    x = torch.randn(1, 16, 4, 4)
    seen: list[str] = []
    for name, part in unit.named_children():
        part.register_forward_hook(lambda *_, name=name: seen.append(name))
    unit(x)
    assert seen == ["norm1", "act1", "conv1", "norm2", "act2", "conv2", "skip"]
    assert [p.numel() for p in (unit.act1.weight, unit.act2.weight)] == [1, 1]
    assert (unit.norm1.num_groups, unit.norm1.eps) == (16, 1e-6)
    # without the second convolution only the skip is left: the identity, or 1x1 without a bias
    for value in (unit.conv2.weight, unit.conv2.bias):
        nn.init.zeros_(value)
    skip = x if n_out == 16 else torch.einsum("oi,bihw->bohw", unit.skip.weight[:, :, 0, 0], x)
    torch.testing.assert_close(unit(x), skip)


def test_a_width_that_16_groups_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="divisible"):
        LatentMappingModel(width=8)
