"""Hints that weight the samples of a result."""

from __future__ import annotations

import json
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from tests.helpers.shown import UNSURE, samples_of_a_ball, segmentation_of

from napari_latentseg import BadInput, Hint, Prompts, reweight
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.hints import effective_samples
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.reweight import hint_weights, reweight_unavailable_reason
from napari_latentseg.core.temperature import Temperature
from napari_latentseg.measure import interval_basis, measure
from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import find_model

SHAPE = (12, 60, 70)
MIDDLE = (UNSURE, 25, 30)


@pytest.fixture(scope="module")
def card():
    return read_card(find_model("breast-ultrasound"))


@pytest.fixture(scope="module")
def samples():
    """Balls of radius 8, 11, 14, 17 and 20 on the slice `UNSURE`."""
    return samples_of_a_ball(SHAPE)


@pytest.fixture
def result(samples, card):
    return segmentation_of(samples, Geometry.from_spacing("zyx", (3, 0.5, 0.7), "mm"), card)


def test_a_sample_weighs_as_much_as_it_agrees(result, samples):
    hints = [Hint(point=(UNSURE, 25, 45.2)), Hint(point=(UNSURE, 25, 49), inside=False)]  # radius 15 and 19
    likelihood = np.maximum(samples[:, 0, UNSURE, 25, 45], 0.02)
    likelihood *= np.maximum(1 - samples[:, 0, UNSURE, 25, 49], 0.02)
    expected = likelihood / likelihood.sum()
    assert expected.argmax() == 3
    np.testing.assert_allclose(hint_weights(result, hints), expected, rtol=1e-4)
    hinted = reweight(result, hints)
    np.testing.assert_allclose(hinted.record.hints.weights, expected, atol=1e-6)
    mean = np.tensordot(expected, samples, 1)
    np.testing.assert_allclose(hinted.mean, mean, atol=1e-5)
    variance = np.tensordot(expected, (samples - mean) ** 2, 1)
    np.testing.assert_allclose(hinted.variance, variance, atol=1e-5)
    np.testing.assert_array_equal(hinted.mask[UNSURE], mean[0, UNSURE] > 0.5)
    assert np.count_nonzero(hinted.mask[UNSURE]) > np.count_nonzero(result.mask[UNSURE])
    assert hinted.record.hints.effective_samples == pytest.approx(1 / (expected**2).sum(), rel=1e-4)


def test_no_sample_is_impossible_and_hints_that_all_share_change_nothing(result):
    hinted = reweight(result, [Hint(point=(0, 0, 0), inside=False), Hint(point=MIDDLE)])
    np.testing.assert_allclose(hinted.record.hints.weights, 0.2, atol=1e-3)
    np.testing.assert_allclose(hinted.mean, result.mean, atol=0.002)
    one_slip = reweight(result, [Hint(point=(0, 0, 0))])
    assert min(one_slip.record.hints.weights) == pytest.approx(0.2, abs=1e-3)
    assert effective_samples(one_slip.record.hints.weights) == pytest.approx(5, rel=1e-3)


def test_weights_do_not_add_up_over_calls(result):
    hint = Hint(point=(UNSURE, 25, 45))
    once = reweight(result, [hint])
    np.testing.assert_array_equal(reweight(once, [hint]).mean, once.mean)
    assert result.record.hints is None


def test_prompts_are_hints_of_any_class(result):
    prompts = Prompts(positive=[(UNSURE, 25, 45)], negative=[(UNSURE, 25, 49)])
    same = [Hint(point=(UNSURE, 25, 45)), Hint(point=(UNSURE, 25, 49), inside=False)]
    assert reweight(result, prompts).record.hints == reweight(result, same).record.hints


def test_nothing_calibrated_holds_and_intervals_follow(result, card):
    hinted = reweight(result, [Hint(point=(UNSURE, 25, 42))])  # the three largest
    basis = interval_basis(hinted, card)
    assert basis.kind == "samples"
    assert "hints re-weighted the samples" in basis.reasons
    (before,), (after,) = measure(result, objects=False), measure(hinted, objects=False)
    weights = np.array(hinted.record.hints.weights)
    assert after.mean == pytest.approx(float(weights @ result.volumes[:, 0]))
    assert after.mean > before.mean
    assert after.low > before.low
    assert after.interval_source == "samples"
    alone = reweight(result, [Hint(point=(UNSURE, 25, 48)), Hint(point=(UNSURE, 7, 30))])
    assert alone.record.hints.effective_samples < 1.5
    assert interval_basis(alone, card).kind == "none"
    assert "hints" in interval_basis(alone, card).reason


