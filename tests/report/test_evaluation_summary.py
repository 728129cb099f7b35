"""The figures of an evaluation as rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_latentseg.evaluation.intervals import score_intervals
from napari_latentseg.evaluation.objects import ObjectScores
from napari_latentseg.evaluation.paired import compare_paired
from napari_latentseg.evaluation.report import EvaluatedModel, EvaluationReport, ImageResult, MeanScores
from napari_latentseg.evaluation.scores import ImageScores, class_means
from napari_latentseg.report.evaluation_summary import summary_line, summary_rows

DICES = (0.9, 0.8, 0.7, 0.05)


def report_of(dices: tuple[float, ...], name: str = "ours", **fields: Any) -> EvaluationReport:
    images = tuple(
        ImageResult(name=f"case_{i}", dsc=dsc, iou=dsc / (2 - dsc), hd95=10 * (1 - dsc))
        for i, dsc in enumerate(dices)
    )
    mean = MeanScores(**{k: float(np.mean([getattr(i, k) for i in images])) for k in ("dsc", "iou", "hd95")})
    values: dict[str, Any] = {
        "model": EvaluatedModel(name=name, version="2", method="GMS"), "mean": mean,
        "std": {"dsc": None, "iou": None, "hd95": None}, "image_count": len(images), "training_count": 0,
        "validation_count": 0, "samples": 3, "source": "augment", "seed": 0, "threshold": 0.5,
        "conventions": {}, "images": images,
    }  # fmt: skip
    return EvaluationReport.model_validate(values | fields)


def test_a_single_model_has_values_and_intervals() -> None:
    report = report_of(DICES)
    intervals = score_intervals(report.images, [{} for _ in DICES], None, None, None)
    assert intervals is not None
    rows = {row.name: row for row in summary_rows(report.replace(intervals=intervals))}
    assert rows["Dice"].value == "0.6125"
    low, high = intervals.mean.dsc
    assert rows["Dice"].interval == f"{low:.4f} to {high:.4f}"
    assert rows["HD95 (pixels)"].value == "3.9"
    assert rows["Missed (Dice < 0.1)"].value == "1 of 4 (25 %)"
    assert not any(row.other or row.difference or row.p_value for row in rows.values())
    without = {row.name: row for row in summary_rows(report)}
    assert without["Dice"].interval == ""


def test_another_model_stands_beside_it() -> None:
    ours, theirs = report_of(DICES), report_of((0.8, 0.05, 0.7, 0.05), "theirs")
    paired = compare_paired(ours, theirs, "theirs")
    rows = {row.name: row for row in summary_rows(ours.replace(paired=paired))}
    assert rows["Dice"].other == "0.4000"
    assert rows["Dice"].difference.startswith("+0.2125 (")
    assert rows["Dice"].p_value == f"{paired.dsc.p_value:.3f}"
    assert rows["Missed (Dice < 0.1)"].other == "2 of 4 (50 %)"


def test_classes_have_rows_with_their_number_of_images() -> None:
    def scores(dsc: float) -> ImageScores:
        return ImageScores(dsc=dsc, iou=dsc / (2 - dsc), hd95=1.0)

    by_image = [{"head": scores(0.9), "body": scores(0.7)}, {"head": scores(0.5)}]
    rows = summary_rows(report_of((0.8, 0.5), classes=class_means(by_image)))
    assert [(row.name, row.value) for row in rows[3:5]] == [
        ("Dice of head (2 images)", "0.7000"),
        ("Dice of body (1 image)", "0.7000"),
    ]


def test_objects_are_counted() -> None:
    objects = ObjectScores(images=4, matched=7, missed=2, extra=1, average_precision=0.71, f1=0.8)
    rows = {row.name: row.value for row in summary_rows(report_of(DICES, objects={"nucleus": objects}))}
    assert rows["Objects of nucleus: AP"] == "0.7100"
    assert rows["Objects of nucleus: matched"] == "7 of 9, 1 extra"


@pytest.mark.parametrize(
    ("source", "samples", "words"),
    [("augment", 3, "4 images, 3 samples from flips, "), ("none", 1, "4 images, one pass, ")],
)
def test_one_line_says_what_was_scored(source: str, samples: int, words: str) -> None:
    line = summary_line(
        report_of(DICES, source=source, samples=samples), {"augment": "flips", "none": "one pass"}
    )
    assert line == f"ours 2: {words}threshold 0.5"
