"""Two evaluations of the same images, image by image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bootstrap import RESAMPLES
from napari_latentseg.evaluation.mean_calibration import CalibrationSums
from napari_latentseg.evaluation.paired import compare_paired, paired_score
from napari_latentseg.evaluation.report import EvaluatedModel, EvaluationReport, ImageResult, MeanScores
from napari_latentseg.evaluation.report_file import read_evaluation
from napari_latentseg.evaluation.scores import ImageScores

RNG = np.random.default_rng(3)
OURS = RNG.beta(8, 2, 30)
THEIRS = np.clip(OURS - RNG.normal(0.02, 0.05, 30), 0, 1)
THEIRS[4] = OURS[4]


def image(name: str, dsc: float, **fields: Any) -> ImageResult:
    return ImageResult(name=name, dsc=dsc, iou=dsc / (2 - dsc), hd95=10 * (1 - dsc), **fields)


def report_of(dsc: np.ndarray, name: str = "ours", **fields: Any) -> EvaluationReport:
    images = fields.pop("images", tuple(image(f"case_{i}", float(d)) for i, d in enumerate(dsc)))
    mean = MeanScores(dsc=float(np.mean(dsc)), iou=0.5, hd95=1.0)
    return EvaluationReport.model_validate(
        {
            "model": EvaluatedModel(name=name, version="1", method="GMS"), "mean": mean,
            "std": {"dsc": None, "iou": None, "hd95": None}, "image_count": len(images), "training_count": 0,
            "validation_count": 0, "samples": 3, "source": "augment", "seed": 0, "threshold": 0.5,
            "conventions": {"size": "of the files"}, "images": images,
        } | fields
    )  # fmt: skip


def test_the_comparison_is_that_of_a_few_lines() -> None:
    paired = compare_paired(report_of(OURS), report_of(THEIRS, "theirs"), "theirs")
    d = OURS - THEIRS
    draws = np.random.default_rng(0).integers(30, size=(RESAMPLES, 30))
    assert paired.dsc.mean_difference == pytest.approx(d.mean())
    assert paired.dsc.interval == pytest.approx(np.percentile(d[draws].mean(axis=1), [2.5, 97.5]).tolist())
    assert paired.dsc.p_value == pytest.approx(scipy.stats.wilcoxon(OURS, THEIRS).pvalue)
    assert (paired.dsc.better, paired.dsc.worse, paired.dsc.equal) == ((d > 0).sum(), (d < 0).sum(), 1)
    assert (paired.hd95.better, paired.hd95.worse) == (paired.dsc.better, paired.dsc.worse)
    assert paired.hd95.mean_difference == pytest.approx(-10 * d.mean())
    assert paired.against.name == "theirs"
    assert paired.against_dsc == pytest.approx(THEIRS.tolist())


def test_order_does_not_matter_and_equal_scores_have_no_p_value() -> None:
    ours = report_of(OURS)
    turned = ours.replace(images=tuple(reversed(ours.images)))
    paired = compare_paired(ours, turned, "theirs")
    assert (paired.dsc.equal, paired.dsc.p_value, paired.dsc.mean_difference) == (30, None, 0)


def test_the_test_is_over_patients() -> None:
    patients = [f"p{i // 3}" for i in range(30)]
    paired = compare_paired(report_of(OURS), report_of(THEIRS), "theirs", patients)
    means = (OURS - THEIRS).reshape(10, 3).mean(axis=1)
    assert (paired.unit, paired.units) == ("patient", 10)
    assert paired.dsc.p_value == pytest.approx(scipy.stats.wilcoxon(means).pvalue)


def test_classes_count_where_one_of_the_models_finds_them() -> None:
    def classes(dsc: float, empty: str = "") -> dict[str, ImageScores]:
        return {"liver": ImageScores(dsc=dsc, iou=dsc / (2 - dsc), hd95=0.0, empty=empty)}

    ours = [classes(0.9), classes(1.0, "both"), classes(1.0, "both")]
    theirs = [classes(0.8), classes(0.0, "truth"), classes(1.0, "both")]
    reports = [
        report_of(np.ones(3), images=tuple(image(f"c{i}", 0.9, classes=c) for i, c in enumerate(rows)))
        for rows in (ours, theirs)
    ]
    score = compare_paired(reports[0], reports[1], "theirs").classes["liver"]
    assert (score.images, score.better, score.equal) == (2, 2, 0)
    assert score.mean_difference == pytest.approx((0.1 + 1.0) / 2)


def test_a_single_image_has_a_difference_without_an_interval() -> None:
    score = paired_score(np.array([0.8]), np.array([0.7]), ["a"])
    assert (score.interval, score.better) == (None, 1)


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        (report_of(THEIRS[:29]), "other.json: has no score of image case_29"),
        (report_of(np.append(THEIRS, 0.5)), "other.json: has scores of other images too, such as case_30"),
        (
            report_of(OURS, images=tuple(image(f"case_{i}", 0.5, image_sha256="f") for i in range(30))),
            "other.json: scored another image case_0",
        ),
        (
            report_of(OURS, images=tuple(image(f"case_{i}", 0.5, mask_sha256="f") for i in range(30))),
            "other.json: scored case_0 against another mask",
        ),
    ],
)
def test_other_images_are_refused(theirs: EvaluationReport, why: str) -> None:
    ours = report_of(OURS)
    ours = ours.replace(images=tuple(i.replace(image_sha256="e", mask_sha256="e") for i in ours.images))
    with pytest.raises(BadInput, match=why):
        compare_paired(ours, theirs, "other.json")


def test_a_file_is_read_again(tmp_path: Path) -> None:
    report = report_of(OURS)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(report.to_json()), "utf-8")
    assert read_evaluation(path) == report


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": [], "conventions": {}}', "{"])
def test_another_file_is_no_evaluation(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text, "utf-8")
    with pytest.raises(BadInput, match=r"r\.json: (is not valid JSON|holds no scores of images)"):
        read_evaluation(path)
    with pytest.raises(BadInput, match="cannot be read"):
        read_evaluation(tmp_path / "lost.json")


def test_brier_score_and_errors_of_the_surest() -> None:
    rng = np.random.default_rng(1)
    sums, squares = CalibrationSums(), []
    confidence, dsc = rng.random(6).tolist(), rng.random(6).tolist()
    for sure in confidence:
        p = rng.random((8, 9)).astype(np.float32)
        y = rng.random((8, 9)) < p
        sums.add(p, y)
        sums.add_confidence([sure])
        squares.append((p.astype(float) - y) ** 2)
    calibration = sums.calibration(dsc, images=6, samples=3, source="augment", data="")
    assert calibration.brier == pytest.approx(np.mean(squares))
    order = sorted(range(6), key=lambda i: -confidence[i])
    risks = [np.mean([1 - dsc[i] for i in order[: k + 1]]) for k in range(6)]
    assert calibration.risk_coverage.risk == pytest.approx(risks)
    assert calibration.risk_coverage.area == pytest.approx(np.mean(risks))
    assert calibration.risk_coverage.best_area <= calibration.risk_coverage.area
