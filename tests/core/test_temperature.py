"""The temperature of mean probabilities."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
from pydantic import ValidationError

from napari_latentseg.core.temperature import NO_TEMPERATURE, Temperature

WARM = Temperature(value=1.7, shift=-0.4)
STEEP = Temperature(value=2.8, shift=-0.3, contrast=2.9)


def test_it_divides_the_logit_and_shifts_it() -> None:
    p = np.linspace(0.001, 0.999, 999)
    logits = np.log(p / (1 - p)) / 1.7 - 0.4
    np.testing.assert_allclose(WARM.calibrated(p), 1 / (1 + np.exp(-logits)), rtol=1e-12)


def test_a_contrast_moves_the_middle_and_hardly_the_ends() -> None:
    p = np.linspace(0.001, 0.999, 999)
    logits = np.log(p / (1 - p)) / 2.8 + 2.9 * (2 * p - 1) - 0.3
    np.testing.assert_allclose(STEEP.calibrated(p), 1 / (1 + np.exp(-logits)), rtol=1e-12)
    sharp = Temperature(contrast=2)
    assert sharp.calibrated(np.array([0.5])) == 0.5
    assert sharp.calibrated(np.array([0.3])) < 0.17
    assert sharp.calibrated(np.array([0.9999])) > 0.9999


@pytest.mark.parametrize(
    "temperature",
    [WARM, STEEP, Temperature(value=0.3), Temperature(value=20, shift=3), Temperature(contrast=9)],
)
def test_it_keeps_order_and_the_ends(temperature: Temperature) -> None:
    p = np.linspace(0, 1, 100_001, dtype=np.float32)
    p[1:4] = [1e-40, 1e-30, 1e-10]  # with one that float32 holds with few digits
    calibrated = temperature.calibrated(np.sort(p))
    assert calibrated.dtype == np.float32
    assert calibrated[0] == 0
    assert calibrated[-1] == 1
    assert (np.diff(calibrated) >= 0).all()


def test_a_half_stays_a_half_without_a_shift() -> None:
    half = np.full(10, 0.5, dtype=np.float32)
    assert (Temperature(value=2.3).calibrated(half) == 0.5).all()
    assert Temperature(value=2.3).calibrated_threshold(0.5) == 0.5
    assert Temperature(value=2.3).raw_threshold(0.5) == 0.5


@pytest.mark.parametrize("temperature", [WARM, STEEP])
@pytest.mark.parametrize("threshold", [0.05, 0.4, 0.5, 0.77, 0.95])
def test_the_mask_stays_at_the_calibrated_threshold(threshold: float, temperature: Temperature) -> None:
    p = np.random.default_rng(0).random((3, 200, 200)).astype(np.float32)
    p[0] = np.round(p[0] * 255) / 255  # as samples are kept, often equal to a threshold
    p[1, :10] = np.float32(threshold)
    changed = (p > threshold) != (temperature.calibrated(p) > temperature.calibrated_threshold(threshold))
    assert np.abs(p[changed] - threshold).max(initial=0) < 1e-5
    assert temperature.raw_threshold(temperature.calibrated_threshold(threshold)) == pytest.approx(
        threshold, abs=1e-5
    )
    # never lower than it was: a value that was equal to it is not above it
    assert temperature.raw_threshold(temperature.calibrated_threshold(threshold)) > threshold - 1e-12


def test_nothing_is_computed_where_nothing_changes() -> None:
    p = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    assert NO_TEMPERATURE.calibrated(p) is p
    assert NO_TEMPERATURE.calibrated_threshold(0.3) == NO_TEMPERATURE.raw_threshold(0.3) == 0.3


def test_arrays_on_disk_and_parts_of_arrays() -> None:
    p = np.random.default_rng(0).random((4, 300, 301)).astype(np.float32)
    expected = WARM.calibrated(p)
    lazy = WARM.calibrated(da.from_array(p, chunks=(1, 100, 100)))
    np.testing.assert_array_equal(lazy.compute(), expected)
    changed = p.copy()
    WARM.calibrate(changed[:, ::2])  # not contiguous
    np.testing.assert_array_equal(changed[:, ::2], expected[:, ::2])
    np.testing.assert_array_equal(changed[:, 1::2], p[:, 1::2])


@pytest.mark.parametrize(
    "field", [{"value": 0}, {"value": -1}, {"value": float("inf")}, {"shift": float("nan")}, {"contrast": -1}]
)
def test_impossible_ones_are_refused(field: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Temperature(**field)
