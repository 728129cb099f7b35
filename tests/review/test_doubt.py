"""The measures that count by element of the mask, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from tests.helpers.made import classes_of, made

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.review import rank, uncertainty_profile

GEOMETRY = Geometry.from_spacing("zyx", (1.0, 1.0, 1.0), "mm")


def result(*values: tuple[int, int, slice, slice, float], classes: int = 2, planes: int = 4):
    """Four samples, by class, plane, rows, columns and mean; two are 0.1 above that, and two below."""
    samples = np.zeros((4, classes, planes, 16, 16))
    for k, plane, rows, columns, p in values:
        samples[:, k, plane, rows, columns] = (p + np.array([0.1, -0.1, 0.1, -0.1]))[:, None, None]
    return made(samples, GEOMETRY, classes=classes_of("one", "two")[:classes])


BIG, SMALL = slice(2, 14), slice(6, 8)


def test_doubt_is_counted_by_element_of_the_mask_and_its_rim() -> None:
    found = result((0, 0, BIG, BIG, 0.8), (0, 1, SMALL, SMALL, 0.6), classes=1)
    values = uncertainty_profile(found, "doubt")
    # the rim of a square has its sides, not its corners
    assert values[0] == pytest.approx(144 * 0.2 / (144 + 4 * 12), rel=1e-4)
    assert values[1] == pytest.approx(4 * 0.4 / (4 + 4 * 2), rel=1e-4)
    spread = uncertainty_profile(found, "spread")
    assert spread[0] == pytest.approx(144 * 0.1 / (144 + 4 * 12), rel=1e-4)
    assert spread[1] == pytest.approx(4 * 0.1 / (4 + 4 * 2), rel=1e-4)


def test_doubt_around_the_mask_counts() -> None:
    sure = result((0, 0, SMALL, SMALL, 0.9), classes=1)
    torn = result((0, 0, slice(5, 9), slice(5, 9), 0.4), (0, 0, SMALL, SMALL, 0.9), classes=1)
    assert (sure.mask == torn.mask).all()
    assert uncertainty_profile(torn, "doubt")[0] > 2 * uncertainty_profile(sure, "doubt")[0]


@pytest.mark.parametrize("measure", ["doubt", "spread"])
def test_only_classes_that_the_slice_shows_count(measure: str) -> None:
    """A class that is nowhere near would halve the doubt about the other."""
    alone = result((0, 0, SMALL, SMALL, 0.6))
    both = result((0, 0, SMALL, SMALL, 0.6), (1, 0, BIG, slice(10, 14), 0.6))
    one, two = (uncertainty_profile(made_, measure)[0] for made_ in (alone, both))
    assert one == pytest.approx(uncertainty_profile(result((0, 0, SMALL, SMALL, 0.6), classes=1), measure)[0])
    second = uncertainty_profile(result((1, 0, BIG, slice(10, 14), 0.6)), measure)[0]
    assert two == pytest.approx((one + second) / 2)
    assert rank(both, measure)[0].name == ("one" if one > second else "two")


def test_what_the_mask_leaves_out_is_worth_half() -> None:
    found = result((0, 0, SMALL, SMALL, 0.4), (0, 1, SMALL, SMALL, 0.2), classes=1)
    assert not found.mask.any()
    values = uncertainty_profile(found, "doubt")
    assert values[:2] == pytest.approx([0.2, 0.1], rel=1e-4)
    assert (values[2:] == 0).all()
    (first, _) = rank(found, "doubt")
    assert (first.index, first.reason) == ((0,), "presence")
    assert uncertainty_profile(found, "spread")[0] == pytest.approx(0.05, rel=1e-4)


def test_a_large_slice_is_no_more_unsure_than_a_small_one() -> None:
    """Which is what sums over a slice say, and what made them useless for an order by 1 - Dice."""
    found = result((0, 0, BIG, BIG, 0.9), (0, 1, SMALL, SMALL, 0.6), classes=1)
    assert rank(found, "doubt")[0].index == (1,)
    assert rank(found, "expected-error")[0].index == (0,)
