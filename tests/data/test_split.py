"""Which images are kept apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_latentseg.data.split import (
    groups_by_block,
    groups_by_dhash,
    groups_by_hash,
    groups_by_name,
    hold_out,
)
from napari_latentseg.errors import BadInput


def texture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (None, ["Image_01L", "Image_01R", "Image_02L", "other"]),
        (r"^(Image_\d+)[LR]", ["Image_01", "Image_01", "Image_02", "other"]),
        (r"(Image)?_?", ["Image", "Image", "Image", "other"]),  # a group that caught nothing is no patient
    ],
)
def test_the_patient_is_in_the_name(pattern: str | None, expected: list[str]) -> None:
    assert groups_by_name(["Image_01L", "Image_01R", "Image_02L", "other"], pattern) == expected


def test_frames_that_follow_each_other_by_number_stay_together() -> None:
    names = ["10", "2", "1", "9", "11", "3"]
    groups = groups_by_block(names, 2)
    assert groups[2] == groups[1] != groups[5] == groups[3] != groups[0] == groups[4]
    assert len(set(groups)) == 3


def test_blocks_count_numbers_anywhere_in_a_name_and_the_last_may_be_short() -> None:
    names = ["b2_frame1", "b10_frame1", "b2_frame10", "b2_frame9", "a"]
    found = dict(zip(names, groups_by_block(names, 3), strict=True))
    assert found["a"] == found["b2_frame1"] == found["b2_frame9"]
    assert found["b2_frame10"] == found["b10_frame1"] != found["a"]


@settings(max_examples=100, deadline=None)
@given(
    groups=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=40).filter(lambda g: len(set(g)) > 1),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_whole_groups_are_kept_apart_and_both_sides_hold_some(
    groups: list[str], fraction: float, seed: int
) -> None:
    apart = hold_out(groups, fraction, seed)
    out = {g for g, a in zip(groups, apart, strict=True) if a}
    inside = {g for g, a in zip(groups, apart, strict=True) if not a}
    assert out
    assert inside
    assert not out & inside
    assert np.array_equal(apart, hold_out(groups, fraction, seed))
    # no more groups than it takes to reach the fraction
    largest = max(groups.count(g) for g in out)
    assert apart.sum() < fraction * len(groups) + largest


def test_the_split_is_near_the_fraction_and_goes_by_the_seed() -> None:
    names = [str(i) for i in range(200)]
    one, other = hold_out(names, 0.15, 0), hold_out(names, 0.15, 1)
    assert one.sum() == other.sum() == 30
    assert not np.array_equal(one, other)


def test_the_split_does_not_go_by_the_order() -> None:
    names = [str(i) for i in range(50)]
    apart = dict(zip(names, hold_out(names, 0.2, 3), strict=True))
    turned = names[::-1]
    assert apart == dict(zip(turned, hold_out(turned, 0.2, 3), strict=True))


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "a", "a"]])
def test_one_patient_cannot_be_split(groups: list[str]) -> None:
    with pytest.raises(BadInput, match="fewer than two patients or images"):
        hold_out(groups, 0.1, 0)


def test_near_duplicates_become_one_group() -> None:
    one, two, three = (texture(i) for i in range(3))
    brighter = np.clip(one.astype(int) + 10, 0, 255).astype(np.uint8)
    groups = groups_by_dhash([one, two, brighter, three], ["a", "b", "c", "d"])
    assert groups[0] == groups[2]
    assert len(set(groups)) == 3
    assert (
        groups_by_dhash([one, two, brighter, three], list("abcd"), max_hamming_distance=256).count("a") == 4
    )


def test_likeness_is_passed_on_through_whole_groups() -> None:
    """Of a patient with two images, one like another patient's: all three stay together."""
    one, two = texture(0), texture(1)
    groups = groups_by_dhash([one, two, two.copy()], ["p", "p", "q"])
    assert len(set(groups)) == 1


def test_equal_files_become_one_group() -> None:
    assert groups_by_hash(["a", "b", "c", "d"], ["1", "2", "1", "3"]) == ["a", "b", "a", "d"]
    assert groups_by_hash(["a", "b", "b", "c"], ["1", "2", "3", "3"]) == ["a", "b", "b", "b"]
    assert len(set(groups_by_hash(["a", "b", "b", "c"], ["1", "1", "3", "3"]))) == 1
    assert groups_by_hash(["a", "a", "b"], ["1", "1", "2"]) == ["a", "a", "b"]
