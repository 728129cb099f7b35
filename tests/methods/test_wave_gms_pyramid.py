"""Wave-GMS with a pyramid over an ImageNet network beside its wavelets."""

from __future__ import annotations

import pytest
import torch

from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.wave_gms import WaveGMS, WaveGMSConfig


def model(**settings: object) -> WaveGMS:
    """A model whose pyramid adds something, as after training."""
    torch.manual_seed(7)
    codec = build_codec("compact", channels=8, widths=(8, 8), blocks=(1, 1)).freeze()
    method = WaveGMS(codec, WaveGMSConfig(**({"width": 16, "conditioner": "pyramid"} | settings)))
    if method.pyramid is not None:
        torch.nn.init.normal_(method.pyramid.out.weight)
    return method


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(9)
    masks = (torch.rand(2, 1, 32, 32, generator=generator) > 0.7).float()
    return Batch(torch.rand(2, 3, 32, 32, generator=generator), masks)


def reached(method: WaveGMS) -> set[str]:
    return {n.partition(".")[0] for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}


@torch.inference_mode()
def test_it_begins_at_the_wavelets_and_moves_the_mean_alone(batch: Batch) -> None:
    method = model().eval()
    channels = method.codec.channels
    own = method.encoder(batch.images)
    moved = method.encode(batch.images)
    torch.testing.assert_close(moved[:, :channels], own[:, :channels] + method.pyramid(batch.images))
    assert torch.equal(moved[:, channels:], own[:, channels:])
    torch.nn.init.zeros_(method.pyramid.out.weight)  # as before training
    assert torch.equal(method.encode(batch.images), own)


def test_the_alignment_leaves_it_alone(batch: Batch) -> None:
    method = model().train()
    terms = method.loss(batch)
    terms["align"].backward(retain_graph=True)
    assert reached(method) == {"encoder"}
    terms["latent"].backward()
    assert reached(method) == {"encoder", "mapper", "pyramid"}


@torch.no_grad()
def test_the_loss_is_of_what_is_predicted(batch: Batch) -> None:
    method = model(levels=("out",), dice_weight=0).eval()
    mean = method.encode(batch.images)[:, : method.codec.channels]
    target = method.codec.encode_mask(batch.masks)
    expected = float(((method.mapper(mean)["out"] - target) ** 2).mean())
    assert float(method.loss(batch)["latent"]) == pytest.approx(expected, rel=1e-4)


def test_it_brings_its_weights_and_its_multiple() -> None:
    method, published = model(backbone="efficientnet-lite0-shallow"), model(conditioner="wavelet")
    assert method.pretrained_modules == {"efficientnet-lite0-shallow": method.pyramid.backbone}
    assert (method.size_multiple, published.size_multiple) == (32, 8)
    assert set(method.trainable_modules) == {"encoder", "mapper", "pyramid"}
    assert published.pretrained_modules == {}
