"""The probabilities of each sample, kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_latentseg.core.classes import ClassInfo, class_descendants
from napari_latentseg.core.labels import count_voxels, labels_from_probabilities
from napari_latentseg.core.sample_store import SampleMaps

ONE = (ClassInfo(label=4, name="a", color="#000000"),)
TWO = (
    ClassInfo(label=4, name="a", color="#000000", includes=("b",)),
    ClassInfo(label=2, name="b", color="#ffffff"),
)
PLENTY = 10**8


def drawn(n: int, classes: int, spatial: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Samples `(n, K, *spatial)`, that are steps of 1/255 already."""
    codes = np.random.default_rng(seed).integers(0, 256, (n, classes, *spatial))
    return (codes / 255).astype(np.float32)


def kept(samples: np.ndarray, **more: object) -> SampleMaps:
    _, classes, *leading, height, width = samples.shape
    planes = int(np.prod(leading, dtype=int))
    maps = SampleMaps(classes, planes, (height, width), PLENTY, leading=tuple(leading), **more)
    flat = samples.reshape(len(samples), classes, planes, height, width)
    for number in range(planes):
        for sample in flat[:, :, number]:
            maps.add(number, sample)
    return maps


@given(
    seed=st.integers(0, 99), n=st.integers(1, 4), spatial=st.sampled_from([(5, 6), (3, 5, 6), (2, 3, 4, 5)])
)
def test_what_is_given_out_is_what_was_added(seed, n, spatial):
    samples = drawn(n, 2, spatial, seed)
    maps = kept(samples)
    assert maps.is_complete
    assert (len(maps), maps.sample_count) == (int(np.prod(spatial[:-2], dtype=int)), n)
    assert set(maps.samples_per_plane.tolist()) == {n}
    for i in range(n):
        assert np.array_equal(maps.sample(i), samples[i])
    flat = samples.reshape(n, 2, -1, *spatial[-2:])
    for number in range(len(maps)):
        assert np.array_equal(maps.plane_samples(number), flat[:, :, number])
    with pytest.raises(IndexError):
        maps.sample(n)


def test_other_values_are_right_to_half_a_step():
    values = np.random.default_rng(0).random((3, 1, 9, 9)).astype(np.float32)
    assert np.abs(kept(values).plane_samples(0) - values).max() <= 0.5 / 255 + 1e-6


@given(threshold=st.floats(0.01, 0.99), classes=st.sampled_from([ONE, TWO]))
def test_elements_are_those_of_what_is_given_out(threshold, classes):
    samples = drawn(3, len(classes), (2, 7, 5))
    maps = kept(samples)
    expected = [count_voxels(s, np.float32(threshold), class_descendants(classes)) for s in samples]
    assert maps.voxel_counts(threshold, classes).tolist() == np.array(expected).tolist()
    masks = list(maps.sample_masks(threshold, classes))
    for mask, sample in zip(masks, samples, strict=True):
        assert np.array_equal(mask, labels_from_probabilities(sample, np.float32(threshold), classes))
    part = (slice(1, 2), slice(2, 6), slice(0, 3))
    assert np.array_equal(next(maps.sample_masks(threshold, classes, part)), masks[0][part])


def test_of_a_box_the_rest_is_zero():
    samples = drawn(2, 1, (3, 4, 5))
    maps = SampleMaps(1, 3, (9, 12), PLENTY, box=(2, 6, 6, 11))
    for number in range(3):
        for sample in samples[:, :, number]:
            maps.add(number, sample)
    whole = np.zeros((2, 1, 3, 9, 12), np.float32)
    whole[..., 2:6, 6:11] = samples
    assert np.array_equal(maps.plane_samples(1), whole[:, :, 1])
    assert np.array_equal(maps.sample(1), whole[1])
    assert maps.voxel_counts(0.5, ONE)[:, 0].tolist() == (whole[:, 0] > 0.5).sum(axis=(1, 2, 3)).tolist()


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (1, 2, 0)])
def test_turned_they_lie_as_an_array_does(order):
    samples = drawn(2, 2, (3, 4, 5))
    maps = kept(samples).transpose(order)
    turned = samples.transpose(0, 1, *(2 + i for i in order))
    assert len(maps) == turned.shape[2]
    for number in range(len(maps)):
        assert np.array_equal(maps.plane_samples(number), turned[:, :, number])
    assert np.array_equal(maps.sample(1), turned[1])
    assert np.array_equal(maps.voxel_counts(0.4, TWO), kept(samples).voxel_counts(0.4, TWO))
    back = maps.transpose(np.argsort(order).tolist())
    assert np.array_equal(back.sample(0), samples[0])
    assert np.array_equal(back.plane_samples(2), samples[:, :, 2])
    assert maps.is_complete


def test_beyond_the_limit_nothing_is_kept_and_that_stays_so():
    sample = drawn(1, 1, (40, 40))[0]
    maps = SampleMaps(1, 2, (40, 40), 3000)
    maps.add(0, sample)
    assert maps.is_complete
    maps.add(1, sample)
    assert not maps.is_complete
    assert maps.samples_per_plane.tolist() == [0, 0]
    assert maps.sample_count == 0
    maps.add(0, np.zeros_like(sample))
    assert maps.samples_per_plane.tolist() == [0, 0]
    assert maps.plane_samples(0).shape == (0, 1, 40, 40)
    assert not maps.transpose((1, 0, 2)).is_complete


def test_planes_that_differ_in_count_have_what_all_have():
    samples = drawn(3, 1, (2, 4, 4))
    maps = SampleMaps(1, 3, (4, 4), PLENTY)
    for i in range(3):
        maps.add(0, samples[i, :, 0])
    for i in range(2):
        maps.add(1, samples[i, :, 1])
    assert maps.sample_count == 2
    assert np.array_equal(maps.plane_samples(0), samples[:2, :, 0])
    assert not maps.plane_samples(2).any()


def test_a_result_does_not_go_on_with_the_run():
    samples = drawn(4, 1, (2, 4, 4))
    maps = kept(samples[:3])
    elements = np.array([[5], [6]])
    found = maps.freeze(np.array([True, False]), 0.5, elements)
    maps.add(0, samples[3, :, 0])
    maps.add(1, samples[3, :, 1])
    assert (found.sample_count, maps.sample_count) == (2, 4)
    assert np.array_equal(found.plane_samples(0), samples[:2, :, 0])
    assert not found.plane_samples(1).any()
    # what was counted before anything was rounded is known for its own threshold alone
    assert found.voxel_counts(0.5, ONE) is elements
    assert found.voxel_counts(0.6, ONE)[:, 0].tolist() == (samples[:2, 0, 0] > 0.6).sum(axis=(1, 2)).tolist()
