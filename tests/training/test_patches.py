"""Patches of large slices that show the structure more often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.data.slices import Slice
from napari_latentseg.models.folder import Model
from napari_latentseg.training.patches import augmented_patches, grid_patches


@pytest.fixture
def large() -> Slice:
    """A slice with a small structure in one corner."""
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, 320, 512), np.uint8))
    mask = torch.zeros(1, 320, 512, dtype=torch.uint8)
    mask[0, 2:12, 495:505] = 1
    return Slice(image, mask, "a", case=1)


def test_focused_patches_show_a_small_structure_more_often(tiny_model: Model, large: Slice) -> None:
    tiles = Preprocess(mode="tiles", size=64, long_side=512, overlap=16)
    card = tiny_model.card.replace(preprocess=tiles)

    def shown(focus: float) -> float:
        rng = np.random.default_rng(1)
        patches = [p for _ in range(4) for p in augmented_patches([large], card, rng, focus=focus)]
        assert all(p.image.shape == (3, 64, 64) and p.mask.shape == (1, 64, 64) for p in patches)
        return float(np.mean([bool(p.mask.any()) for p in patches]))

    assert shown(0.0) < 0.2
    assert 0.2 < shown(0.5) < 0.8
    assert shown(1.0) > 0.5


def test_a_focused_round_takes_no_longer_for_larger_slices(tiny_model: Model, large: Slice) -> None:
    card = tiny_model.card.replace(preprocess=Preprocess(mode="tiles", size=32, long_side=512))
    rng = np.random.default_rng(1)
    assert len(list(augmented_patches([large], card, rng, focus=0.5))) == 128
    assert {p.case for p in augmented_patches([large] * 3, card, rng, focus=0.5)} == {1}
    assert len(list(augmented_patches([large] * 3, card, rng, focus=0.5))) == 129


def test_whole_slices_are_drawn_as_ever(tiny_model: Model, large: Slice) -> None:
    card = tiny_model.card.replace(preprocess=Preprocess(mode="whole", size=512))
    plain, focused = (
        next(augmented_patches([large], card, np.random.default_rng(1), focus=focus)) for focus in (0.0, 0.5)
    )
    assert torch.equal(plain.image, focused.image)


def test_patches_that_judge_show_the_structure_where_they_can(tiny_model: Model, large: Slice) -> None:
    card = tiny_model.card.replace(preprocess=Preprocess(mode="tiles", size=64, long_side=512, overlap=16))
    half = torch.zeros_like(large.mask)
    half[:, :, 256:] = 1
    in_half = Slice(large.image, half, "b", case=2)
    for annotated, focus, least, most in ((in_half, 0.5, 4, 7), (large, 0.5, 1, 1), (in_half, 1.0, 8, 8)):
        patches = grid_patches([annotated], card, 8, focus=focus)
        assert len(patches) == 8
        assert least <= sum(bool(p.mask.any()) for p in patches) <= most
    everywhere = Slice(large.image, torch.ones_like(half), "c", case=3)
    assert len(grid_patches([everywhere], card, 8, focus=0.5)) == 8
