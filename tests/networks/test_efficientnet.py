"""EfficientNet-Lite as a source of features, and the pyramid over it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from napari_latentseg.networks.efficientnet import (
    Backbone,
    EfficientNetLite,
    PyramidConditioner,
    convert_published_weights,
)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (72, 104), (200, 192)])
def test_features_have_a_quarter_to_a_32nd_of_the_size(height: int, width: int) -> None:
    found = EfficientNetLite().eval()(torch.rand(1, 3, height, width))
    assert [f.shape[1] for f in found] == [24, 40, 112, 320]
    assert [tuple(f.shape[2:]) for f in found] == [(-(-height // n), -(-width // n)) for n in (4, 8, 16, 32)]


def test_padding_is_tensorflow_s() -> None:
    """At stride 2 an even side is padded on the right and the bottom alone."""
    stem = EfficientNetLite().stem[0]
    x = torch.rand(1, 3, 8, 8)
    by_hand = F.conv2d(F.pad(x, [0, 1, 0, 1]), stem.weight, stride=2)
    assert torch.allclose(stem(x), by_hand, atol=1e-6)


# in all, as published, and channels of the stage before the 1280-wide head and the classifier of 1000 classes
_PUBLISHED = [
    ("efficientnet-lite0", 4_652_008, 320),
    ("efficientnet-lite1", 5_416_680, 320),
    ("efficientnet-lite2", 6_092_072, 352),
]


@pytest.mark.parametrize(("variant", "parameters", "last_width"), _PUBLISHED)
def test_it_has_the_published_number_of_weights(variant: Backbone, parameters: int, last_width: int) -> None:
    head = last_width * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    network = EfficientNetLite(variant)
    assert network.channels[-1] == last_width
    assert sum(p.numel() for p in network.parameters()) == parameters - head


def test_a_wider_network_feeds_the_pyramid() -> None:
    pyramid = PyramidConditioner(8, width=32, backbone="efficientnet-lite2").eval()
    assert pyramid.backbone.channels == (24, 48, 120, 352)
    assert pyramid(torch.rand(1, 3, 64, 64)).shape == (1, 8, 8, 8)


def test_published_weights_find_their_place(
    published_names: Callable[[nn.Module], dict[str, torch.Tensor]],
) -> None:
    network = EfficientNetLite()
    found = convert_published_weights(published_names(network), network)
    assert found.keys() == network.state_dict().keys()
    assert all(torch.equal(found[k], v) for k, v in network.state_dict().items())


def test_a_shallow_network_has_the_first_stages_of_the_published_one(
    published_names: Callable[[nn.Module], dict[str, torch.Tensor]],
) -> None:
    whole, shallow = EfficientNetLite().eval(), EfficientNetLite("efficientnet-lite0-shallow").eval()
    shallow.load_state_dict(convert_published_weights(published_names(whole), shallow))
    images = torch.rand(1, 3, 64, 64)
    expected, found = whole(images), shallow(images)
    assert [tuple(f.shape[2:]) for f in found] == [(16, 16), (8, 8), (4, 4)]
    assert all(torch.equal(a, b) for a, b in zip(found, expected[:3], strict=True))
    assert sum(p.numel() for p in shallow.parameters()) < 0.3 * sum(p.numel() for p in whole.parameters())


def test_more_blocks_than_published_are_not_passed_over(
    published_names: Callable[[nn.Module], dict[str, torch.Tensor]],
) -> None:
    shallow = EfficientNetLite("efficientnet-lite0-shallow")
    deeper = published_names(EfficientNetLite("efficientnet-lite1"))
    assert not convert_published_weights(deeper, shallow).keys() <= shallow.state_dict().keys()


@pytest.mark.parametrize("backbone", ["efficientnet-lite0", "efficientnet-lite0-shallow"])
def test_the_pyramid_begins_at_nothing_and_learns(backbone: Backbone) -> None:
    pyramid = PyramidConditioner(8, width=32, backbone=backbone).train()
    images = torch.rand(2, 3, 72, 64)
    out = pyramid(images)
    assert out.shape == (2, 8, 9, 8)
    assert not out.any()
    nn.init.normal_(pyramid.out.weight)
    pyramid(images).square().mean().backward()
    without = [name for name, p in pyramid.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
