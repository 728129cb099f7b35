"""The contours between which the true edge lies, and the Dice to expect, of a result."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from tests.helpers.made import made

from napari_latentseg.core.fit import Fit
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.case_figures import soft_dice
from napari_latentseg.evaluation.contour_band import ClassBand, ContourBand
from napari_latentseg.evaluation.expected_dice import ClassDice, ExpectedDice
from napari_latentseg.measure import (
    contours,
    contours_unavailable_reason,
    expected_dice,
    expected_dice_lines,
)
from napari_latentseg.measure.expected_dice import with_expected_dice

CONDITIONS: dict[str, Any] = {"samples": 5, "source": "augment", "threshold": 0.4, "data": "made"}


def result(*, spacing: tuple[float, ...] = (2.0, 0.5, 0.5), **record: Any) -> Segmentation:
    """A block that all samples see, and a rim that two of five see."""
    samples = np.zeros((5, 1, 9, 30, 40))
    samples[:, 0, 3:6, 10:20, 12:28] = 0.95
    samples[:2, 0, 2:7, 8:22, 10:30] = 0.95
    axes = "zyx"[-len(spacing) :]
    if len(spacing) == 2:
        samples = samples[:, :, 4]
    segmentation = made(samples, Geometry.from_spacing(axes, spacing, "mm"), axes, threshold=0.4)
    return replace(segmentation, record=segmentation.record.replace(**record))


def card(*, fit: object = None, name: str = "lesion", **conditions: Any) -> Any:
    fields = CONDITIONS | conditions
    band = ClassBand(factor=1.5, cases=40, coverage=0.9, typical_outward=0.2, typical_inward=0.2)
    dice = ClassDice(intercept=-1.0, slope=1.0, factor=1.5, cases=40, mean_error=0.05, coverage=0.9)
    return SimpleNamespace(
        contour_band=ContourBand(classes={name: band}, **fields),
        expected_dice=ExpectedDice(classes={name: dice}, **fields),
        fit=fit,
        temperature=None,
    )


@pytest.mark.parametrize("spacing", [(2.0, 0.5, 0.5), (1.0, 1.0, 1.0), (0.5, 0.25), (1.0, 3.0)])
def test_both_contours_lie_at_one_distance_from_the_edge(spacing: tuple[float, ...]) -> None:
    segmentation = result(spacing=spacing)
    found = contours(segmentation, card())
    mask = segmentation.mask > 0
    (of_lesion,) = found.classes
    size = (mask.sum() * np.prod(spacing)) ** (1 / len(spacing))
    soft = soft_dice(segmentation.mean[0], mask)
    assert of_lesion.reach == pytest.approx(1.5 * size * (1 - soft + 0.01))
    outside = distance_transform_edt(~mask, sampling=spacing)
    inside = distance_transform_edt(mask, sampling=spacing)
    np.testing.assert_array_equal(of_lesion.outer, outside <= of_lesion.reach)
    np.testing.assert_array_equal(of_lesion.inner, inside > of_lesion.reach)
    assert (of_lesion.inner <= mask).all()
    assert (mask <= of_lesion.outer).all()


def test_they_follow_neither_the_threshold_nor_a_brush() -> None:
    segmentation = result()
    before = contours(segmentation, card()).classes[0]
    moved = segmentation.with_threshold(0.42)
    painted = replace(segmentation, mask=np.ones_like(segmentation.mask))
    for other in (moved, painted):
        after = contours(other, card()).classes[0]
        np.testing.assert_array_equal(after.outer, before.outer)
        np.testing.assert_array_equal(after.inner, before.inner)


def test_a_class_without_a_mask_or_a_calibration_has_no_contours() -> None:
    empty = replace(result(), mean=np.zeros_like(result().mean))
    assert contours(empty, card()).classes == ()
    assert contours(result(), card(name="cyst")).classes == ()
    assert expected_dice(empty, card()) == expected_dice(result(), card(name="cyst")) == {}


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "foreign image": ({"fit": Fit(state="foreign", reasons=("MR",))}, {}, "not made for this image: MR"),
    "fit unknown": ({}, {"fit": object()}, "whether the image fits the model was not checked"),
    "cancelled": ({"complete": False, "samples_asked": 9}, {}, "cancelled after 5 of 9 samples"),
    "source": ({"source": "noise"}, {}, "come from the random noise"),
    "too few samples": ({}, {"samples": 8}, "only 5 samples (calibration: 8)"),
    "a box": ({"box": (0, 0, 20, 20)}, {}, "only a box was segmented"),
    "threshold": ({"threshold": 0.6}, {}, "the threshold is 0.60 (calibration: 0.40)"),
}


@pytest.mark.parametrize(("record", "of_card", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_nothing_is_promised_where_the_calibration_does_not_hold(
    record: dict[str, Any], of_card: dict[str, Any], reason: str
) -> None:
    segmentation = result(**record)
    assert reason in contours_unavailable_reason(segmentation, card(**of_card))
    with pytest.raises(BadInput, match=re.escape(reason)):
        contours(segmentation, card(**of_card))
    assert expected_dice(segmentation, card(**of_card)) == {}


def test_a_model_without_a_calibration_says_so() -> None:
    bare = SimpleNamespace(contour_band=None, expected_dice=None)
    assert "20 images" in contours_unavailable_reason(result(), bare)
    assert contours_unavailable_reason(result(), None) == "the model is not on this machine"
    assert expected_dice(result(), bare) == expected_dice(result(), None) == {}


def test_expected_dice_is_that_of_the_samples_agreement() -> None:
    segmentation = result()
    estimates = expected_dice(segmentation, card())
    soft = soft_dice(segmentation.mean[0], segmentation.mask > 0)
    assert estimates == {"lesion": card().expected_dice.estimate("lesion", soft)}
    assert expected_dice_lines(estimates)[0].startswith("Expected Dice about ")
    assert expected_dice_lines(estimates | {"cyst": estimates["lesion"]})[1].startswith("cyst: expected Dice")
    assert expected_dice_lines({}) == []


def test_a_mask_that_was_post_processed_has_no_expected_dice() -> None:
    cleaned = result(cleanup=PostProcess(fill_holes=True))
    assert expected_dice(cleaned, card()) == {}


def test_a_threshold_that_moves_takes_the_expected_dice_out_of_the_record() -> None:
    segmentation = result()
    estimates = expected_dice(segmentation, card())
    segmentation = replace(segmentation, record=segmentation.record.replace(expected_dice=estimates))
    assert segmentation.with_threshold(0.4).record.expected_dice == estimates
    assert segmentation.with_threshold(0.41).record.expected_dice == {}


def test_the_expected_dice_follows_the_threshold_within_the_calibrated_range() -> None:
    segmentation = with_expected_dice(result(), card())
    estimates = segmentation.record.expected_dice
    assert estimates
    near = with_expected_dice(segmentation.with_threshold(0.43), card())
    assert near.record.expected_dice == estimates
    far = with_expected_dice(near.with_threshold(0.6), card())
    assert far.record.expected_dice == {}
    assert with_expected_dice(far.with_threshold(0.4), card()).record.expected_dice == estimates
