"""The scores of images, and their summaries."""

from __future__ import annotations

import json
import math
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.helpers.masks import Pair, many, pairs

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.scores import ImageScores, check_mean_dice_iou, score, summarise


@many
@given(st.lists(pairs(min_dims=2, max_dims=2), min_size=1, max_size=8))
def test_summary_of_any_images(images: list[Pair]) -> None:
    scores = [score(a, b) for a, b in images]
    found = summarise(scores)
    assert found["images"] == len(images)
    for name, spread in (("dsc", found["dsc"]), ("iou", found["iou"]), ("hd95", found["hd95"])):
        values = [getattr(one, name) for one in scores]
        assert spread["mean"] == pytest.approx(statistics.fmean(values))
        expected = statistics.stdev(values) if len(values) > 1 else None
        assert spread["std"] == (None if expected is None else pytest.approx(expected, abs=1e-12))
    for which in ("prediction", "truth", "both"):
        assert found["empty"][which] == sum(one.empty == which for one in scores)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_summary_of_nothing() -> None:
    with pytest.raises(BadInput, match="no image"):
        summarise([])


def test_scores_of_different_masks_are_a_fault() -> None:
    right = ImageScores(dsc=0.5, iou=1 / 3, hd95=1)
    summarise([right])
    with pytest.raises(RuntimeError, match="image 1"):
        summarise([right, ImageScores(dsc=0.5, iou=0.34, hd95=1)])


# Printed in the papers, in percent, to two digits.
@pytest.mark.parametrize(
    ("dsc", "iou_", "possible"),
    [
        pytest.param(92.76, 85.49, False, id="SDSeg on BTCV"),
        pytest.param(75.17, 60.23, True, id="EGE-UNet, on the bound"),
        pytest.param(93.90, 88.50, True, id="EGE-UNet, on the bound again"),
        pytest.param(80.0, 80.01, False, id="IoU above Dice"),
        pytest.param(100.0, 100.0, True, id="perfect"),
        pytest.param(0.0, 0.0, True, id="all wrong"),
        pytest.param(50.0, 50.0, True, id="half perfect, half wrong"),
    ],
)
def test_means_that_can_be(dsc: float, iou_: float, possible: bool) -> None:
    if possible:
        check_mean_dice_iou(dsc / 100, iou_ / 100, tolerance=5e-5)
    else:
        with pytest.raises(RuntimeError, match="cannot go with"):
            check_mean_dice_iou(dsc / 100, iou_ / 100, tolerance=5e-5)


def test_scores_are_frozen_and_within_range() -> None:
    one = ImageScores(dsc=1, iou=1, hd95=0)
    for name in ImageScores.model_fields:
        with pytest.raises(ValidationError):
            setattr(one, name, getattr(one, name))
    bad: list[dict[str, Any]] = [
        {"dsc": 1.1}, {"iou": -0.1}, {"hd95": math.nan}, {"hd95": -1}, {"empty": "neither"}, {"assd": 1}
    ]  # fmt: skip
    for change in bad:
        with pytest.raises(ValidationError):
            ImageScores(**({"dsc": 1, "iou": 1, "hd95": 0} | change))
    assert ImageScores.model_validate_json(one.model_dump_json()) == one
