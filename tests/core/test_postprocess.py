"""Holes, small objects, the largest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from scipy import ndimage

from napari_latentseg.core.postprocess import PostProcess


def plane(text: str) -> np.ndarray:
    return np.array([[int(c) for c in row] for row in text.split()], np.uint8)


PLANES = {
    "a hole": (PostProcess(fill_holes=True), "1110 1010 1110", "1110 1110 1110"),
    "a gap at the edge is no hole": (PostProcess(fill_holes=True), "111 101 101", "111 101 101"),
    "closed at its corners": (PostProcess(fill_holes=True), "01100 10010 01100", "01100 11110 01100"),
    "what is another class stays": (PostProcess(fill_holes=True), "1111 1201 1111", "1111 1211 1111"),
    "too small": (PostProcess(smallest=3), "11001 10000 00022", "11000 10000 00000"),
    "as small as is asked for": (PostProcess(smallest=2), "11001 00000", "11000 00000"),
    "a corner joins": (PostProcess(smallest=2), "100 010 000", "100 010 000"),
    "the largest of each class": (PostProcess(keep_largest=True), "11010 00022 20022", "11000 00022 00022"),
    "a filled hole counts": (PostProcess(fill_holes=True, keep_largest=True), "111011 101011 111011",
                             "111000 111000 111000"),
    "first filled, then dropped": (PostProcess(fill_holes=True, smallest=9), "111 101 111", "111 111 111"),
    "nothing there": (PostProcess(fill_holes=True, smallest=4, keep_largest=True), "000 000", "000 000"),
    "nothing asked for": (PostProcess(), "101 010", "101 010"),
}  # fmt: skip


@pytest.mark.parametrize(("cleanup", "mask", "expected"), PLANES.values(), ids=PLANES.keys())
def test_a_plane(cleanup: PostProcess, mask: str, expected: str) -> None:
    given_mask = plane(mask)
    found = cleanup.apply(given_mask, (1, 2), "yx")
    assert np.array_equal(found, plane(expected))
    assert np.array_equal(given_mask, plane(mask))  # the one that is given stays as it is
    # a single slice of a volume is no other thing
    assert np.array_equal(cleanup.apply(given_mask[None], (1, 2), "zyx")[0], plane(expected))


def test_sizes_are_in_the_unit_of_the_image() -> None:
    mask = plane("110000 000111")
    assert np.array_equal(PostProcess(smallest=1.2).apply(mask, (1,), "yx", 0.5), plane("000000 000111"))
    assert np.array_equal(PostProcess(smallest=0.3).apply(mask, (1,), "yx", 0.1), plane("000000 000111"))


def test_a_volume_is_one_and_points_in_time_are_apart() -> None:
    mask = np.zeros((3, 4, 4), np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 3, 3] = 1
    kept = PostProcess(keep_largest=True).apply(mask, (1,), "zyx")
    assert kept.nonzero()[0].tolist() == [0, 1]
    assert np.array_equal(PostProcess(keep_largest=True).apply(mask, (1,), "tyx"), mask)
    assert not PostProcess(smallest=2).apply(mask, (1,), "tyx").any()
    both = np.stack([mask, np.roll(mask, 1, 0)])
    assert PostProcess(keep_largest=True).apply(both, (1,), "tzyx").any(axis=(2, 3)).tolist() == [
        [True, True, False], [False, True, True],
    ]  # fmt: skip


def test_a_hole_of_a_volume_is_closed_on_all_sides() -> None:
    ball = np.ones((3, 3, 3), np.uint8)
    ball[1, 1, 1] = 0
    tube = np.ones((3, 3, 3), np.uint8)
    tube[:, 1, 1] = 0
    assert PostProcess(fill_holes=True).apply(ball, (1,), "zyx").all()
    assert np.array_equal(PostProcess(fill_holes=True).apply(tube, (1,), "zyx"), tube)
    assert PostProcess(fill_holes=True).apply(tube, (1,), "tyx").all()


@given(
    mask=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=8),
                    elements=st.sampled_from([0, 0, 3, 9])),
    smallest=st.integers(0, 6), keep=st.booleans(), fill=st.booleans(),
)  # fmt: skip
def test_it_is_what_scipy_does_with_each_class_as_a_whole(mask, smallest, keep, fill):
    """In the plain way: all of the array, class after class."""
    expected = mask.copy()
    for label in (3, 9):
        if fill:
            expected[ndimage.binary_fill_holes(expected == label) & (expected == 0)] = label
        objects, count = ndimage.label(expected == label, np.ones((3,) * mask.ndim))
        sizes = {i: int((objects == i).sum()) for i in range(1, count + 1)}
        largest = max(sizes, key=lambda i: sizes[i], default=0)
        for i, size in sizes.items():
            if size < smallest or (keep and i != largest):
                expected[objects == i] = 0
    cleanup = PostProcess(smallest=smallest, keep_largest=keep, fill_holes=fill)
    found = cleanup.apply(mask, (3, 9), "zyx"[-mask.ndim :])
    assert np.array_equal(found, expected)
    again = cleanup.apply(found, (3, 9), "zyx"[-mask.ndim :])
    assert fill or np.array_equal(again, found)


@pytest.mark.parametrize("fields", [{"smallest": -1}, {"smallest": float("inf")}, {"least": 3}])
def test_what_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PostProcess.model_validate(fields)


def test_it_says_what_it_does() -> None:
    assert PostProcess(smallest=2.5, fill_holes=True, keep_largest=True).describe("mm3") == (
        "holes filled, objects below 2.5 mm3 dropped, largest object kept"
    )
    assert PostProcess().describe("mm2") == ""
