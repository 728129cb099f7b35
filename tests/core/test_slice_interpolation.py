"""The slices between two masks of one structure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_latentseg.core.slice_interpolation import inside_distance, interpolate_between

ROWS, COLUMNS = np.mgrid[:60, :80]


def disc(y: float, x: float, radius: float) -> np.ndarray:
    return np.hypot(ROWS - y, COLUMNS - x) < radius


NOTHING = np.zeros((60, 80), bool)


def test_a_disc_that_grows_has_the_radius_between() -> None:
    between = interpolate_between(disc(30, 40, 6), disc(30, 40, 18), [0.25, 0.5, 0.75])
    radii = np.sqrt(between.sum((1, 2)) / np.pi)
    np.testing.assert_allclose(radii, [9, 12, 15], atol=0.4)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_the_ends_are_the_masks(fraction: float) -> None:
    masks = disc(20, 30, 9), disc(30, 45, 12) | disc(5, 5, 3)
    np.testing.assert_array_equal(interpolate_between(*masks, [fraction])[0], masks[int(fraction)])


def test_objects_that_do_not_overlap_are_moved_on_the_way() -> None:
    between = interpolate_between(disc(20, 12, 6), disc(40, 62, 6), [0.2, 0.5])
    centres = [np.argwhere(mask).mean(axis=0) for mask in between]
    np.testing.assert_allclose(centres, [[24, 22], [30, 37]], atol=0.6)
    np.testing.assert_allclose(between.sum((1, 2)), disc(20, 12, 6).sum(), rtol=0.1)


def test_what_ends_on_the_way_becomes_smaller_until_nothing_is_left() -> None:
    whole = disc(30, 40, 12)
    for masks, order in (((whole, NOTHING), 1), ((NOTHING, whole), -1)):
        sizes = interpolate_between(*masks, [0, 0.25, 0.5, 0.75, 1]).sum((1, 2))[::order]
        assert sizes[0] == whole.sum()
        assert (np.diff(sizes) < 0).all()
        assert sizes[-1] == 0
    assert not interpolate_between(NOTHING, NOTHING, [0, 0.5, 1]).any()


def test_a_hole_that_ends_on_the_way_is_closed() -> None:
    sizes = interpolate_between(~disc(30, 40, 12), ~NOTHING, [0, 0.5, 0.9, 1]).sum((1, 2))
    assert (np.diff(sizes) > 0).all()
    assert sizes[-1] == NOTHING.size


def test_distances_follow_the_spacing() -> None:
    distance = inside_distance(disc(30, 40, 10), (3.0, 0.5))
    assert distance[30, 55] == pytest.approx(-3.0)  # six columns to the disc
    assert distance[45, 40] == pytest.approx(-18.0)  # six rows to it
    assert not (distance == 0).any()


def test_a_structure_at_the_border_of_the_image_is_deep_there() -> None:
    assert inside_distance(COLUMNS < 10)[0, 0] == pytest.approx(10)


@given(
    st.integers(10, 50), st.integers(10, 70), st.integers(2, 9), st.integers(2, 9), st.floats(0, 1),
    st.sampled_from([(1.0, 1.0), (0.4, 2.5)]),
)  # fmt: skip
def test_what_both_masks_hold_lies_between(y, x, first, second, fraction, spacing) -> None:
    a, b = disc(y, x, first), disc(y, x, second)
    between = interpolate_between(a, b, [fraction], spacing)[0]
    assert between[a & b].all()
    assert not between[~(a | b)].any()


@pytest.mark.parametrize(
    ("shape", "fractions", "message"), [((60, 81), [0.5], "shapes"), ((60, 80), [1.2], "between 0 and 1")]
)
def test_what_is_not_possible_is_refused(shape, fractions, message) -> None:
    with pytest.raises(ValueError, match=message):
        interpolate_between(NOTHING, np.zeros(shape, bool), fractions)
