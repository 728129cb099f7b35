"""How many samples assign a voxel to a class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.segmentation import segmentation

from napari_latentseg.core.agreement import agreement_counts, agreement_unavailable_reason
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.hints import Hint
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.reweight import reweight
from napari_latentseg.core.sample_store import SampleMaps
from napari_latentseg.core.segmentation import Segmentation

LESION = (ClassInfo(label=3, name="lesion", color="#ffb000"),)
NESTED = (
    ClassInfo(label=1, name="liver", color="#d90b7a", includes=("tumour",)),
    ClassInfo(label=7, name="tumour", color="#b2b21b"),
)


def sampled(samples: np.ndarray, classes: tuple[ClassInfo, ...], **record: object) -> Segmentation:
    """The result of samples `(n, K, *spatial)`."""
    n, k, *leading, height, width = samples.shape
    planes = int(np.prod(leading, dtype=int))
    maps = SampleMaps(k, planes, (height, width), 10**9, leading=tuple(leading))
    for sample in samples.reshape(n, k, planes, height, width):
        for number in range(planes):
            maps.add(number, sample[:, number])
    base = segmentation()
    mean = samples.mean(axis=0)
    return replace(
        base,
        mask=labels_from_probabilities(mean, 0.5, classes),
        mean=mean,
        variance=samples.var(axis=0),
        axes="zyx"[3 - len(leading) - 2 :],
        classes=classes,
        sample_maps=maps,
        record=base.record.replace(classes=classes, samples=n, samples_asked=n, **record),
    )


def test_counts_follow_the_threshold() -> None:
    samples = np.array([0.2, 0.6, 0.7, 0.9], dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 2, 3))
    samples[:, :, 0, 0] = 0
    result = sampled(samples.astype(np.float32), LESION)
    for threshold, count in {0.1: 4, 0.5: 3, 0.65: 2, 0.8: 1, 0.95: 0}.items():
        counts = agreement_counts(result.with_threshold(threshold))
        assert counts.dtype == np.uint8
        assert counts.tolist() == [[[0, count, count], [count, count, count]]]


def test_hints_weight_the_counts() -> None:
    samples = np.zeros((4, 1, 1, 3), np.float32)
    samples[:, 0, 0] = [[0.9, 0.1, 0.9], [0.9, 0.9, 0.1], [0.9, 0.9, 0.1], [0.9, 0.1, 0.1]]
    hinted = reweight(sampled(samples, LESION), [Hint(point=(0, 1))])
    weights = hinted.record.hints.weights
    shares = [1, weights[1] + weights[2], weights[0]]
    assert agreement_counts(hinted).tolist() == [[[round(4 * share) for share in shares]]]
    assert agreement_counts(hinted).dtype == np.uint8


def test_a_part_counts_for_the_whole_too() -> None:
    samples = np.zeros((3, 2, 1, 3), dtype=np.float32)
    samples[:, 0] = 0.9  # everywhere in the liver
    samples[:2, 1, 0, 0] = 0.6  # two samples see a tumour here, less probable than the liver
    counts = agreement_counts(sampled(samples, NESTED))
    assert counts[0].tolist() == [[3, 3, 3]]
    assert counts[1].tolist() == [[2, 0, 0]]


@given(seed=st.integers(0, 99), threshold=st.sampled_from([0.3, 0.5, 0.71]))
def test_counts_are_those_of_the_masks_of_the_samples(seed: int, threshold: float) -> None:
    classes = (NESTED[0].model_copy(update={"includes": ()}), NESTED[1])
    codes = np.random.default_rng(seed).integers(0, 256, (4, 2, 3, 5, 6))
    samples = (codes / 255).astype(np.float32)
    counts = agreement_counts(sampled(samples, classes, threshold=threshold))
    masks = np.stack([labels_from_probabilities(sample, threshold, classes) for sample in samples])
    for k, info in enumerate(classes):
        assert np.array_equal(counts[k], (masks == info.label).sum(axis=0))


def test_samples_are_post_processed_as_for_their_volumes() -> None:
    samples = np.zeros((3, 1, 8, 8), dtype=np.float32)
    samples[:, 0, 1:5, 1:5] = 0.9
    samples[0, 0, 7, 7] = 0.9  # a single pixel
    result = sampled(samples, LESION)
    assert agreement_counts(result)[0, 7, 7] == 1
    cleaned = result.with_threshold(0.5, PostProcess(keep_largest=True))
    assert cleaned.record.volumes_cleaned
    assert agreement_counts(cleaned)[0, 7, 7] == 0
    assert agreement_counts(cleaned)[0, 2, 2] == 3


def test_outside_the_region_of_interest_no_sample_agrees() -> None:
    samples = np.full((3, 1, 4, 6, 6), 0.9, dtype=np.float32)
    roi = (slice(1, 3), slice(0, 6), slice(2, 5))
    result = replace(sampled(samples, LESION), roi=roi)
    counts = agreement_counts(result)
    assert (counts[(0, *roi)] == 3).all()
    assert counts.sum() == 3 * 2 * 6 * 3


def test_many_samples_need_a_wider_type() -> None:
    counts = agreement_counts(sampled(np.full((300, 1, 2, 2), 0.9, dtype=np.float32), LESION))
    assert counts.dtype == np.uint16
    assert (counts == 300).all()


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda r: replace(r, record=r.record.replace(source="none")), "single pass"),
        (lambda r: replace(r, variance=None), "3 different samples"),
        (lambda r: replace(r, sample_maps=None), "not kept"),
        (lambda r: r.sample_maps.discard_all() or r, "memory limit"),
    ],
)
def test_a_result_without_agreement_says_why(change, part: str) -> None:
    result = sampled(np.full((3, 1, 2, 2), 0.9, dtype=np.float32), LESION)
    assert agreement_unavailable_reason(result) == ""
    without = change(result)
    assert part in agreement_unavailable_reason(without)
    assert agreement_counts(without) is None
