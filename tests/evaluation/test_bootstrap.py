"""Bootstrapped intervals, beside a few lines of NumPy and beside SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bootstrap import (
    RESAMPLES,
    Bootstrap,
    column_means,
    flat_mean,
    medians,
)
from napari_latentseg.evaluation.intervals import score_intervals
from napari_latentseg.evaluation.readers import ImageAgreement, ReaderReport, mean_agreement
from napari_latentseg.evaluation.scores import ImageScores

SCORES = np.random.default_rng(5).beta(8, 2, 23)
NAMES = [f"case_{i}" for i in range(len(SCORES))]


def scored(dsc: float, empty: str = "") -> ImageScores:
    return ImageScores(dsc=dsc, iou=dsc / (2 - dsc), hd95=10 * (1 - dsc), empty=empty)


def draws(units: int) -> np.ndarray:
    return np.random.default_rng(0).integers(units, size=(RESAMPLES, units))


def percentiles(values: np.ndarray) -> list[float]:
    return np.percentile(values, [2.5, 97.5]).tolist()


@pytest.mark.parametrize("count", [23, 22, 2])
def test_the_interval_is_that_of_a_few_lines_of_numpy(count: int) -> None:
    scores = SCORES[:count]
    resampled = scores[draws(count)]
    bootstrap = Bootstrap(NAMES[:count])
    (mean,) = bootstrap.intervals(scores[:, None], column_means)
    (median,) = bootstrap.intervals(scores[:, None], medians)
    assert mean == pytest.approx(percentiles(resampled.mean(axis=1)), abs=1e-12)
    assert median == pytest.approx(percentiles(np.median(resampled, axis=1)), abs=1e-12)


def test_the_interval_is_scipys_but_for_the_draws() -> None:
    theirs = scipy.stats.bootstrap((SCORES,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    (mean,) = Bootstrap(NAMES).intervals(SCORES[:, None], column_means)
    assert mean == pytest.approx(tuple(theirs.confidence_interval), abs=0.003)


def test_the_images_of_a_patient_are_drawn_together() -> None:
    patients = [f"p{i // 4}" for i in range(len(SCORES))]  # the last has three
    images = [[i for i, p in enumerate(patients) if p == name] for name in dict.fromkeys(patients)]
    resampled = [SCORES[[i for unit in units for i in images[unit]]] for units in draws(len(images))]
    bootstrap = Bootstrap(patients)
    assert bootstrap.unit_count == 6
    (mean,) = bootstrap.intervals(SCORES[:, None], column_means)
    (median,) = bootstrap.intervals(SCORES[:, None], medians)
    assert mean == pytest.approx(percentiles(np.array([s.mean() for s in resampled])), abs=1e-12)
    assert median == pytest.approx(percentiles(np.array([np.median(s) for s in resampled])), abs=1e-12)


def test_an_image_counts_in_the_columns_that_it_has() -> None:
    values = np.array([[0.9, math.nan], [0.5, 0.3], [0.7, math.nan], [0.8, 0.4]])
    flat, columns = [], []
    for chosen in draws(4):
        rows = values[chosen]
        flat.append(np.nanmean(rows))
        columns.append(math.nan if np.isnan(rows[:, 1]).all() else np.nanmean(rows[:, 1]))
    bootstrap = Bootstrap(NAMES[:4])
    assert bootstrap.intervals(values, flat_mean)[0] == pytest.approx(percentiles(np.array(flat)), abs=1e-12)
    second = bootstrap.intervals(values, column_means)[1]
    assert second == pytest.approx(np.nanpercentile(columns, [2.5, 97.5]).tolist(), abs=1e-12)


def test_all_scores_of_an_evaluation_have_intervals() -> None:
    images = [scored(float(s)) for s in SCORES]
    agreements = [
        ImageAgreement(
            name=name, ged2=float(1 - s), sample_reader_distance=0.5, sample_distance=0.2,
            reader_distance=0.3, matched_iou=float(s),
        )
        for name, s in zip(NAMES, SCORES, strict=True)
    ]  # fmt: skip
    readers = ReaderReport(readers=3, mean=mean_agreement(agreements), images=tuple(agreements))
    classes = [{"a": scored(float(s)), "b": scored(1.0, "both")} for s in SCORES]
    intervals = score_intervals(images, classes, readers=readers)
    assert intervals is not None
    assert (intervals.unit, intervals.units, intervals.level) == ("image", 23, 0.95)
    expected = percentiles(SCORES[draws(23)].mean(axis=1))
    assert intervals.mean.dsc == pytest.approx(expected, abs=1e-12)
    assert intervals.classes["a"].dsc == pytest.approx(expected, abs=1e-12)
    assert "b" not in intervals.classes  # it is in no image
    assert intervals.readers is not None
    assert intervals.readers.matched_iou == pytest.approx(expected, abs=1e-12)
    assert intervals.mean.hd95 == pytest.approx([10 * (1 - e) for e in expected[::-1]], abs=1e-9)


def test_a_protocol_by_class_averages_the_means_of_classes() -> None:
    pairs = [(0.9, 0.5), (0.8, None), (0.7, 0.2), (0.95, None)]
    classes = [{"a": scored(a)} | ({} if b is None else {"b": scored(b)}) for a, b in pairs]
    images = [scored(a) for a, _ in pairs]
    values = np.array([[a, math.nan if b is None else b] for a, b in pairs])
    expected = []
    for chosen in draws(4):
        rows = values[chosen]
        if not np.isnan(rows[:, 1]).all():
            expected.append(np.nanmean(rows, axis=0).mean())
    intervals = score_intervals(images, classes, "class")
    assert intervals is not None
    assert intervals.mean.dsc == pytest.approx(percentiles(np.array(expected)), abs=1e-12)


def test_one_image_or_patient_has_no_interval() -> None:
    assert score_intervals([scored(0.8)], [{}]) is None
    assert score_intervals([scored(0.8), scored(0.9)], [{}, {}], patients=["p", "p"]) is None
    with pytest.raises(BadInput, match="there is no image"):
        Bootstrap([])
