from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_latentseg.networks.compact import CompactEncoder
from napari_latentseg.networks.context import ContextConditioner


def conditioner() -> ContextConditioner:
    torch.manual_seed(0)
    return ContextConditioner(CompactEncoder(4, (8, 8), (1, 1)), 4, widths=(16, 32, 48), dropout=0.5)


@pytest.mark.parametrize("size", [(64, 64), (8, 24), (40, 56)])
def test_it_begins_as_the_encoder_that_it_is_given(size: tuple[int, int]) -> None:
    """At every size, those that a pyramid does not halve evenly among them."""
    net = conditioner().train()
    x = torch.rand(2, 3, *size)
    assert net(x).shape == (2, 4, size[0] // 8, size[1] // 8)
    assert torch.equal(net(x), net.encoder(x))


def learnt() -> ContextConditioner:
    net = conditioner()
    nn.init.normal_(net.out.weight, std=0.1)
    return net


def test_every_part_can_learn() -> None:
    net = learnt().eval()
    net(torch.rand(1, 3, 128, 128)).square().sum().backward()
    unreached = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert set(unreached) <= {"coarse.2.key.bias"}  # which a softmax does not see


def test_a_place_is_judged_by_the_whole_image() -> None:
    net = learnt().eval()
    image = torch.rand(1, 3, 128, 128)
    other = image.clone()
    other[..., :16, :16] = 1 - other[..., :16, :16]
    far = (..., slice(14, 16), slice(14, 16))
    with torch.inference_mode():
        assert torch.equal(net.encoder(image)[far], net.encoder(other)[far])
        assert not torch.allclose(net(image)[far], net(other)[far], atol=1e-6)


def test_maps_are_left_out_in_training_alone() -> None:
    net, x = learnt(), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(net.train()(x), net(x))
        assert torch.equal(net.eval()(x), net(x))
