"""Whether bfloat16 may be used for a model."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest

from napari_latentseg.evaluation.bfloat16_check import Bfloat16Accumulator, Bfloat16Check

LIMITS: dict[str, Any] = {"images": 20, "samples": 5, "source": "augment", "device": "cpu", "engine": "torch"}


def changed(pixels: int, mean_change: float, shape: tuple[int, ...] = (100, 100)) -> tuple[Any, ...]:
    """A result in float32 and in bfloat16, with so many pixels of the mask changed."""
    mask = np.zeros(shape, np.uint8)
    other = mask.copy()
    other.ravel()[:pixels] = 2
    mean = np.full((2, *shape), 0.4, np.float32)
    return mask, mean, other, mean + np.float32(mean_change)


@pytest.mark.parametrize(
    ("max_mask_change", "mean_change", "is_allowed"),
    [
        (0.0, 0.0, True),
        (0.001, 0.005, True),
        (0.0010001, 0.0, False),
        (0.0, 0.0050001, False),
    ],
)
def test_both_limits_count(max_mask_change: float, mean_change: float, is_allowed: bool) -> None:
    check = Bfloat16Check(max_mask_change=max_mask_change, mean_change=mean_change, **LIMITS)
    assert check.is_allowed == is_allowed


def test_few_images_show_nothing() -> None:
    check = Bfloat16Check(max_mask_change=0.0, mean_change=0.0, **LIMITS | {"images": 4})
    assert not check.is_allowed
    assert check.replace(images=5).is_allowed


def test_the_largest_change_of_a_mask_counts_and_the_average_change_of_the_mean() -> None:
    accumulator = Bfloat16Accumulator()
    for pixels, mean_change in ((0, 0.002), (9, 0.004), (3, 0.009)):
        accumulator.add(*changed(pixels, mean_change))
    assert not accumulator.has_failed
    check = accumulator.check(5, "augment", "cpu", "torch")
    assert check is not None
    assert check.max_mask_change == 0.0009
    assert check.mean_change == pytest.approx(0.005, abs=2e-6)
    assert check.images == 3


def test_one_mask_that_changes_too_much_ends_the_check() -> None:
    accumulator = Bfloat16Accumulator()
    accumulator.add(*changed(11, 0.0))
    assert accumulator.has_failed
    check = accumulator.check(5, "augment", "cpu", "torch")
    assert check is not None
    assert not check.is_allowed


def test_an_image_that_cannot_be_segmented_in_bfloat16_ends_the_check() -> None:
    accumulator = Bfloat16Accumulator()
    accumulator.add_failure()
    assert accumulator.has_failed
    check = accumulator.check(5, "augment", "cpu", "torch")
    assert check is not None
    assert (check.max_mask_change, check.is_allowed) == (1.0, False)


def test_a_change_just_above_the_limit_is_not_rounded_to_it() -> None:
    accumulator = Bfloat16Accumulator()
    accumulator.add(*changed(1001, 0.0, (1000, 1000)))
    check = accumulator.check(5, "augment", "cpu", "torch")
    assert check is not None
    assert not check.is_allowed


def test_volumes_and_means_on_disk_are_compared() -> None:
    mask, mean, other, other_mean = changed(2, 0.003, (4, 10, 10))
    accumulator = Bfloat16Accumulator()
    accumulator.add(mask, da.from_array(mean), other, da.from_array(other_mean))
    check = accumulator.check(5, "augment", "cpu", "torch")
    assert check is not None
    assert check.max_mask_change == 0.005
    assert check.mean_change == pytest.approx(0.003, abs=2e-6)


def test_without_an_image_nothing_is_known() -> None:
    assert Bfloat16Accumulator().check(5, "augment", "cpu", "torch") is None
