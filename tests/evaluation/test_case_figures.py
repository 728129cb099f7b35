"""What one annotated image says about a class."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_latentseg.core.signed_distance import signed_distance
from napari_latentseg.evaluation.case_figures import (
    EDGE_TOLERANCE,
    case_figures,
    region_size,
    soft_dice,
)


def square(top: int, left: int, side: int, shape: tuple[int, ...] = (60, 60)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[..., top : top + side, left : left + side] = True
    return mask


def test_nothing_in_mask_and_reference_says_nothing() -> None:
    empty = np.zeros((8, 8), dtype=bool)
    assert case_figures(np.zeros((8, 8)), empty, empty, (1, 1)) is None


def test_an_empty_mask_has_no_edge_to_move() -> None:
    figures = case_figures(np.zeros((60, 60)), np.zeros((60, 60), bool), square(5, 5, 9), (1, 1))
    assert figures is not None
    assert (figures.dice, figures.size, figures.soft_dice, figures.is_present) == (0, 0, 0, True)
    assert figures.outward == figures.inward == math.inf


def test_an_empty_reference_takes_an_inner_contour_that_vanishes() -> None:
    mask = square(10, 10, 9)
    figures = case_figures(mask * 1.0, mask, np.zeros_like(mask), (1, 1))
    assert figures is not None
    assert not figures.is_present
    assert figures.outward == -math.inf
    assert figures.inward == figures.inradius == 5


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.5), (2.0, 0.25)])
def test_the_distances_keep_the_promise_and_nothing_less_does(spacing: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = square(*rng.integers(5, 25, 2), rng.integers(4, 20))
        reference = square(*rng.integers(5, 25, 2), rng.integers(4, 20))
        figures = case_figures(mask * 0.9, mask, reference, spacing)
        assert figures is not None
        distance = signed_distance(mask, spacing)
        allowed = EDGE_TOLERANCE * reference.sum()

        def outside(reach: float, distance=distance, reference=reference) -> int:
            return int((reference & (distance > reach)).sum())

        def beyond(reach: float, distance=distance, reference=reference) -> int:
            return int((~reference & (-distance > reach)).sum())

        assert outside(figures.outward) <= allowed
        if figures.outward > 0:
            assert outside(figures.outward - 1e-6) > allowed
        assert beyond(max(figures.inward, 0)) <= allowed
        if figures.inward > 0:
            assert beyond(figures.inward - 1e-6) > allowed


def test_distances_of_a_volume_are_in_its_unit() -> None:
    mask, reference = square(20, 20, 10, (9, 60, 60)), square(20, 26, 10, (9, 60, 60))
    mask[:2] = mask[7:] = reference[:2] = reference[7:] = False
    figures = case_figures(mask * 1.0, mask, reference, (3.0, 0.5, 0.5))
    assert figures is not None
    assert figures.size == pytest.approx((500 * 0.75) ** (1 / 3))
    assert figures.outward == 3.0  # six columns are outside; 25 of their 300 voxels may stay outside


def test_the_border_of_the_image_is_no_edge() -> None:
    mask = np.zeros((10, 10), dtype=bool)
    mask[:, :4] = True
    assert signed_distance(mask, (1, 1))[5, 0] == -4
    assert np.isneginf(signed_distance(np.ones((3, 3), bool), (1, 1))).all()
    assert np.isposinf(signed_distance(np.zeros((3, 3), bool), (1, 1))).all()


def test_soft_dice_of_a_stack_is_that_of_all_its_slices() -> None:
    rng = np.random.default_rng(0)
    mean = rng.random((4, 6, 5)).astype(np.float32)
    mask = mean > 0.5
    assert soft_dice(mean, mask) == pytest.approx(2 * mean[mask].sum() / (mean.sum() + mask.sum()))
    assert soft_dice(mean, np.zeros_like(mask)) == 0


def test_size_is_the_side_of_a_square_or_cube() -> None:
    assert region_size(100, (0.5, 0.5)) == pytest.approx(5)
    assert region_size(27, (1, 1, 1)) == pytest.approx(3)
