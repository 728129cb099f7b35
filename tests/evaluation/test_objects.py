"""Objects of a prediction matched with those of a reference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.objects import ObjectCounts, match_objects, summarise_objects


def boxes(*corners: tuple[int, int, int, int], shape: tuple[int, ...] = (20, 30)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for top, left, bottom, right in corners:
        mask[..., top:bottom, left:right] = True
    return mask


REFERENCE = boxes((1, 1, 5, 5), (1, 10, 5, 14), (10, 1, 14, 5))


@pytest.mark.parametrize(
    ("prediction", "counts"),
    [
        (REFERENCE, (3, 0, 0)),
        (boxes(), (0, 3, 0)),
        (boxes((1, 1, 5, 5)), (1, 2, 0)),
        (boxes((1, 1, 5, 14), (10, 1, 14, 5)), (1, 2, 1)),  # two objects that are one in the prediction
        (boxes((1, 1, 5, 2), (1, 3, 5, 5)), (0, 3, 2)),  # one object in two halves, neither above one half
        (boxes((1, 2, 5, 6)), (1, 2, 0)),  # moved by one pixel: 12 of 20
        (boxes((1, 1, 3, 5)), (0, 3, 1)),  # just one half is no match
        (REFERENCE | boxes((17, 20, 18, 21)), (3, 0, 1)),
    ],
)
def test_objects_match_above_one_half(prediction: np.ndarray, counts: tuple[int, int, int]) -> None:
    assert match_objects(prediction, REFERENCE) == counts


def test_objects_that_touch_at_a_corner_are_one_object() -> None:
    reference = boxes((0, 0, 4, 4), (4, 4, 8, 8))
    assert match_objects(reference, reference) == (1, 0, 0)


def test_the_objects_of_a_volume_go_across_slices() -> None:
    reference = boxes((1, 1, 5, 5), shape=(3, 20, 30))
    prediction = reference.copy()
    prediction[1] = False
    assert match_objects(prediction, reference) == (0, 1, 2)


def test_the_counts_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        reference_field, change = ndimage.gaussian_filter(rng.normal(size=(2, 60, 60)), (0, 2, 2))
        reference, prediction = reference_field > 0.1, reference_field + 0.5 * change > 0.1
        labels = [ndimage.label(mask, np.ones((3, 3)))[0] for mask in (prediction, reference)]
        matched = sum(
            np.logical_and(a, b).sum() / np.logical_or(a, b).sum() > 0.5
            for a in (labels[0] == i for i in range(1, labels[0].max() + 1))
            for b in (labels[1] == j for j in range(1, labels[1].max() + 1))
        )
        counts = match_objects(prediction, reference)
        assert counts == (matched, labels[1].max() - matched, labels[0].max() - matched)
        assert counts.matched > 0


def test_masks_of_other_shapes_are_refused() -> None:
    with pytest.raises(BadInput, match="shape"):
        match_objects(boxes(), boxes(shape=(20, 31)))


def test_images_without_any_object_do_not_count() -> None:
    nothing = ObjectCounts(0, 0, 0)
    images = [{"nucleus": ObjectCounts(2, 1, 1)}, {"nucleus": nothing}, {"nucleus": ObjectCounts(0, 0, 2)}]
    scores = summarise_objects([{**image, "other": nothing} for image in images])
    assert list(scores) == ["nucleus"]
    (nucleus,) = scores.values()
    assert (nucleus.images, nucleus.matched, nucleus.missed, nucleus.extra) == (2, 2, 1, 3)
    assert nucleus.average_precision == pytest.approx((2 / 4 + 0) / 2)
    assert (nucleus.precision, nucleus.recall) == (pytest.approx(2 / 5), pytest.approx(2 / 3))
    assert nucleus.f1 == pytest.approx(4 / 8)


def test_what_has_no_denominator_is_none() -> None:
    (scores,) = summarise_objects([{"nucleus": ObjectCounts(0, 2, 0)}]).values()
    assert (scores.precision, scores.recall, scores.f1) == (None, 0, 0)
