from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from napari_latentseg.networks.lmm import LatentMappingModel
from napari_latentseg.networks.wavelet import FlatUNet, WaveBlock, WaveEncoder, haar, haar_pyramid


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- wavelets ------------------------------------------------------------------------------------------


def test_the_transform_is_orthonormal() -> None:
    """Its matrix on 4 x 4 pixels, written out from the unit images, times its transpose is the identity."""
    units = torch.eye(16, dtype=torch.float64).reshape(16, 1, 4, 4)
    matrix = haar(units).flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(16, dtype=torch.float64))


def test_the_energy_of_three_levels_is_that_of_the_image() -> None:
    images = drawn(2, 3, 32, 48).double()
    pyramid = haar_pyramid(images)
    energy = sum((4.0**level * bands[:, 3:] ** 2).sum() for level, bands in enumerate(pyramid, start=1))
    energy = energy + (4.0**3 * pyramid[-1][:, :3] ** 2).sum()
    torch.testing.assert_close(energy, (images**2).sum())


@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_low_band_is_the_local_mean(level: int) -> None:
    images = drawn(2, 3, 32, 48)
    low = haar_pyramid(images)[level - 1][:, :3]
    torch.testing.assert_close(low, F.avg_pool2d(images, 2**level))


def test_every_level_has_twelve_bands_in_their_range() -> None:
    noise = (drawn(1, 3, 64, 64) > 0.5).float()  # black and white, so that the limits are met
    for level, bands in enumerate(haar_pyramid(noise), start=1):
        assert bands.shape == (1, 12, 64 >> level, 64 >> level)
        assert bands[:, :3].min() >= 0
        assert bands[:, :3].max() <= 1
        assert bands[:, 3:].abs().max() <= 0.5
    assert haar_pyramid(noise)[0][:, 3:].abs().max() == 0.5


def test_each_band_answers_to_an_edge_of_its_own_direction() -> None:
    columns = torch.tensor([1.0, 0.0]).repeat(4).expand(1, 3, 8, 8)
    patterns = {1: columns, 2: columns.mT, 3: (columns - columns.mT).abs()}
    for band, pattern in patterns.items():
        found = haar_pyramid(pattern)[0].unflatten(1, (4, 3)).abs().sum((0, 2, 3, 4))
        assert [b for b in (1, 2, 3) if found[b] > 0] == [band]


# --- networks ------------------------------------------------------------------------------------------


def test_parameters_are_the_papers() -> None:
    encoder = WaveEncoder()
    assert [count(e) for e in encoder.extractors] == [258_204] * 3
    assert count(encoder.aggregator) == 261_080
    assert count(encoder) == 1_035_692
    assert count(encoder) + count(LatentMappingModel()) == 2_600_668


def test_the_larger_u_net_has_the_size_that_its_paper_prints() -> None:
    """LiteVAE-B: 6.75 million in three extractors and the aggregator, by the same derivation."""
    sizes = [count(FlatUNet(12, 12, 32, (1, 2, 3)))] * 3 + [count(FlatUNet(36, 24, 32, (1, 2, 3)))]
    assert sum(sizes) == pytest.approx(6.75e6, rel=2e-3)


def test_widths() -> None:
    net = FlatUNet(12, 12)
    down, up = ([(b.conv1.in_channels, b.conv1.out_channels) for b in p] for p in (net.down, net.up))
    assert down == [(16, 16), (16, 16), (16, 32), (32, 32), (32, 32), (32, 32)]
    assert up == [(64, 32), (64, 32), (64, 32), (64, 32), (48, 16), (32, 16)]
    assert len(net.middle) == 2


@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
def test_the_u_net_keeps_the_resolution(size: tuple[int, int]) -> None:
    assert FlatUNet(12, 8)(torch.zeros(2, 12, *size)).shape == (2, 8, *size)


def test_each_block_on_the_way_back_takes_what_came_before_and_the_feature_it_mirrors() -> None:
    net = FlatUNet(12, 12)
    came: dict[str, torch.Tensor] = {}
    given: dict[str, torch.Tensor] = {}

    def keep(name: str, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        given[name], came[name] = args[0], out

    parts = {"middle": net.middle} | {
        f"{k}{i}": b for k in ("down", "up") for i, b in enumerate(getattr(net, k))
    }
    for name, part in parts.items():
        part.register_forward_hook(lambda _, args, out, name=name: keep(name, args, out))
    with torch.no_grad():
        net(drawn(1, 12, 6, 6))
    for i in range(6):
        before = "middle" if i == 0 else f"up{i - 1}"
        assert torch.equal(given[f"up{i}"], torch.cat([came[before], came[f"down{5 - i}"]], dim=1))


@pytest.mark.parametrize("n_out", [16, 32])
def test_a_block_normalises_then_activates_then_convolves(n_out: int) -> None:
    torch.manual_seed(2)
    block = WaveBlock(16, n_out)
    x = torch.randn(1, 16, 6, 6)

    def stage(x: torch.Tensor, norm: nn.GroupNorm, conv: nn.Conv2d) -> torch.Tensor:
        grouped = x.reshape(8, -1)
        normal = (grouped - grouped.mean(1, keepdim=True)) / torch.sqrt(
            grouped.var(1, unbiased=False, keepdim=True) + norm.eps
        )
        y = normal.reshape(x.shape)
        return F.conv2d(y * torch.sigmoid(y), conv.weight, conv.bias, padding=1)

    change = stage(stage(x, block.norm1, block.conv1), block.norm2, block.conv2)
    skip = x
    if n_out != 16:
        skip = torch.einsum("oi,bihw->bohw", block.skip.weight[:, :, 0, 0], x)
        skip = skip + block.skip.bias[:, None, None]
    torch.testing.assert_close(block(x), skip + change)


@pytest.mark.parametrize("channels", [4, 48])
def test_the_encoder_gives_two_moments_at_an_eighth(channels: int) -> None:
    found = WaveEncoder(channels)(drawn(2, 3, 32, 48))
    assert found.shape == (2, 2 * channels, 32 // WaveEncoder.FACTOR, 48 // WaveEncoder.FACTOR)


def test_the_levels_are_averaged_down_and_put_side_by_side() -> None:
    """With extractors that pass everything, the aggregator sees the wavelets at an eighth of the size."""
    encoder = WaveEncoder()
    encoder.extractors = nn.ModuleList(nn.Identity() for _ in range(3))
    seen: list[torch.Tensor] = []
    encoder.aggregator.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    images = drawn(1, 3, 32, 32)
    encoder(images)
    one, two, three = haar_pyramid(images)
    expected = torch.cat([F.avg_pool2d(one, 4), F.avg_pool2d(two, 2), three], dim=1)
    torch.testing.assert_close(seen[0], expected)
    assert seen[0].shape[1] == 36


def test_the_extractors_share_no_weights() -> None:
    encoder = WaveEncoder()
    stems = [e.stem.weight for e in encoder.extractors]
    assert len({s.data_ptr() for s in stems}) == 3
    assert math.prod(stems[0].shape) == 16 * 12 * 9
