"""Reliability and conformal intervals, on cases whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.calibration import VolumeInterval, interval_coverage, min_cases
from napari_latentseg.evaluation.reliability import Reliability, ReliabilityAccumulator

ABOUT = {"samples": 5, "source": "augment", "threshold": 0.5, "data": "drawn"}
WORDS = {"images": 1, "samples": 5, "source": "augment", "data": "drawn"}


# --- reliability ---------------------------------------------------------------------------------------


def test_probabilities_that_hold_have_no_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 400_000).astype(np.float32)
    counts = ReliabilityAccumulator()
    counts.add(p, rng.uniform(0, 1, p.shape) < p)
    found = counts.reliability(**WORDS)
    assert found.ece < 0.005
    assert found.ece_unsure < 0.005
    assert sum(found.counts) == p.size
    centres = (np.array(found.bin_edges[1:]) + found.bin_edges[:-1]) / 2
    np.testing.assert_allclose(found.predicted, centres, atol=0.005)
    np.testing.assert_allclose(found.observed, centres, atol=0.02)


def test_the_error_is_weighted_by_counts() -> None:
    counts = ReliabilityAccumulator(bins=4)
    counts.add(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0], np.float32), np.zeros(6, bool))
    counts.add(np.array([0.3, 0.3], np.float32), np.array([True, True]))
    counts.add(np.array([1.0, 0.8], np.float32), np.array([True, False]))
    found = counts.reliability(**WORDS)
    assert found.counts == (6, 2, 0, 2)
    assert found.predicted == (0.0, 0.3, None, 0.9)
    assert found.observed == (0.0, 1.0, None, 0.5)
    assert found.ece == pytest.approx((2 * 0.7 + 2 * 0.4) / 10)
    assert found.ece_unsure == pytest.approx(0.7)
    assert found.bin_edges == (0, 0.25, 0.5, 0.75, 1)


def test_planes_add_up() -> None:
    rng = np.random.default_rng(1)
    p = rng.uniform(0, 1, (6, 9, 9)).astype(np.float32)
    truth = rng.uniform(0, 1, p.shape) < p**2
    one, many = ReliabilityAccumulator(), ReliabilityAccumulator()
    one.add(p, truth)
    for plane, t in zip(p, truth, strict=True):
        many.add(plane, t)
    assert one.reliability(**WORDS) == many.reliability(**WORDS)


def test_where_all_is_sure_nothing_is_unsure() -> None:
    counts = ReliabilityAccumulator()
    counts.add(np.array([0.0, 1.0], np.float32), np.array([False, True]))
    assert counts.reliability(**WORDS).ece_unsure is None


def test_reliability_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="no voxel"):
        ReliabilityAccumulator().reliability(**WORDS)
    with pytest.raises(BadInput, match="shape"):
        ReliabilityAccumulator().add(np.zeros((2, 3), np.float32), np.zeros((3, 2), bool))


def test_a_reliability_survives_json() -> None:
    counts = ReliabilityAccumulator()
    counts.add(np.array([0.1, 0.9], np.float32), np.array([False, True]))
    found = counts.reliability(**WORDS)
    assert Reliability.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(ValidationError, match="one entry for each bin"):
        Reliability.model_validate(found.model_dump() | {"counts": [1, 2, 3]})


# --- intervals -----------------------------------------------------------------------------------------


def cases(count: int, seed: int, bias: float = 1.3, noise: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    """Volumes `(count, 5, 2)` of samples that agree more with each other than with the reference."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(100, 3000, (count, 2))
    guess = true * bias * rng.lognormal(0, noise, true.shape)
    return guess[:, None] * rng.lognormal(0, 0.03, (count, 5, 2)), true


def test_intervals_hold_on_new_cases_as_often_as_they_say() -> None:
    shares = []
    for seed in range(40):
        volumes, reference = cases(60, seed)
        made = VolumeInterval.fit("ab", volumes[:30], reference[:30], **ABOUT)
        tested = made.with_coverage("ab", volumes[30:], reference[30:])
        assert (tested.cases, tested.tested_on) == (30, 30)
        shares.append(np.mean(list(tested.coverage.values())))
    assert 0.89 < np.mean(shares) < 0.96  # (n + 1) 0.9 of n, rounded up: 0.903 for n = 30


