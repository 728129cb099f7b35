"""A model with a temperature: its mean is calibrated, its masks, samples and variance stay as they were."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.predicted import TURNED, picture, predicted, scan_of, started

from napari_latentseg.core.agreement import agreement_counts
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.core.temperature import Temperature
from napari_latentseg.models.folder import Model

WARM = Temperature(value=1.6, shift=-0.3)
THRESHOLD = 0.48  # near the middle of what the tiny models predict


def warmed(model: Model, threshold: float = THRESHOLD) -> Model:
    card = model.card.replace(temperature=WARM, threshold=WARM.calibrated_threshold(threshold))
    return replace(model, card=card)


@pytest.fixture
def pair(model: Model) -> tuple[Segmentation, Segmentation]:
    """The same scan without and with a temperature."""
    scan = scan_of(picture(4, 30, 40), "zyx", TURNED)
    return predicted(model, scan, samples=4, threshold=THRESHOLD), predicted(warmed(model), scan, samples=4)


def test_only_mean_and_threshold_change(pair: tuple[Segmentation, Segmentation]) -> None:
    raw, calibrated = pair
    assert raw.mask.any()
    assert not raw.mask.all()
    np.testing.assert_array_equal(calibrated.mean, WARM.calibrated(raw.mean))
    np.testing.assert_array_equal(calibrated.variance, raw.variance)
    np.testing.assert_array_equal(calibrated.volumes, raw.volumes)
    assert np.count_nonzero(calibrated.mask != raw.mask) <= 2  # of those within 1e-6 of the threshold
    assert calibrated.record.temperature == WARM
    assert raw.record.temperature is None
    assert calibrated.record.threshold == WARM.calibrated_threshold(THRESHOLD)
    np.testing.assert_array_equal(calibrated.doubt, np.minimum(calibrated.mean, 1 - calibrated.mean))


def test_another_threshold_holds_for_the_samples_too(pair: tuple[Segmentation, Segmentation]) -> None:
    raw, calibrated = pair
    np.testing.assert_array_equal(agreement_counts(calibrated), agreement_counts(raw))
    moved, calibrated_moved = (
        raw.with_threshold(0.5),
        calibrated.with_threshold(WARM.calibrated_threshold(0.5)),
    )
    np.testing.assert_array_equal(calibrated_moved.volumes, moved.volumes)
    np.testing.assert_array_equal(agreement_counts(calibrated_moved), agreement_counts(moved))
    assert np.count_nonzero(calibrated_moved.mask != moved.mask) <= 2
    back = calibrated_moved.with_threshold(calibrated.record.threshold)
    np.testing.assert_array_equal(back.volumes, calibrated.volumes)
    np.testing.assert_array_equal(back.mask, calibrated.mask)


def test_what_is_not_segmented_stays_zero(model: Model) -> None:
    scan = scan_of(picture(4, 40, 48), "zyx", TURNED)
    found = predicted(warmed(model), scan, samples=3, slices=(1, 2), box=(8, 8, 30, 40))
    assert found.mean[:, 1:3, 8:30, 8:40].any()
    assert not found.mean[:, [0, 3]].any()
    assert not found.mean[:, :, :8].any()


def test_the_preview_is_that_of_the_result(model: Model) -> None:
    run = started(warmed(model), scan_of(picture(30, 40)), samples=3)
    for _ in run:
        pass
    np.testing.assert_array_equal(run.preview(0), run.result().mask)
    once, again = run.result(), run.result()
    np.testing.assert_array_equal(once.mean, again.mean)  # no result changes the sums of the run


def test_more_samples_are_added_to_what_the_model_gave(tiny_model: Model) -> None:
    scan = scan_of(picture(30, 40))
    run = started(warmed(tiny_model), scan, samples=3)
    run.finish()
    run.extend(2)
    longer = run.finish()
    np.testing.assert_allclose(longer.mean, predicted(warmed(tiny_model), scan, samples=5).mean, atol=1e-5)


def test_early_stopping_ends_at_the_same_sample(tiny_model: Model) -> None:
    scan = scan_of(picture(3, 30, 40), "zyx", TURNED)
    raw = predicted(tiny_model, scan, samples=8, threshold=THRESHOLD, tolerance=0.2)
    calibrated = predicted(warmed(tiny_model), scan, samples=8, tolerance=0.2)
    assert calibrated.record.samples == raw.record.samples < 8


def test_a_mean_on_disk_is_calibrated_too(tiny_model: Model) -> None:
    scan = scan_of(picture(3, 30, 40), "zyx", TURNED)
    in_memory = predicted(warmed(tiny_model), scan, samples=3)
    on_disk = predicted(warmed(tiny_model), scan, samples=3, memory_limit=0)
    assert not isinstance(on_disk.mean, np.ndarray)
    np.testing.assert_allclose(np.asarray(on_disk.mean), in_memory.mean, atol=1e-6)
    assert np.count_nonzero(np.asarray(on_disk.mask) != in_memory.mask) <= 2
