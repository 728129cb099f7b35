"""The report says which Dice to expect, and whose mask it is of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.made import made

from napari_latentseg.core.dice_estimate import DiceEstimate
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.report.explanation import explanation


@pytest.mark.parametrize("edited", [False, True])
def test_the_report_gives_the_expected_dice(edited: bool) -> None:
    samples = np.full((3, 1, 8, 9), 0.9)
    segmentation = made(samples, Geometry.from_spacing("yx", (1.0, 1.0), "mm"), "yx")
    estimates = {"lesion": DiceEstimate(expected=0.84, lower=0.62)}
    record = segmentation.record.replace(expected_dice=estimates, mask_edited=edited)
    lines = explanation(replace(segmentation, record=record), [], None)
    (line,) = [line for line in lines if line.startswith("Expected Dice about 0.84, at least 0.62")]
    assert ("not of the corrected one" in line) == edited


def test_without_an_estimate_the_report_does_not_speak_of_it() -> None:
    samples = np.full((3, 1, 8, 9), 0.9)
    segmentation = made(samples, Geometry.from_spacing("yx", (1.0, 1.0), "mm"), "yx")
    assert not any("Dice" in line for line in explanation(segmentation, [], None))
