"""The samples of a run beside the masks of several readers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.sample_store import SampleMaps
from napari_latentseg.data.cases import UNKNOWN_CLASS
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.readers import reader_agreement
from napari_latentseg.inference.reader_scores import ReaderScores

ONE = (ClassInfo(label=1, name="target", color="#ffb000"),)
TWO = (*ONE, ClassInfo(label=2, name="other", color="#00ffb0"))


def result_of(probabilities: NDArray[np.float32], max_bytes: int = 2**20) -> Any:
    """What a run of `(n, K, H, W)` samples keeps."""
    maps = SampleMaps(probabilities.shape[1], 1, probabilities.shape[2:], max_bytes, leading=())
    for sample in probabilities:
        maps.add(0, sample)
    return SimpleNamespace(sample_maps=maps, mask=np.zeros(probabilities.shape[2:], np.uint8))


def scores_of(classes: tuple[ClassInfo, ...], threshold: float = 0.5) -> ReaderScores:
    return ReaderScores(SimpleNamespace(classes=classes), threshold)  # type: ignore[arg-type]


def random(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random(shape, np.float32)


def test_samples_are_cut_at_the_threshold_and_compared_with_every_reader() -> None:
    probabilities = random((5, 1, 8, 9), 1)
    readers = (random((4, 1, 8, 9), 2) > 0.6).astype(np.uint8)
    scores = scores_of(ONE, threshold=0.7)
    scores.add("a", result_of(probabilities), list(readers), LabelMap.for_model(ONE))
    report = scores.report()
    expected = reader_agreement(probabilities[:, 0] > 0.7, readers[:, 0] > 0)
    assert report.readers == 4
    assert report.images[0].name == "a"
    # probabilities are kept as 256 steps, so one near the threshold may fall on its other side
    for name, value in expected.model_dump().items():
        assert getattr(report.mean, name) == pytest.approx(value, abs=0.02)


def test_figures_are_means_over_images_and_present_classes() -> None:
    scores = scores_of(TWO)
    label_map = LabelMap.for_model(TWO)
    probabilities = np.zeros((2, 2, 4, 4), np.float32)
    probabilities[:, 0, :2] = 1  # both samples mark the first class, and nothing of the second
    first = np.zeros((4, 4), np.uint8)
    first[:2] = 1
    scores.add("equal", result_of(probabilities), [first, first], label_map)
    other = first.copy()
    other[3] = 2
    scores.add("one class more", result_of(probabilities), [first, other], label_map)
    equal, more = scores.report().images
    assert equal.ged2 == 0
    expected = reader_agreement(np.zeros((2, 4), bool), np.array([[0, 0, 0, 0], [1, 1, 1, 1]], bool))
    assert more.ged2 == pytest.approx(expected.ged2 / 2)
    assert scores.report().mean.ged2 == pytest.approx((equal.ged2 + more.ged2) / 2)


def test_nothing_is_compared_where_a_reader_says_nothing() -> None:
    probabilities = random((3, 1, 6, 6), 1)
    readers = [(random((6, 6), seed) > 0.5).astype(np.uint8) for seed in (2, 3)]
    readers[1][:, 4:] = UNKNOWN_CLASS
    scores = scores_of(ONE)
    scores.add("a", result_of(probabilities), readers, LabelMap.for_model(ONE))
    left = reader_agreement(
        np.rint(probabilities[:, 0, :, :4] * 255) / 255 > 0.5, np.stack(readers)[:, :, :4] > 0
    )
    assert scores.report().mean.ged2 == pytest.approx(left.ged2)


def test_a_class_that_was_not_annotated_is_left_out() -> None:
    probabilities = random((3, 2, 6, 6), 1)
    reader = (random((6, 6), 2) > 0.5).astype(np.uint8)
    one_of_two = LabelMap(TWO, {1: "target"}, "a set", others_are_background=True)
    scores = scores_of(TWO)
    scores.add("a", result_of(probabilities), [reader], one_of_two)
    alone = scores_of(TWO)
    alone.add("a", result_of(np.where([[[True]], [[False]]], probabilities, 0)), [reader], one_of_two)
    assert scores.report().mean.reader_distance == alone.report().mean.reader_distance == 0


def test_samples_that_were_given_up_are_told() -> None:
    with pytest.raises(BadInput, match="its samples do not fit into memory"):
        scores_of(ONE).add(
            "a", result_of(random((3, 1, 32, 32), 1), max_bytes=10), [np.zeros((32, 32), np.uint8)],
            LabelMap.for_model(ONE),
        )  # fmt: skip
