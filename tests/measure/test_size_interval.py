"""One interval everywhere: it holds its estimate, and does not shrink where it is no longer calibrated."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.made import classes_of, made

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.person_mask import MaskComparison, with_person_mask
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.evaluation.calibration import VolumeInterval
from napari_latentseg.measure import class_sizes, measure
from napari_latentseg.measure.interval_basis import IntervalBasis
from napari_latentseg.measure.size_interval import size_interval

SIZES = st.floats(0, 1e6)
SAMPLES = st.lists(SIZES, min_size=3, max_size=12).map(np.array)


def interval_of_card(factor: float = 2.0, shift: float = 0.0, **changes: Any) -> VolumeInterval:
    fields = {"factors": {"lesion": factor}, "shifts": {"lesion": shift}, "cases": 20, "samples": 5,
              "source": "augment", "threshold": 0.5, "data": "made"}  # fmt: skip
    return VolumeInterval(**(fields | changes))


def card_with(interval: VolumeInterval | None) -> Any:
    return SimpleNamespace(volume_interval=interval, fit=None, temperature=None)


INTERVALS = st.builds(interval_of_card, st.floats(0, 10), st.floats(-5, 5))


@given(SAMPLES, SIZES, st.none() | INTERVALS)
def test_an_interval_holds_its_estimate(samples, estimate, interval):
    for kind in ("samples",) if interval is None else ("samples", "calibrated"):
        low, high, _ = size_interval(samples, estimate, IntervalBasis(kind, (), interval, 5), "lesion")
        assert 0 <= low <= estimate <= high


@given(SAMPLES, SIZES, INTERVALS)
def test_an_interval_that_is_no_longer_calibrated_is_not_narrower(samples, estimate, interval):
    calibrated = size_interval(samples, estimate, IntervalBasis("calibrated", (), interval, 5), "lesion")
    other = size_interval(samples, estimate, IntervalBasis("samples", ("why",), interval, 5), "lesion")
    assert (calibrated[2], other[2]) == ("calibrated", "samples")
    assert other[0] <= calibrated[0]
    assert other[1] >= calibrated[1]


@given(SAMPLES, INTERVALS)
def test_a_calibrated_interval_is_that_of_the_card(samples, interval):
    low, high = interval.interval("lesion", samples)
    basis = IntervalBasis("calibrated", (), interval, 5)
    assert size_interval(samples, (low + high) / 2, basis, "lesion") == (low, high, "calibrated")


def test_many_samples_of_nearly_equal_weight_have_an_interval():
    samples = np.random.default_rng(0).normal(100, 10, 400)
    basis = IntervalBasis("samples", ("hints weight the samples",), interval_of_card(), 400)
    equal = size_interval(samples, 100.0, basis, "lesion", np.full(400, 1 / 400))
    assert equal[:2] == pytest.approx(size_interval(samples, 100.0, basis, "lesion")[:2], rel=1e-3)


def disc(radius: float, shape: tuple[int, int] = (60, 80)) -> Any:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return 1 / (1 + np.exp(np.hypot(y - 30, x - 40) - radius))


def ultrasound(**record: Any) -> Segmentation:
    """An image of a lesion, of which five samples differ a little."""
    samples = np.stack([[disc(r)] for r in (14.0, 14.2, 14.4, 14.6, 14.8)])
    segmentation = made(samples, Geometry.from_spacing("yx"), "yx", threshold=0.4)
    return replace(segmentation, record=segmentation.record.replace(**record))


def test_an_interval_ends_with_the_image():
    """Of an image that the model was not made for, samples filled it or found nothing."""
    samples = np.stack([np.full((1, 20, 30), p) for p in (0.9, 0.9, 0.1)])
    result = made(samples, Geometry.from_spacing("yx", (0.5, 0.5), "mm"), "yx")
    for (row,) in (class_sizes(result), measure(result, objects=False)):
        assert (row.low, row.high) == (0, 20 * 30 * 0.25)


def width(rows: Any) -> float:
    return float(rows[0].high - rows[0].low) / rows[0].value


def test_a_moved_threshold_does_not_make_the_interval_narrower():
    """B3g: the 90 % interval became three times narrower when the threshold moved by 0.01."""
    result, card = ultrasound(), card_with(interval_of_card(4.8, 0.9, threshold=0.4))
    widths = {}
    for threshold in (0.4, 0.41, 0.45, 0.46, 0.6, 0.8):
        rows = class_sizes(result.with_threshold(threshold), card)
        assert rows[0].interval_source == ("calibrated" if threshold <= 0.45 else "samples")
        widths[threshold] = width(rows)
    # what is left is how much the spread of the samples differs between thresholds
    assert min(widths.values()) > 0.8 * max(widths.values())
    assert rows[0].interval_reason == "the threshold is 0.80 (calibration: 0.40)"


def volume(*names: str, **record: Any) -> Segmentation:
    rng = np.random.default_rng(3)
    samples = np.clip(rng.random((5, len(names), 6, 12, 14)) ** 2 + 0.02, 0, 1)
    segmentation = made(
        samples, Geometry.from_spacing("zyx", (3.0, 1.0, 1.0), "mm"), classes=classes_of(*names)
    )
    return replace(segmentation, record=segmentation.record.replace(**record))


CANCELLED = {"complete": False, "planes_done": 4, "segmented_slices": ((1, 4),)}


@pytest.mark.parametrize(
    "result",
    [
        ultrasound(),
        volume("lesion", "other"),
        volume("lesion", **CANCELLED),
        volume("lesion", slices=(1, 2), planes_done=2),
        volume("lesion", source="none"),
        replace(volume("lesion", "other"), sample_maps=None),
    ],
)
@pytest.mark.parametrize("interval", [None, interval_of_card(), interval_of_card(threshold=0.4)])
@pytest.mark.parametrize("is_corrected", [False, True])
def test_the_quick_sizes_are_those_of_the_table(result, interval, is_corrected):
    mask = None
    if is_corrected:
        mask = np.array(result.mask)
        mask[..., :3, :] = 2
        mask[..., :1, :1] = 9
    quick = class_sizes(result, card_with(interval), mask=mask)
    table = measure(result, card=card_with(interval), mask=mask, objects=False)
    assert [row.describe() for row in quick] == [row.describe() for row in table]
    known = ("name", "label", "value", "unit", "fraction", "segmented", "model_value", "low", "high",
             "samples", "mean", "std", "interval_source", "interval_reason")  # fmt: skip
    for one, other in zip(quick, table, strict=True):
        assert {f: getattr(one, f) for f in known} == {f: getattr(other, f) for f in known}
        assert one.low is None or one.low <= one.model_value <= one.high


def test_points_in_time_have_the_rows_of_the_table():
    samples = np.random.default_rng(0).random((3, 1, 2, 3, 8, 8))
    result = made(samples, Geometry.from_spacing("tzyx", (30.0, 2.0, 1.0, 1.0), "mm"), "tzyx")
    rows = class_sizes(result)
    assert [(row.title, row.fraction) for row in rows] == [("lesion, time 1", None), ("lesion, time 2", None)]
    assert [row.describe() for row in rows] == [row.describe() for row in measure(result, objects=False)]


def test_a_part_is_called_a_part_and_a_cancelled_run_has_no_interval():
    part = volume("lesion", slices=(1, 2), planes_done=2, segmented_slices=((1, 2),))
    (row,) = class_sizes(part, card_with(interval_of_card()))
    assert row.describe().startswith(f"lesion: {row.size_text} in 2 of 6 slices, ")
    assert "% of that (90 %: " in row.describe()
    assert row.describe().endswith("of 5 samples)")
    (cancelled,) = class_sizes(volume("lesion", **CANCELLED), card_with(interval_of_card()))
    assert " in 4 of 6 slices, " in cancelled.describe()
    assert (cancelled.low, cancelled.samples) == (None, 0)
    assert cancelled.interval_reason == "the run was cancelled, 2 of 6 slices were not segmented"


def test_a_corrected_mask_keeps_the_interval_of_the_model_and_its_size():
    result = ultrasound()
    mask = np.array(result.mask)
    mask[:20] = 1
    corrected = with_person_mask(result, mask, MaskComparison("corrected", True, (0,), ()))
    read_back = replace(corrected, model_mask=None)  # the files hold the corrected mask alone
    (before,) = class_sizes(result)
    for one in (class_sizes(corrected)[0], class_sizes(read_back)[0], measure(corrected, objects=False)[0]):
        assert one.value == np.count_nonzero(mask) > before.value
        assert (one.model_value, one.low, one.high) == (before.value, before.low, before.high)
        assert one.format_size(one.model_value) == before.size_text


def test_an_object_is_not_called_calibrated_nor_surer_than_its_class():
    result, card = ultrasound(), card_with(interval_of_card(4.8, 0.9, threshold=0.4))
    whole, only = measure(result, card=card)
    assert (whole.interval_source, only.interval_source) == ("calibrated", "samples")
    assert only.interval_reason == "calibrated for whole classes, not for single objects"
    assert only.low <= whole.low
    assert only.high >= whole.high


def test_a_class_without_a_factor_says_so():
    card = card_with(interval_of_card(factors={"other": 2.0}, shifts={}))
    (row,) = class_sizes(volume("lesion"), card)
    assert (row.interval_source, row.interval_reason) == ("samples", "the class was not calibrated")


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        ("mm3", 8847.3, "8.85 ml"),
        ("mm3", 10770.0, "10.8 ml"),
        ("mm3", 40.0, "40.0 mm³"),
        ("mm2", 10770.0, "10770 mm²"),
        ("pixel", 1.0, "1 pixel"),
        ("pixel", 703.0, "703 pixels"),
        ("pixel", 10770.0, "10770 pixels"),
    ],
)
def test_a_size_has_one_way_to_be_written(unit, value, text):
    (row,) = class_sizes(volume("lesion"))
    assert replace(row, unit=unit, value=value, low=None, high=None).size_text == text


def test_an_empty_mask_says_that_nothing_was_found():
    (row,) = class_sizes(made(np.zeros((5, 1, 9, 8)), Geometry.from_spacing("yx"), "yx"))
    assert row.describe() == "lesion: nothing found (in none of 5 samples)"
