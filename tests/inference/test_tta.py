"""Test-time augmentation: exact, repeatable, and inside the ranges of training."""

from __future__ import annotations

from itertools import islice, product

import numpy as np
import pytest

from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.inference.tta import TTATransform, tta_transforms

NONE = {"horizontal_flip": 0, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}


def first(count: int, ranges: AugmentationConfig, seed: int = 0, **more: int) -> list[TTATransform]:
    return list(islice(tta_transforms(ranges, seed, **more), count))


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (1, 7), (8, 8)])
def test_undoing_is_the_identity_to_the_pixel(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(0).random((3, *shape), np.float32)
    geometries = product(range(4), (False, True), (False, True), ((0, 0), (3, 5), (7, 0)), (0, 8))
    for turns, horizontal, vertical, shift, pad in geometries:
        if shift != (0, 0) and not pad:
            continue
        variation = TTATransform(turns, horizontal, vertical, shift, pad)
        varied = variation.apply(plane)
        sides = shape if turns % 2 == 0 else shape[::-1]
        assert varied.shape == (3, sides[0] + pad, sides[1] + pad)
        assert np.array_equal(variation.invert(varied), plane), variation


def test_the_variations_of_a_model_are_undone_to_the_pixel() -> None:
    """What a perfect model finds in each view is laid back where it was."""
    plane = np.random.default_rng(1).random((3, 40, 56), np.float32)
    for variation in first(40, AugmentationConfig(), seed=3):
        moved = TTATransform(
            variation.quarter_turns,
            variation.flip_horizontal,
            variation.flip_vertical,
            variation.shift,
            variation.pad,
        )
        assert np.array_equal(moved.invert(moved.apply(plane)), plane)


def test_all_flips_and_turns_are_different_views() -> None:
    plane = np.random.default_rng(2).random((1, 6, 6), np.float32)
    ranges = AugmentationConfig(jitter=0, affine=0)
    views = {tuple(v.apply(plane).ravel().tolist()) for v in first(8, ranges)}
    assert len(views) == 8 == ranges.distinct_tta_count


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_the_first_is_the_image_itself(seed: int) -> None:
    plane = np.random.default_rng(0).random((3, 4, 6), np.float32)
    (one,) = first(1, AugmentationConfig(), seed)
    assert one == TTATransform()
    assert np.array_equal(one.apply(plane), plane)


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_fewer_are_the_beginning_of_more(n: int) -> None:
    assert first(n, AugmentationConfig(), 5) == first(30, AugmentationConfig(), 5)[:n]


def test_seeds_differ_and_repeat() -> None:
    assert first(9, AugmentationConfig(), 1) == first(9, AugmentationConfig(), 1)
    assert first(9, AugmentationConfig(), 1) != first(9, AugmentationConfig(), 2)


@pytest.mark.parametrize(
    ("left_out", "still"),
    [
        ("horizontal_flip", lambda v: not v.flip_horizontal),
        ("vertical_flip", lambda v: not v.flip_vertical),
        ("quarter_turn", lambda v: v.quarter_turns == 0),
        ("jitter", lambda v: v.brightness == v.contrast == 1),
        ("affine", lambda v: v.pad == 0 and v.shift == (0, 0)),
        ("shift", lambda v: v.pad == 0 and v.shift == (0, 0)),
        ("brightness", lambda v: v.brightness == 1),
        ("contrast", lambda v: v.contrast == 1),
    ],
)
def test_what_training_left_out_does_not_happen(left_out, still) -> None:
    assert not all(still(v) for v in first(40, AugmentationConfig()))
    assert all(still(v) for v in first(40, AugmentationConfig(**{left_out: 0})))


def test_nothing_goes_farther_than_in_training() -> None:
    ranges = AugmentationConfig(brightness=0.2, contrast=0.05, shift=0.05)
    found = first(300, ranges, latent_step=8, tile_size=100)
    assert max(abs(v.brightness - 1) for v in found) <= 0.2
    assert max(abs(v.contrast - 1) for v in found) <= 0.05
    assert max(max(v.shift) for v in found) == 5  # a twentieth of 100 pixels
    assert all(v.pad in (0, 8) for v in found)
    assert max(max(v.shift) for v in first(300, ranges, latent_step=8)) == 7  # below a step of the latent
    assert all(v.pad == 0 for v in first(20, ranges, tile_size=10))  # half a pixel is no shift


def test_turns_beside_a_single_flip_make_all_eight_views() -> None:
    plane = np.random.default_rng(0).random((1, 5, 5), np.float32)
    ranges = AugmentationConfig(vertical_flip=0, jitter=0, affine=0)
    assert len({tuple(v.apply(plane).ravel().tolist()) for v in first(8, ranges)}) == 8


@pytest.mark.parametrize(
    ("changes", "distinct"),
    [
        ({}, None),
        (NONE, 1),
        (NONE | {"horizontal_flip": 0.5}, 2),
        (NONE | {"horizontal_flip": 0.5, "vertical_flip": 0.1}, 4),
        (NONE | {"quarter_turn": 0.5}, 4),
        (NONE | {"quarter_turn": 0.5, "horizontal_flip": 1}, 8),
        (NONE | {"jitter": 0.5}, None),
        (NONE | {"jitter": 0.5, "brightness": 0, "contrast": 0}, 1),
        (NONE | {"affine": 0.5, "shift": 0}, 1),
        (NONE | {"affine": 0.5}, None),
    ],
)
def test_the_number_of_different_views(changes: dict[str, float], distinct: int | None) -> None:
    ranges = AugmentationConfig(**changes)
    assert ranges.distinct_tta_count == distinct
    found = len(set(first(60, ranges)))
    assert found == distinct if distinct is not None else found > 8


def test_jitter_stays_in_range() -> None:
    plane = np.random.default_rng(0).random((3, 12, 12), np.float32)
    for variation in first(40, AugmentationConfig(brightness=0.9, contrast=0.9)):
        varied = variation.apply(plane)
        assert float(varied.min()) >= 0
        assert float(varied.max()) <= 1
