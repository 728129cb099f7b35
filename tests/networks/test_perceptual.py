"""The perceptual distance; real weights are not here, so random ones stand in for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tests.helpers.perceptual_files import (
    VGG16_CONVOLUTIONS,
    perceptual_states,
    write_perceptual_files,
)
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.networks.perceptual import PerceptualDistance


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_perceptual_files(tmp_path_factory.mktemp("vgg"))


@pytest.fixture(scope="module")
def network(files: list[Path]) -> PerceptualDistance:
    return PerceptualDistance.from_files(files)


def lpips(image: Tensor, other: Tensor) -> Tensor:
    """Equation 1 of Zhang et al. with their scaling, written once more."""
    vgg, heads = perceptual_states()
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    features = []
    for x in (image, other):
        x = (2 * x.repeat(1, 3, 1, 1) - 1 - shift) / scale
        taps = []
        for index in VGG16_CONVOLUTIONS:
            if index in (5, 10, 17, 24):
                taps.append(x)
                x = F.max_pool2d(x, 2)
            x = F.conv2d(x, vgg[f"features.{index}.weight"], vgg[f"features.{index}.bias"], padding=1).relu()
        features.append([*taps, x])
    total = torch.zeros(len(image))
    for i, (a, b) in enumerate(zip(*features, strict=True)):
        a, b = (f / (f.norm(dim=1, keepdim=True) + 1e-10) for f in (a, b))
        total += ((a - b) ** 2 * heads[f"lin{i}.model.1.weight"]).sum(1).mean((1, 2))
    return total


def test_it_is_the_distance_of_the_paper(network: PerceptualDistance) -> None:
    image, other = torch.rand(2, 2, 1, 32, 32, generator=torch.Generator().manual_seed(1)).unbind()
    assert torch.allclose(network(image, other), lpips(image, other), rtol=1e-4)
    assert torch.equal(network(image, image), torch.zeros(2))
    assert bool((network(image, other) > 0).all())


def test_its_gradient_reaches_the_image_and_not_its_weights(network: PerceptualDistance) -> None:
    image = torch.rand(1, 1, 32, 32, requires_grad=True)
    network(image, torch.rand(1, 1, 32, 32)).sum().backward()
    assert image.grad is not None
    assert float(image.grad.abs().max()) > 0
    assert not any(weight.requires_grad for weight in network.parameters())


def test_one_file_with_both_will_do(files: list[Path], network: PerceptualDistance, tmp_path: Path) -> None:
    vgg, heads = perceptual_states()
    save_file(vgg | heads, tmp_path / "both.safetensors")
    both = PerceptualDistance.from_files([tmp_path / "both.safetensors"])
    assert all(torch.equal(v, both.state_dict()[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda vgg, heads: (vgg, {}), "holds no weights of the channels; give torchvision's"),
        (lambda vgg, heads: ({"a": torch.ones(1)}, heads), "holds no convolutions of VGG16"),
        (lambda vgg, heads: (vgg | {"features.0.weight": torch.ones(3)}, heads), r"has the shape \(3,\)"),
        (
            lambda vgg, heads: (vgg | {"features.28.bias": torch.full((512,), torch.nan)}, heads),
            "not finite",
        ),
        (
            lambda vgg, heads: (vgg, heads | {"lin0.model.1.weight": torch.full((1, 64, 1, 1), -1.0)}),
            "weighs channels negatively",
        ),
        (
            lambda vgg, heads: ({k: v for k, v in vgg.items() if k != "features.5.weight"}, heads),
            "1 weights missing",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, damage, message: str) -> None:
    for name, state in zip(("a.pth", "b.pth"), damage(*perceptual_states()), strict=True):
        torch.save(state, tmp_path / name)
    with pytest.raises(BadInput, match=message) as error:
        PerceptualDistance.from_files([tmp_path / "a.pth", tmp_path / "b.pth"])
    assert "\n" not in str(error.value)


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    for name in ("none.pth", "none.safetensors"):
        with pytest.raises(BadInput, match=f"{name}: no such file"):
            PerceptualDistance.from_files([tmp_path / name])
    for name in ("bad.pth", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(BadInput, match=name):
            PerceptualDistance.from_files([tmp_path / name])
