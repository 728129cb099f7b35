"""TAESD in the two files of its author, against the author's network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tests.helpers.damaged_files import cut
from torch import Tensor, nn

from napari_latentseg.codecs.loading import load_codec, weights_files
from napari_latentseg.errors import BadInput

Fault = Callable[[Path], object]


class Block(nn.Module):
    """A residual block of the published network, which is written anew here from its description."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


class Clamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


def published_encoder() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, padding=1), Block()]
    for _ in range(3):
        layers += [nn.Conv2d(64, 64, 3, padding=1, stride=2, bias=False), Block(), Block(), Block()]
    return nn.Sequential(*layers, nn.Conv2d(64, 4, 3, padding=1))


def published_decoder() -> nn.Sequential:
    layers: list[nn.Module] = [Clamp(), nn.Conv2d(4, 64, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [Block(), Block(), Block(), nn.Upsample(scale_factor=2)]
        layers.append(nn.Conv2d(64, 64, 3, padding=1, bias=False))
    return nn.Sequential(*layers, Block(), nn.Conv2d(64, 3, 3, padding=1))


@pytest.fixture(scope="module")
def published() -> dict[str, nn.Sequential]:
    torch.manual_seed(12)
    return {"encoder": published_encoder().eval(), "decoder": published_decoder().eval()}


@pytest.fixture
def folder(published: dict[str, nn.Sequential], tmp_path: Path) -> Path:
    for half, network in published.items():
        torch.save(network.state_dict(), tmp_path / f"taesd_{half}.pth")
    return tmp_path


@pytest.mark.parametrize("given", ["", "taesd_encoder.pth", "taesd_decoder.pth"])
@torch.inference_mode()
def test_it_computes_what_the_published_network_computes(
    published: dict[str, nn.Sequential], folder: Path, images: Tensor, given: str
) -> None:
    codec = load_codec(folder / given)
    assert (codec.kind, codec.channels, codec.downsampling_factor, codec.scale) == ("tiny", 4, 8, 1)
    assert sum(weight.numel() for weight in codec.parameters()) == 2_445_063
    latents = published["encoder"](images)
    torch.testing.assert_close(codec.encode(images), latents, atol=1e-5, rtol=1e-5)
    wide_latents = 50 * latents  # so that the clamp shows
    expected = published["decoder"](wide_latents)
    torch.testing.assert_close(codec.decode(wide_latents), expected, atol=1e-5, rtol=1e-5)
    names = [path.name for path in weights_files(folder / given)]
    assert names == ["taesd_encoder.pth", "taesd_decoder.pth"]


FAULTS: dict[str, tuple[Fault, str]] = {
    "no decoder": (lambda f: (f / "taesd_decoder.pth").unlink(), r"taesd_decoder\.pth: no such file"),
    "no encoder": (lambda f: (f / "taesd_encoder.pth").unlink(), r"taesd_encoder\.pth: no such file"),
    "the encoder twice": (
        lambda f: shutil.copy(f / "taesd_encoder.pth", f / "taesd_decoder.pth"),
        r"taesd_decoder\.pth: is not a decoder of TAESD: it has a weight 0\.",
    ),
    "another network": (
        lambda f: torch.save({"0.weight": torch.ones(1)}, f / "taesd_encoder.pth"),
        r"taesd_encoder\.pth: is not for this model: \d+ weights missing",
    ),
    "cut short": (lambda f: cut(f / "taesd_decoder.pth"), r"taesd_decoder\.pth: .*cut short"),
    "taef2 beside it": (
        lambda f: (f / "taef2_encoder.pth").write_bytes(b""),
        r"holds several autoencoders \(taef2, taesd\); give the file taef2_encoder or taesd_encoder",
    ),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_folder_that_is_wrong(folder: Path, fault: Fault, message: str) -> None:
    fault(folder)
    with pytest.raises(BadInput, match=message) as refused:
        load_codec(folder)
    assert refused.value.remedy


def test_a_file_says_which_of_two_is_meant(folder: Path) -> None:
    (folder / "taef2_encoder.pth").write_bytes(b"")
    assert load_codec(folder / "taesd_encoder.pth").kind == "tiny"
