"""What a report says before its figures: what was not segmented; and whether the model fits the image."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.helpers.made import made

from napari_latentseg.core.fit import Fit
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure import measure, measurement_table
from napari_latentseg.report.explanation import explanation
from napari_latentseg.report.page import page_values
from napari_latentseg.report.templates import render


def result(**record: Any) -> Segmentation:
    samples = np.zeros((3, 1, 4, 8, 9))
    samples[..., 2:5, 2:5] = 0.9
    segmentation = made(samples, Geometry.from_spacing("zyx", (1.0,) * 3, "mm"))
    return replace(segmentation, record=segmentation.record.replace(**record))


@pytest.mark.parametrize(
    ("record", "said", "segmented"),
    [
        (
            {"planes_done": 3, "segmented_slices": ((0, 2),), "complete": False},
            "The run was cancelled: 1 of 4 slices was not segmented, so the sizes are only of the rest.",
            "3 of 4 slices",
        ),
        (
            {"planes_done": 2, "slices": (1, 2), "segmented_slices": ((1, 2),)},
            "2 of 4 slices were not segmented, so the sizes are only of the rest.",
            "2 of 4 slices",
        ),
        ({"box": (0, 0, 8, 8)}, "Only a box was segmented, so the sizes are only of the rest.", "a box"),
        ({"complete": False, "samples_asked": 9}, "The run was cancelled after 3 of 9 samples.", "all"),
        ({}, "", "all"),
    ],
)
def test_a_partial_run_is_told_before_any_figure(record: dict[str, Any], said: str, segmented: str) -> None:
    segmentation = result(**record)
    rows = measure(segmentation, objects=False)
    values = page_values(segmentation, rows, [], None, has_image=False, note="")
    page = render("page.html.j2", values)
    before_facts = re.sub("<[^>]+>", "", page.partition("<body>")[2].partition('<dl class="facts">')[0])
    assert (said in before_facts) if said else ("segmented" not in before_facts)
    assert "cancelled" in before_facts or "cancelled" not in said
    assert measurement_table(rows)["segmented"][0] == segmented


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        (
            Fit(state="fits"),
            r"^In all that was checked, this image is like those that the model was trained on\.$",
        ),
        (Fit(state="unusual", reasons=("dark",)), r"^Unusual for this model: dark\. What was measured"),
    ],
)
def test_whether_the_model_fits_is_told_in_one_line(fit: Fit, said: str) -> None:
    lines = explanation(result(fit=fit), [], None)
    assert sum(bool(re.search(said, line)) for line in lines) == 1


def test_without_a_check_nothing_is_said_of_the_fit() -> None:
    assert not any("was trained on" in line for line in explanation(result(), [], None))
