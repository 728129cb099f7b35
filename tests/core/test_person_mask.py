"""Whose mask it is, from the labels alone."""

from __future__ import annotations

import numpy as np
import pytest
from tests.helpers.segmentation import segmentation

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.person_mask import (
    compare_masks,
    describe_mask,
    predicted_slices,
    with_person_mask,
)


def mask_of(*painted, planes=4):
    mask = np.zeros((planes, 5, 6), np.uint8)
    mask[1:3, 1:4, 1:4] = 1
    for n in painted:
        mask[n, 0, 0] = 1
    return mask


# painted slices, approved slices (None: with other labels), predicted slices -> state, edited, approved
CASES = [
    ((), {}, None, "model", False, ()),
    ((2,), {}, None, "corrected", True, ()),
    ((2,), {2}, None, "corrected", True, (2,)),
    ((), {2}, None, "model", False, (2,)),
    ((), {0, 1, 2, 3}, None, "approved", False, (0, 1, 2, 3)),
    ((0, 3), {0, 1, 2, 3}, None, "approved", True, (0, 1, 2, 3)),
    ((), {1, 2}, (1, 2), "approved", False, (1, 2)),
    ((0,), {1, 2}, (1, 2), "corrected", True, (1, 2)),  # painted where nothing was segmented
    ((0,), {0, 1, 2}, (1, 2), "approved", True, (0, 1, 2)),
    ((), {}, (), "model", False, ()),
]


@pytest.mark.parametrize(("painted", "approved", "predicted", "state", "edited", "still_approved"), CASES)
def test_state_of_a_mask(painted, approved, predicted, state, edited, still_approved):
    mask = mask_of(*painted)
    found = compare_masks(mask, mask_of(), {n: mask[n] for n in approved}, predicted)
    assert (found.state, found.edited, found.approved_slices) == (state, edited, still_approved)
    assert found.edited_slices == painted


def test_a_slice_that_differs_from_what_was_approved_is_not_approved():
    approved = mask_of(1)
    assert compare_masks(mask_of(), mask_of(), {n: approved[n] for n in range(4)}).approved_slices == (
        0,
        2,
        3,
    )
    assert compare_masks(mask_of(), mask_of(), {n: approved[n] for n in range(4)}).state == "model"


def test_a_2d_mask_is_one_slice():
    mask = mask_of()[1]
    assert compare_masks(mask, mask, {0: mask}).state == "approved"


def test_the_result_keeps_the_models_mask_and_a_new_threshold_gives_it_back():
    result = segmentation()
    mask = result.mask.copy()
    mask[..., 0, 0] = 7
    comparison = compare_masks(mask, result.mask, {})
    extra = ClassInfo(label=7, name="vessel", color="#00ff00")
    corrected = with_person_mask(result, mask, comparison, [extra])
    assert corrected.record.mask_state == "corrected"
    assert corrected.record.mask_edited
    assert corrected.mask_classes[-1] == extra
    np.testing.assert_array_equal(corrected.model_mask, result.mask)
    again = corrected.with_threshold(0.5)
    assert (again.record.mask_state, again.record.mask_edited, again.model_mask) == ("model", False, None)
    assert again.mask_classes == result.classes


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "the model's"),
        ({"mask_edited": True, "mask_state": "corrected"}, "corrected by a person"),
        ({"mask_edited": True, "mask_state": "approved"}, "corrected and approved by a person"),
        ({"mask_state": "approved"}, "the model's, approved unchanged"),
        ({"approved_slices": ((2, 2),), "planes": 9}, "the model's, slice 3 approved"),
        (
            {"mask_edited": True, "approved_slices": ((0, 0), (2, 4)), "planes": 9},
            "corrected by a person, slices 1, 3 to 5 approved",
        ),
    ],
)
def test_words_for_a_mask(changes, text):
    assert describe_mask(segmentation().record.replace(**changes)) == text


def test_predicted_slices_of_a_record():
    record = segmentation().record.replace(planes=6, planes_done=6)
    assert predicted_slices(record) is None
    assert predicted_slices(record.replace(planes_done=3, slices=(2, 4))) == (2, 3, 4)
    assert predicted_slices(record.replace(planes_done=2, slices=(2, 4), complete=False)) is None
    assert predicted_slices(record.replace(planes_done=3, segmented_slices=((0, 1), (4, 4)))) == (0, 1, 4)