def test_another_threshold_keeps_the_hints(result):
    hinted = reweight(result, [Hint(point=(UNSURE, 25, 45))])
    moved = hinted.with_threshold(0.8)
    assert moved.record.hints == hinted.record.hints
    np.testing.assert_array_equal(moved.mask, hinted.mean[0] > 0.8)
    again = RunRecord.model_validate(json.loads(moved.record.model_dump_json()))
    assert again.hints == hinted.record.hints


def test_the_mean_keeps_its_temperature(result):
    temperature = Temperature(value=2.0, shift=0.3)
    warm = result.record.replace(temperature=temperature)
    hinted = reweight(type(result)(**{**vars(result), "record": warm}), [Hint(point=(UNSURE, 25, 45))])
    raw = reweight(result, [Hint(point=(UNSURE, 25, 45))])
    np.testing.assert_allclose(hinted.mean, temperature.calibrated(raw.mean), atol=1e-6)


def test_what_all_samples_hold_stays_in_the_mask_whatever_the_weights_add_up_to(card):
    rng = np.random.default_rng(0)
    samples = np.round(rng.random((8, 1, 20, 40)) * 255).astype(np.float32) / np.float32(255)
    samples[:, :, 5:15] = 1
    result = segmentation_of(samples, Geometry.from_spacing("yx"), card)
    warm = result.record.replace(temperature=Temperature(value=1.5, shift=-0.2))
    result = type(result)(**{**vars(result), "record": warm})
    for column in range(40):
        hinted = reweight(result, [Hint(point=(2, column)), Hint(point=(17, column), inside=False)])
        assert np.isfinite(hinted.mean).all()
        assert hinted.mean.max() <= 1
        assert hinted.mask[5:15].all()


@pytest.mark.parametrize(
    ("hints", "why"),
    [
        ([], "there are none"),
        ([Hint(point=(25, 30))], "2 numbers"),
        ([Hint(point=(12, 25, 30))], "outside the image of 12 x 60 x 70"),
        ([Hint(point=(-0.6, 25, 30))], "outside the image"),
        ([Hint(point=MIDDLE, label=9)], "no class 9"),
        ([Hint(point=MIDDLE), Hint(point=MIDDLE, inside=False)], "both inside and outside"),
    ],
)
def test_impossible_hints_are_refused_in_one_line(result, hints, why):
    with pytest.raises(BadInput, match=why):
        reweight(result, hints)


def on_disk(result):
    """The result as a run gives it whose mean exceeds the memory limit."""
    chunks = {"mask": (1, 60, 70), "mean": (1, 1, 60, 70), "variance": (1, 1, 60, 70)}
    lazy = {name: da.from_array(getattr(result, name), chunks=size) for name, size in chunks.items()}
    return replace(result, **lazy)


def test_a_mean_on_the_disk_is_weighted_there(result):
    temperature = Temperature(value=1.6, shift=-0.4)
    result = replace(result, record=result.record.replace(temperature=temperature))
    hints = [Hint(point=(UNSURE, 25, 45)), Hint(point=(UNSURE, 2, 2), inside=False)]
    expected = reweight(result, hints)
    steps = []
    found = reweight(on_disk(result), hints, progress=lambda done, total: steps.append((done, total)))
    for name in ("mask", "mean", "variance"):
        lazy = getattr(found, name)
        assert isinstance(lazy, da.Array), name
        np.testing.assert_array_equal(np.asarray(lazy), getattr(expected, name))
        assert lazy.chunks[-3] == (1,) * SHAPE[0]  # a slice can be read alone
    assert found.record == expected.record
    np.testing.assert_array_equal(found.volumes, expected.volumes)
    assert steps == [(number, SHAPE[0]) for number in range(SHAPE[0])]


def test_a_result_without_its_samples_says_so(result):
    without = type(result)(**{**vars(result), "sample_maps": None})
    assert "not kept" in reweight_unavailable_reason(without)
    with pytest.raises(BadInput, match="samples were not kept"):
        reweight(without, [Hint(point=MIDDLE)])
    single = type(result)(**{**vars(result), "record": result.record.replace(source="none")})
    assert "single pass" in reweight_unavailable_reason(single)
