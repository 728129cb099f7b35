"""Checkpoints that the authors of GMS published."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_latentseg.errors import BadInput
from napari_latentseg.models.gms_checkpoint import KEY_MAP, read_gms_checkpoint
from napari_latentseg.networks.lmm import LatentMappingModel
from napari_latentseg.utils.weights import load_state

STATE = dict[str, Tensor]


def norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(16, width, eps=1e-6)


class Residual(nn.Module):
    """The published block, its activations inside their layers and beside them."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.act1, self.act2 = nn.PReLU(), nn.PReLU()
        self.conv1 = nn.Sequential(norm(n_in), self.act1, nn.Conv2d(n_in, n_out, 3, padding=1))
        self.conv2 = nn.Sequential(norm(n_out), self.act2, nn.Conv2d(n_out, n_out, 3, padding=1))
        same = n_in == n_out
        self.skip_connection = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip_connection(x) + self.conv2(self.conv1(x))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = norm(width)
        for name in ("q", "k", "v", "proj_out"):
            setattr(self, name, nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (getattr(self, n)(h).flatten(2) for n in "qkv")
        w = (q.transpose(1, 2) @ k * q.shape[1] ** -0.5).softmax(2)
        return x + self.proj_out((v @ w.transpose(1, 2)).reshape(x.shape))


class Block(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.resblock, self.attention = Residual(n_in, n_out), Attention(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.resblock(x))


class Published(nn.Module):
    """The structure and the names of the published network, written anew from its description."""

    def __init__(self, channels: int = 4, ch: int = 32) -> None:
        super().__init__()
        a, b, c, d = ch, 2 * ch, 4 * ch, 4 * ch
        self.input_blocks = nn.Conv2d(channels, ch, 3, padding=1)
        down = {"conv1_0": (ch, a), "conv2_0": (a, b), "conv3_0": (b, c), "conv4_0": (c, d)}
        up = {"conv3_1": (c + d, c), "conv2_2": (b + c, b), "conv1_3": (a + b, a), "conv0_4": (ch + a, ch)}
        for name, widths in (down | up).items():
            setattr(self, name, Block(*widths))
        for number, width in ((3, c), (2, b), (1, a), (0, ch)):
            head = nn.Sequential(norm(width), nn.SiLU(), nn.Conv2d(width, channels, 3, padding=1, bias=False))
            setattr(self, f"convds{number}", head)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x0 = self.input_blocks(x)
        x1 = self.conv1_0(x0)
        x2 = self.conv2_0(x1)
        x3 = self.conv3_0(x2)
        y3 = self.conv3_1(torch.cat([x3, self.conv4_0(x3)], 1))
        y2 = self.conv2_2(torch.cat([x2, y3], 1))
        y1 = self.conv1_3(torch.cat([x1, y2], 1))
        y0 = self.conv0_4(torch.cat([x0, y1], 1))
        levels = {"level3": (self.convds3, y3), "level2": (self.convds2, y2), "level1": (self.convds1, y1)}
        return {name: head(y) for name, (head, y) in (levels | {"out": (self.convds0, y0)}).items()}


@pytest.fixture(scope="module")
def published() -> Published:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = Published()
        for p in network.parameters():  # so that no two weights are alike
            nn.init.normal_(p, 0.1, 0.15)
    return network.eval()


@pytest.fixture
def saved(published: Published, tmp_path: Path) -> Callable[..., Path]:
    def save(wrap: Callable[[STATE], Any] = lambda state: {"model": state}) -> Path:
        path = tmp_path / "best_valid_dice.pth"
        torch.save(wrap(published.state_dict()), path)
        return path

    return save


def without(name: str) -> Callable[[STATE], Any]:
    return lambda state: {k: v for k, v in state.items() if k != name}


@pytest.mark.parametrize(
    ("wrap", "tolerance"),
    [
        (lambda state: {"model": state}, 1e-4),
        (lambda state: {"state_dict": state, "epoch": 7}, 1e-4),
        (lambda state: state, 1e-4),
        (lambda state: {"model": {f"module.{k}": v for k, v in state.items()}}, 1e-4),
        (lambda state: {"model": {k: v.half() for k, v in state.items()}}, 0.05),
    ],
    ids=["model", "state_dict", "bare", "several GPUs", "half"],
)
def test_it_gives_what_the_published_network_gives(
    published: Published, saved: Callable[..., Path], wrap: Callable[[STATE], Any], tolerance: float
) -> None:
    path = saved(wrap)
    mapper = LatentMappingModel(4)
    load_state(mapper, read_gms_checkpoint(path), path)
    torch.manual_seed(1)
    z = torch.randn(1, 4, 6, 5)
    with torch.no_grad():
        expected, found = published(z), mapper(z, LatentMappingModel.LEVEL_NAMES)
    for level, value in expected.items():
        assert F.mse_loss(found[level], value).sqrt() < tolerance * value.std()


def test_every_weight_has_its_place() -> None:
    assert sorted(KEY_MAP.values()) == sorted(LatentMappingModel(4).state_dict())
    assert sum(p.numel() for p in LatentMappingModel(4).parameters()) == 1_564_976


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (without("convds3.2.weight"), r"1 weights missing, 0 unknown \(first: convds3\.2\.weight\)"),
        (lambda s: s | {"output_blocks.0.weight": torch.zeros(1)}, "0 weights missing, 1 unknown"),
        (lambda s: {"model": {"w": torch.zeros(1)}}, "is not a latent mapping model of GMS: "),
        (lambda s: {}, "is not a latent mapping model of GMS: "),
        (
            lambda s: s | {"conv1_0.resblock.conv1.1.weight": torch.full((1,), 3.0)},
            "act1.weight and .* differ",
        ),
        (without("conv1_0.resblock.act1.weight"), r"act1\.weight and .* differ"),
        (lambda s: {"model": [1, 2]}, "holds something other than named tensors"),
        (lambda s: {"model": s | {"epoch": 3}}, "holds something other than named tensors"),
    ],
)
def test_what_does_not_fit_is_refused(
    saved: Callable[..., Path], wrap: Callable[[STATE], Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        read_gms_checkpoint(saved(wrap))


def test_another_width_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.pth"
    torch.save({"model": Published(ch=48).state_dict()}, path)
    with pytest.raises(BadInput, match=r"is not for this model: weight .* has the shape"):
        load_state(LatentMappingModel(4), read_gms_checkpoint(path), path)


class Evil:
    """Runs something when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_no_code_in_the_file_is_run(saved: Callable[..., Path], tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    bare = tmp_path / "bare.pth"
    bare.write_bytes(pickle.dumps({"model": Evil(mark)}, protocol=2))
    for path in (saved(lambda state: {"model": state, "more": Evil(mark)}), bare):
        with pytest.raises(BadInput, match="is not a plain PyTorch state dict"):
            read_gms_checkpoint(path)
    assert not mark.exists()
