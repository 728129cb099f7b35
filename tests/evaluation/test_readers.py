"""Samples and readers as sets of masks."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import iou
from napari_latentseg.evaluation.readers import (
    ReaderAgreement,
    generalized_energy_distance,
    hungarian_iou,
    mean_agreement,
    pairwise_iou,
    reader_agreement,
)

Masks = NDArray[np.bool_]


def random_masks(count: int, seed: int, *, empty: int = 0, shape: tuple[int, ...] = (6, 7)) -> Masks:
    masks = np.random.default_rng(seed).random((count, *shape)) < 0.3
    masks[:empty] = False
    return masks


def distance(a: Masks, b: Masks) -> float:
    union = np.logical_or(a, b).sum()
    return 0.0 if union == 0 else 1 - np.logical_and(a, b).sum() / union


def mean_distance(first: Masks, second: Masks) -> float:
    return float(np.mean([distance(a, b) for a, b in product(first, second)]))


SETS = [
    (random_masks(5, 1), random_masks(4, 2)),
    (random_masks(4, 3, empty=2), random_masks(4, 4, empty=1)),
    (random_masks(3, 5, empty=3), random_masks(2, 6, empty=2)),
    (random_masks(1, 7), random_masks(3, 8)),
    (random_masks(4, 9, shape=(3, 4, 5)), random_masks(2, 10, shape=(3, 4, 5))),
]


@pytest.mark.parametrize(("samples", "readers"), SETS)
def test_the_energy_distance_equals_the_sum_over_all_pairs(samples: Masks, readers: Masks) -> None:
    between, within_samples, within_readers = (
        mean_distance(samples, readers),
        mean_distance(samples, samples),
        mean_distance(readers, readers),
    )
    agreement = reader_agreement(samples, readers)
    expected = 2 * between - within_samples - within_readers
    assert agreement.ged2 == pytest.approx(expected, abs=1e-6)
    assert generalized_energy_distance(samples, readers) == agreement.ged2
    assert agreement.sample_reader_distance == pytest.approx(between, abs=1e-6)
    assert agreement.sample_distance == pytest.approx(within_samples, abs=1e-6)
    assert agreement.reader_distance == pytest.approx(within_readers, abs=1e-6)


@pytest.mark.parametrize(
    ("samples", "readers"),
    [
        (random_masks(4, 1), random_masks(4, 2)),
        (random_masks(4, 3, empty=2), random_masks(2, 4, empty=1)),
        (random_masks(2, 5), random_masks(3, 6)),
        (random_masks(1, 7), random_masks(5, 8, empty=1)),
    ],
)
def test_the_matching_is_the_best_of_all_matchings(samples: Masks, readers: Masks) -> None:
    copies = np.lcm(len(samples), len(readers))
    repeated_samples = np.repeat(samples, copies // len(samples), axis=0)
    repeated_readers = np.repeat(readers, copies // len(readers), axis=0)
    best = max(
        np.mean([1 - distance(a, repeated_readers[i]) for a, i in zip(repeated_samples, order, strict=True)])
        for order in permutations(range(copies))
    )
    assert hungarian_iou(samples, readers) == pytest.approx(best, abs=1e-6)
    assert reader_agreement(samples, readers).matched_iou == pytest.approx(best, abs=1e-6)


def test_the_iou_of_pairs_is_that_of_the_metrics() -> None:
    first, second = random_masks(5, 1, empty=1), random_masks(3, 2, empty=1)
    expected = [[iou(a, b) for b in second] for a in first]
    np.testing.assert_allclose(pairwise_iou(first, second), expected, atol=1e-12)


def test_equal_sets_in_any_order_have_no_distance() -> None:
    masks = random_masks(4, 1, empty=1)
    assert generalized_energy_distance(masks[::-1], masks) == pytest.approx(0, abs=1e-12)
    assert hungarian_iou(masks[::-1], masks) == pytest.approx(1, abs=1e-12)


def test_samples_that_agree_are_told_from_readers_that_do_not() -> None:
    readers = np.zeros((2, 1, 8), bool)
    readers[0, :, :4] = readers[1, :, 4:] = True
    one_side, both_sides = readers[[0, 0]], readers[[1, 0]]
    assert generalized_energy_distance(one_side, readers) == 0.5
    assert generalized_energy_distance(both_sides, readers) == 0
    assert hungarian_iou(one_side, readers) == 0.5


def test_figures_are_averaged_over_images() -> None:
    first, second = (reader_agreement(*sets) for sets in SETS[:2])
    mean = mean_agreement([first, second])
    for name in ReaderAgreement.model_fields:
        assert getattr(mean, name) == pytest.approx((getattr(first, name) + getattr(second, name)) / 2)
    with pytest.raises(BadInput, match="no image to summarise"):
        mean_agreement([])


@pytest.mark.parametrize(
    ("samples", "readers", "message"),
    [
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 4), bool), "values of type float64"),
        (np.zeros((0, 4, 4), bool), np.zeros((2, 4, 4), bool), "are empty"),
        (np.zeros((2, 4, 4), bool), np.zeros((2, 4, 5), bool), "have shapes"),
        (np.zeros((4097, 1), bool), np.zeros((1, 1), bool), "4097 cannot be matched with 1 readers"),
    ],
)
def test_what_is_no_set_of_masks_is_refused(samples: Masks, readers: Masks, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        hungarian_iou(samples, readers)