def test_the_factor_is_the_right_one_of_the_scores() -> None:
    volumes = np.full((19, 3, 1), 100.0)
    volumes[:, 0], volumes[:, 2] = 90.0, 110.0  # mean 100, standard deviation 10
    reference = 103.0 + np.arange(19, dtype=float)[:, None]
    made = VolumeInterval.fit("a", volumes, reference, floor=0.05, **(ABOUT | {"samples": 3}))
    # of 19 distances from 3 / 15 to 21 / 15 the places are ceil(20 * 0.95) = 19 from either end
    assert made.shifts["a"] == pytest.approx(12 / 15, abs=1e-4)
    assert made.factors["a"] == pytest.approx(9 / 15, abs=1e-4)
    low, high = made.interval("a", np.array([90.0, 100.0, 110.0]))
    assert (low, high) == pytest.approx((103, 121), abs=0.01)
    # with 18 there are too few for each end by itself: ceil(19 * 0.9) = 18 of the distances without a sign
    made = VolumeInterval.fit("a", volumes[1:], reference[1:], **(ABOUT | {"samples": 3}))
    assert made.shifts["a"] == 0
    assert made.factors["a"] == pytest.approx(21 / 15, abs=1e-4)


def test_an_interval_does_not_go_below_nothing_and_has_the_unit_of_its_volumes() -> None:
    made = VolumeInterval(factors={"a": 50.0}, cases=20, **ABOUT)
    low, high = made.interval("a", np.array([1.0, 2.0, 3.0]))
    assert low == 0
    _, high_in_ml = made.interval("a", np.array([1.0, 2.0, 3.0]) / 1000)
    assert high_in_ml == pytest.approx(high / 1000)


def test_a_model_that_finds_too_much_as_a_rule_has_its_middle_below() -> None:
    volumes, reference = cases(200, 3, bias=1.3, noise=0.05)
    made = VolumeInterval.fit("ab", volumes, reference, **ABOUT)
    middle = np.mean(made.interval("a", volumes[0, :, 0])) / volumes[0, :, 0].mean()
    assert middle == pytest.approx(1 / 1.3, abs=0.03)
    assert made.interval("a", volumes[0, :, 0])[1] < volumes[0, :, 0].mean()


def test_too_few_cases_are_refused() -> None:
    assert min_cases(0.9) == 9
    volumes, reference = cases(9, 0)
    assert VolumeInterval.fit("ab", volumes, reference, **ABOUT).factors
    with pytest.raises(BadInput, match="needs 9"):
        VolumeInterval.fit("ab", volumes[:8], reference[:8], **ABOUT)


def test_a_class_that_was_not_looked_for_has_no_factor() -> None:
    volumes, reference = cases(20, 0)
    reference[:, 1] = np.nan
    made = VolumeInterval.fit("ab", volumes, reference, **ABOUT)
    assert set(made.factors) == {"a"}
    assert set(made.with_coverage("ab", volumes, reference).coverage) == {"a"}
    with pytest.raises(BadInput, match="no calibrated interval; use one of a"):
        made.interval("b", np.ones(5))


def test_cases_without_the_class_tell_nothing() -> None:
    volumes, reference = cases(20, 0)
    nothing = np.zeros((30, 5, 2)), np.zeros((30, 2))
    made = VolumeInterval.fit("ab", volumes, reference, **ABOUT)
    more = VolumeInterval.fit(
        "ab", np.concatenate([volumes, nothing[0]]), np.concatenate([reference, nothing[1]]), **ABOUT
    )
    assert more.factors == made.factors


def test_what_is_often_missed_outright_has_no_factor() -> None:
    volumes, reference = cases(20, 0)
    volumes[:5, :, 0] = 0  # no sample finds it, and no width bounds it
    made = VolumeInterval.fit("ab", volumes, reference, **ABOUT)
    assert set(made.factors) == {"b"}
    volumes[:5] = 0
    with pytest.raises(BadInput, match="miss entirely"):
        VolumeInterval.fit("ab", volumes, reference, **ABOUT)


@pytest.mark.parametrize("samples", [1, 2])
def test_two_samples_make_no_interval(samples: int) -> None:
    made = VolumeInterval(factors={"a": 2.0}, cases=20, **ABOUT)
    with pytest.raises(BadInput, match="too few"):
        made.interval("a", np.ones(samples))


def test_coverage_counts_the_bounds_in() -> None:
    bounds = np.array([[[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]], [[np.nan, np.nan]]])
    found = interval_coverage("a", bounds, np.ones((4, 3, 1)), np.array([[1.0], [2.0], [2.1], [1.0]]))
    assert found.fraction == {"a": pytest.approx(2 / 3)}
    assert found.cases == {"a": 3}
    assert found.overall == pytest.approx(2 / 3)


def test_an_interval_survives_json_and_refuses_what_is_not_finite() -> None:
    made = VolumeInterval(factors={"a": 2.5}, cases=20, **ABOUT)
    assert VolumeInterval.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(ValidationError, match="shifts must be finite"):
        VolumeInterval(factors={"a": 1.0}, shifts={"a": math.inf}, cases=20, **ABOUT)
    for factor in (math.inf, math.nan, -1.0):
        with pytest.raises(ValidationError, match="finite"):
            VolumeInterval(factors={"a": factor}, cases=20, **ABOUT)
