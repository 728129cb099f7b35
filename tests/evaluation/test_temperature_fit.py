"""Fitting the temperature of a mean probability, on voxels whose true temperature is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.core.temperature import NO_TEMPERATURE, Temperature
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.mean_histogram import MeanHistogram
from napari_latentseg.evaluation.reliability import ReliabilityAccumulator
from napari_latentseg.evaluation.temperature_fit import TemperatureFit, fit_temperature

HALVES = (np.arange(0, 8, 2), np.arange(1, 8, 2))
FIELDS = {"samples": 5, "source": "augment", "data": "drawn"}


def drawn(
    temperature: Temperature, images: int = 8, count: int = 40_000, seed: int = 0
) -> list[MeanHistogram]:
    """Images whose mean probability is right once it is at the temperature; half of the voxels are sure."""
    rng = np.random.default_rng(seed)
    histograms = []
    for _ in range(images):
        p = 1 / (1 + np.exp(-rng.normal(-1, 3, count)))
        p[: count // 2] = 0
        is_class = rng.random(count) < temperature.calibrated(p)
        histograms.append(MeanHistogram())
        histograms[-1].add(p.astype(np.float32), is_class)
    return histograms


@pytest.mark.parametrize("value", [0.6, 1.3, 2.5])
def test_the_true_temperature_is_found_without_a_shift(value: float) -> None:
    temperature, fit, reliability = fit_temperature(drawn(Temperature(value=value)), HALVES, **FIELDS)
    assert temperature.value == pytest.approx(value, rel=0.03)
    assert temperature.shift == temperature.contrast == 0
    assert (fit.images, fit.samples, fit.source, fit.data) == (8, 5, "augment", "drawn")
    assert [half.images for half in fit.halves] == [4, 4]
    assert fit.ece_after == reliability.ece < 0.006 < fit.ece_before
    assert fit.ece_unsure_after == reliability.ece_unsure < 0.015 < fit.ece_unsure_before
    for half in fit.halves:
        assert half.temperature.value == pytest.approx(value, rel=0.05)
        assert half.ece_after < half.ece_before


def test_a_shift_is_fitted_where_it_is_needed() -> None:
    true = Temperature(value=1.5, shift=-0.6)
    temperature, fit, _ = fit_temperature(drawn(true), HALVES, **FIELDS)
    assert temperature.value == pytest.approx(1.5, rel=0.05)
    assert temperature.shift == pytest.approx(-0.6, abs=0.05)
    assert fit.ece_unsure_after < 0.015
    assert temperature.describe() == f"{temperature.value:.2f}, log-odds shifted by {temperature.shift:.2f}"


@pytest.mark.parametrize("shift", [0.0, -0.6])
def test_a_contrast_is_fitted_where_it_is_needed(shift: float) -> None:
    """Too cautious in the middle and too sure near 0 and 1: no temperature alone corrects both."""
    true = Temperature(value=3, shift=shift, contrast=3)
    temperature, fit, reliability = fit_temperature(drawn(true), HALVES, **FIELDS)
    p = np.linspace(0.001, 0.999, 999)  # value and contrast make up for each other: what counts is the curve
    np.testing.assert_allclose(temperature.calibrated(p), true.calibrated(p), atol=0.02)
    assert temperature.contrast > 2
    assert (temperature.shift != 0) == (shift != 0)
    assert fit.ece_unsure_after == reliability.ece_unsure < 0.015 < 0.04 < fit.ece_unsure_before


def test_each_half_is_judged_at_the_temperature_of_the_other() -> None:
    """Where the halves differ, both are wrong at the other's temperature, and the card says so."""
    histograms = drawn(Temperature(value=1.7)) + drawn(Temperature(value=2.4), seed=1)
    halves = (np.arange(8), np.arange(8, 16))
    temperature, fit, reliability = fit_temperature(histograms, halves, **FIELDS)
    first, second = fit.halves
    assert first.temperature.value == pytest.approx(2.4, rel=0.05)
    assert second.temperature.value == pytest.approx(1.7, rel=0.05)
    assert 1.7 < temperature.value < 2.4
    accumulator = ReliabilityAccumulator()
    for half, test in zip(halves, fit.halves, strict=True):
        for i in half:
            histograms[i].add_to(accumulator, test.temperature)
    by_image = accumulator.reliability(images=16, **FIELDS)
    assert by_image.ece == pytest.approx(reliability.ece, abs=2e-4)
    assert by_image.ece_unsure == pytest.approx(reliability.ece_unsure, abs=1e-3)


def test_the_histogram_counts_as_every_voxel_does() -> None:
    rng = np.random.default_rng(2)
    p = np.concatenate([rng.random(50_000), np.zeros(9), np.ones(7), [1e-30]]).astype(np.float32)
    is_class = rng.random(len(p)) < p
    warm = Temperature(value=1.7, shift=0.2)
    histogram = MeanHistogram()
    histogram.add(p[:1000], is_class[:1000])
    rest = MeanHistogram()
    rest.add(p[1000:], is_class[1000:])
    histogram = histogram + rest
    exact, binned = ReliabilityAccumulator(), ReliabilityAccumulator()
    exact.add(warm.calibrated(p), is_class)
    histogram.add_to(binned, warm)
    one, other = (a.reliability(images=1, **FIELDS) for a in (exact, binned))
    assert other.ece == pytest.approx(one.ece, abs=5e-4)
    assert other.ece_unsure == pytest.approx(one.ece_unsure, abs=5e-4)
    assert sum(other.counts) == len(p)
    assert histogram.calibrated_sum(warm) == pytest.approx(float(warm.calibrated(p).sum()), rel=1e-4)
    assert histogram.calibrated_sum(NO_TEMPERATURE) == pytest.approx(float(p.sum()), rel=1e-6)


def test_too_few_images_and_halves_that_do_not_agree_are_refused() -> None:
    with pytest.raises(BadInput, match="are 4; a temperature needs 5"):
        fit_temperature(drawn(Temperature(value=2))[:4], HALVES, **FIELDS)
    histograms = drawn(Temperature(value=0.4)) + drawn(Temperature(value=2.5), seed=1)
    with pytest.raises(BadInput, match="whose temperatures do not help each other"):
        fit_temperature(histograms, (np.arange(8), np.arange(8, 16)), **FIELDS)


def test_a_model_that_is_never_unsure_gets_none() -> None:
    histograms = []
    for _ in range(8):
        histograms.append(MeanHistogram())
        histograms[-1].add(np.array([0.0, 0, 1], np.float32), np.array([False, True, True]))
    with pytest.raises(BadInput, match="do not help"):
        fit_temperature(histograms, HALVES, **FIELDS)


def test_a_record_is_read_again() -> None:
    _, fit, _ = fit_temperature(drawn(Temperature(value=2)), HALVES, **FIELDS)
    assert TemperatureFit.model_validate_json(fit.model_dump_json()) == fit
    assert " to 0.00" in fit.describe()
    assert "where the mean is unsure" in fit.describe()
