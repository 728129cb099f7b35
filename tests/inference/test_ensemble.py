"""Running moments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_latentseg.inference.ensemble import Ensemble


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), classes=st.integers(1, 3), spread=st.floats(1e-3, 1), seed=st.integers(0, 2**31))
def test_welford_equals_two_passes(n: int, classes: int, spread: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.random((classes, 5, 7)) * (1 - spread)
    samples = (centre + spread * rng.random((n, classes, 5, 7))).astype(np.float32)
    ensemble = Ensemble(classes, 1, (5, 7))
    for sample in samples:
        ensemble.add_sample(0, sample, 0.5)
    exact = samples.astype(np.float64)
    np.testing.assert_allclose(ensemble.mean[0], exact.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(ensemble.variance()[0], exact.var(axis=0), atol=1e-6)
    assert ensemble.samples_per_plane.tolist() == [n]


def test_planes_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(1)
    samples = rng.random((3, 4, 1, 6, 5)).astype(np.float32)
    ensemble = Ensemble(1, 3, (6, 5))
    for plane, number in ((2, 0), (0, 0), (0, 1), (2, 1), (0, 2)):
        ensemble.add_sample(plane, samples[plane, number], 0.5)
    assert ensemble.samples_per_plane.tolist() == [3, 0, 2]
    np.testing.assert_allclose(ensemble.mean[0], samples[0, :3].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(ensemble.mean[2], samples[2, :2].mean(axis=0), atol=1e-6)
    assert not ensemble.mean[1].any()
    assert not ensemble.variance()[1].any()


def test_elements_of_one_class_are_those_above_the_threshold() -> None:
    ensemble = Ensemble(1, 2, (2, 3))
    ensemble.add_sample(0, np.array([[[0.1, 0.6, 0.6], [0.5, 0.51, 0.9]]], np.float32), 0.5)
    ensemble.add_sample(1, np.full((1, 2, 3), 0.7, np.float32), 0.5)
    ensemble.add_sample(0, np.zeros((1, 2, 3), np.float32), 0.5)
    assert ensemble.voxel_counts().tolist() == [[10], [0]]
    assert ensemble.voxel_counts(np.array([True, False])).tolist() == [[4], [0]]


def test_elements_of_several_classes_go_to_the_most_probable() -> None:
    sample = np.zeros((2, 1, 4), np.float32)
    sample[0, 0] = [0.9, 0.6, 0.2, 0.55]
    sample[1, 0] = [0.1, 0.7, 0.3, 0.1]
    ensemble = Ensemble(2, 1, (1, 4))
    ensemble.add_sample(0, sample, 0.5)
    assert ensemble.voxel_counts().tolist() == [[2, 1]]


def test_nothing_added_gives_no_sample() -> None:
    assert Ensemble(3, 2, (4, 4)).voxel_counts().shape == (0, 3)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_equal_samples_have_no_variance_at_all(value: float) -> None:
    ensemble = Ensemble(1, 1, (3, 3))
    for _ in range(7):
        ensemble.add_sample(0, np.full((1, 3, 3), value, np.float32), 0.5)
    assert not ensemble.variance().any()


def test_memory_does_not_grow_with_the_samples() -> None:
    ensemble = Ensemble(1, 2, (64, 64))
    sizes = []
    sample = np.random.default_rng(0).random((1, 64, 64)).astype(np.float32)
    for _ in range(50):
        ensemble.add_sample(0, sample, 0.5)
        arrays = [v for v in vars(ensemble).values() if isinstance(v, np.ndarray)]
        # what is kept of each sample is one number a class and plane
        sizes.append(sum(a.nbytes for a in arrays))
    assert len(set(sizes)) == 1
    assert sum(e.nbytes for e in ensemble._voxel_counts) == 50 * 2 * 8
