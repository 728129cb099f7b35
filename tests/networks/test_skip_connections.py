"""Skip connections: what is folded comes back, and every pixel is drawn by the same weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.registry import build_method
from napari_latentseg.networks.efficientnet import PyramidConditioner
from napari_latentseg.networks.folded_masks import FoldedMasks
from napari_latentseg.networks.lmm import LatentMappingModel
from napari_latentseg.networks.skip_connections import (
    SKIP_CHANNELS,
    SkipFeatures,
    SkipHead,
    join_skips,
    split_skips,
)

SETTINGS: dict[str, Any] = {"width": 16, "levels": ["out"], "mask_latents": "folded", "latent_weight": 0}


def test_what_is_joined_can_be_split() -> None:
    x, skips = torch.rand(2, 5, 3, 4), torch.rand(2, 7, 3, 4)
    parts = split_skips(join_skips(x, skips), 7)
    assert all(torch.equal(part, whole) for part, whole in zip(parts, (x, skips), strict=True))
    assert split_skips(join_skips(x, None), 0) == (x, None)


def test_a_shift_of_the_features_shifts_the_mask() -> None:
    """By two pixels, one of the features at a half: within a latent position of eight."""
    torch.manual_seed(3)
    folds, head = SkipFeatures(16, 24), SkipHead(16, 64)
    half, quarter = torch.zeros(1, 16, 64, 64), torch.zeros(1, 24, 32, 32)
    half[..., 30, 30] = 1
    moved = half.roll((0, 1), (2, 3))
    with torch.no_grad():
        masks = [
            FoldedMasks(8).mask_pixels(head(torch.zeros(1, 16, 16, 16), folds(h, quarter)))
            for h in (half, moved)
        ]
    assert not torch.equal(masks[0], masks[1])
    # away from the edges, where the convolutions see padding
    torch.testing.assert_close(masks[0].roll(2, 3)[..., 32:96, 32:96], masks[1][..., 32:96, 32:96])


def test_each_class_has_its_own_mask() -> None:
    """The order of the channels is that of `GMS`: those of a class are consecutive."""
    head = SkipHead(16, 3 * 64)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.copy_(torch.tensor([0.0, 1.0, 2.0]).repeat_interleave(4))
        latents = head(torch.rand(2, 16, 4, 4), torch.rand(2, SKIP_CHANNELS, 4, 4))
    for k, of_class in enumerate(latents.unflatten(1, (3, 64)).unbind(1)):
        assert torch.equal(of_class, torch.full_like(of_class, float(k)))


def test_the_pyramid_gives_skips_that_the_mapper_takes() -> None:
    torch.manual_seed(4)
    pyramid = PyramidConditioner(8, has_skips=True).eval()
    plain = PyramidConditioner(8).eval()
    plain.load_state_dict({k: v for k, v in pyramid.state_dict().items() if not k.startswith("skips.")})
    latents, images = torch.rand(2, 8, 8, 8), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        condition = pyramid.condition(latents, images)
        assert condition.shape == (2, 8 + SKIP_CHANNELS, 8, 8)
        torch.testing.assert_close(condition[:, :8], latents + plain(images))
        torch.testing.assert_close(plain.condition(latents, images), latents + plain(images))
        mapper = LatentMappingModel(64, 8, 16, has_skips=True)
        assert mapper(condition)["out"].shape == (2, 64, 8, 8)
        assert not torch.equal(mapper(condition.flip(0))["out"], mapper(condition)["out"])


def test_the_last_block_has_the_layers_that_draw() -> None:
    mapper = LatentMappingModel(64, 8, 16, has_skips=True)
    taught = {id(p) for p in mapper.last_block.parameters()}
    assert {id(p) for p in mapper.heads["out"].parameters()} <= taught


@pytest.mark.parametrize(
    "change",
    [{"mask_latents": "codec", "latent_weight": 1}, {"conditioner": "trained"}, {"conditioner": "frozen"}],
)
def test_without_a_pyramid_or_folded_masks_there_are_none(change: dict[str, Any]) -> None:
    codec = build_codec("compact", channels=8, widths=(8, 8), blocks=(1, 1))
    settings = SETTINGS | {"skips": True, "conditioner": "pyramid"} | change
    with pytest.raises((BadInput, ValueError), match='needs mask_latents: "folded" and conditioner'):
        build_method("gms", codec, settings)


def test_it_is_a_variant_and_says_so() -> None:
    codec = build_codec("compact", channels=8, widths=(8, 8), blocks=(1, 1))
    method = build_method("gms", codec, SETTINGS | {"skips": True, "conditioner": "pyramid"})
    assert "skip connections" in method.deviations_from_paper
