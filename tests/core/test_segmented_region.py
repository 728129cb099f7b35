"""Which slices of a scan have a prediction, from records of this version and of earlier ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.segmentation import segmentation

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.plane_axes import plane_axis_order
from napari_latentseg.core.ranges import as_ranges
from napari_latentseg.core.segmented_region import SegmentedRegion, segmented_voxels
from napari_latentseg.errors import BadInput


def region(**changes: Any) -> SegmentedRegion:
    return SegmentedRegion.from_record(segmentation().record.replace(**changes))


@pytest.mark.parametrize(
    ("record", "ranges", "text"),
    [
        ({"planes": 1, "planes_done": 1}, ((0, 0),), ""),
        ({"planes": 40, "planes_done": 40}, ((0, 39),), ""),
        (
            {"planes": 40, "planes_done": 29, "segmented_slices": ((5, 33),), "complete": False},
            ((5, 33),),
            "29 of 40 slices",
        ),
        (
            {"planes": 40, "planes_done": 3, "slices": (4, 6)},
            ((4, 6),),
            "3 of 40 slices",
        ),  # an earlier version
        ({"planes": 40, "planes_done": 2, "slices": (4, 6), "complete": False}, None, "2 of 40 slices"),
        ({"planes": 40, "planes_done": 29, "complete": False}, None, "29 of 40 slices"),
        ({"planes": 1, "planes_done": 1, "box": (0, 0, 4, 4)}, ((0, 0),), "a box"),
        (
            {"planes": 9, "planes_done": 1, "slices": (2, 2), "box": (0, 0, 4, 4)},
            ((2, 2),),
            "a box in 1 of 9 slices",
        ),
    ],
)
def test_which_slices_were_segmented(record, ranges, text):
    made = region(**record)
    assert (made.ranges, made.describe()) == (ranges, text)
    assert made.is_whole is (text == "")
    assert made.is_cancelled is not record.get("complete", True)


def test_a_slice_without_a_prediction_is_not_in_the_region():
    made = region(planes=10, planes_done=5, segmented_slices=((1, 3), (7, 8)), complete=False)
    assert [number for number in range(-1, 11) if number in made] == [1, 2, 3, 7, 8]
    assert made.missing([0, 1, 9, 8]) == [0, 9]
    assert made.describe_missing() == "5 of 10 slices were not segmented"
    assert np.flatnonzero(made.slice_flags()).tolist() == [1, 2, 3, 7, 8]


def test_where_an_earlier_record_does_not_say_no_slice_counts_as_segmented():
    made = region(planes=10, planes_done=9, complete=False)
    assert made.missing(range(10)) == list(range(10))
    assert made.describe_missing() == "1 of 10 slices was not segmented"


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_the_region_holds_the_slices_that_it_was_made_from(flags):
    ranges = as_ranges(i for i, flag in enumerate(flags) if flag)
    made = region(planes=len(flags), planes_done=sum(flags), segmented_slices=None if all(flags) else ranges)
    assert made.slice_flags().tolist() == flags
    assert made.missing_count == flags.count(False)


@pytest.mark.parametrize(
    ("axes", "plane", "order"),
    [
        ("zyx", "acquired", (0, 1, 2)),
        ("zyx", "sagittal", (2, 0, 1)),
        ("tzyx", "coronal", (0, 2, 1, 3)),
        ("yx", "acquired", (0, 1)),
    ],
)
def test_the_last_two_axes_are_those_of_a_slice(axes, plane, order):
    assert plane_axis_order(Geometry.from_spacing(axes), len(axes), plane) == order


PART = {"planes": 4, "planes_done": 2, "slices": (1, 2), "segmented_slices": ((1, 2),)}


def voxels(mask: np.ndarray, axes: str = "zyx", **changes: Any) -> np.ndarray | None:
    return segmented_voxels(segmentation().record.replace(**changes), mask, Geometry.from_spacing(axes))


def test_voxels_outside_of_what_was_segmented_say_nothing():
    mask = np.zeros((4, 5, 6), np.uint8)
    assert voxels(mask, planes=4, planes_done=4) is None
    assert voxels(mask, **PART).any(axis=(1, 2)).tolist() == [False, True, True, False]
    boxed = voxels(mask, **PART, box=(1, 2, 4, 6))
    assert boxed.sum() == 2 * 3 * 4
    assert boxed[1:3, 1:4, 2:6].all()
    coronal = voxels(mask.transpose(1, 0, 2), **PART, plane="coronal")
    assert coronal.shape == (5, 4, 6)
    assert coronal.any(axis=(0, 2)).tolist() == [False, True, True, False]


def test_a_slice_in_which_a_person_painted_says_something():
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[3, 2, 2] = 1
    assert voxels(mask, **PART).all(axis=(1, 2)).tolist() == [False, True, True, True]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"planes": 4, "planes_done": 2, "complete": False}, "does not say which slices"),
        ({"planes": 5, "planes_done": 1, "slices": (1, 1)}, "has 4 slices, and its record 5"),
    ],
)
def test_a_record_that_does_not_tell_is_refused(changes: dict[str, Any], why: str):
    with pytest.raises(BadInput, match=why):
        voxels(np.zeros((4, 5, 6), np.uint8), **changes)
