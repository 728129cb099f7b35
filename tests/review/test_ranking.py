from __future__ import annotations

from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import pytest
from tests.helpers.made import classes_of, made

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.scores import score
from napari_latentseg.measure import measure
from napari_latentseg.review import (
    DEFAULT_MEASURE,
    MEASURES,
    available_measures,
    rank,
    uncertainty_basis,
    uncertainty_profile,
)

GEOMETRY = Geometry.from_spacing("zyx", (3.0, 1.0, 1.0), "mm")
SHAPE = (6, 32, 32)


def square(plane: int, half: int, centre: tuple[int, int] = (12, 12), value: float = 1.0) -> Any:
    found = np.zeros(SHAPE)
    y, x = centre
    found[plane, y - half : y + half, x - half : x + half] = value
    return found


def samples(n: int = 5) -> Any:
    """Plane 1: sure. Plane 2: edges that move. Plane 3: there in some samples only. Others: nothing."""
    each = []
    for i in range(n):
        one = square(1, 6) + square(2, 7 - i % 2)
        if i % 2 == 0:
            one += square(3, 3)
        each.append([one])
    return np.stack(each)


@pytest.fixture(scope="module")
def found():
    return made(samples(), GEOMETRY)


@pytest.mark.parametrize("key", MEASURES)
def test_every_measure_tells_the_sure_from_the_unsure(found, key):
    values = uncertainty_profile(found, key)
    assert values.shape == (6,)
    assert (values[[0, 1, 4, 5]] == 0).all()
    assert (values[[2, 3]] > 0).all()
    ranked = rank(found, key)
    assert {one.index for one in ranked} == {(2,), (3,)}
    assert [one.uncertainty for one in ranked] == sorted(values[[2, 3]], reverse=True)
    assert all(one.measure == key and one.kind == "slice" for one in ranked)


def test_measures_by_hand(found):
    p = found.mean[0].astype(np.float64)
    with np.errstate(all="ignore"):
        bits = -np.nan_to_num(p * np.log2(p)) - np.nan_to_num((1 - p) * np.log2(1 - p))
    assert uncertainty_profile(found, "entropy") == pytest.approx(bits.mean(axis=(1, 2)))
    assert uncertainty_profile(found, "entropy-sum") == pytest.approx(bits.sum(axis=(1, 2)))
    assert uncertainty_profile(found, "expected-error") == pytest.approx(
        np.minimum(p, 1 - p).sum(axis=(1, 2))
    )
    assert uncertainty_profile(found, "variance") == pytest.approx((p * (1 - p)).sum(axis=(1, 2)), abs=1e-4)
    cut = samples()[:, 0] > 0.5
    for plane in (2, 3):
        pairs = [1 - score(cut[i, plane], cut[j, plane]).dsc for i in range(5) for j in range(i)]
        assert uncertainty_profile(found, "disagreement")[plane] == pytest.approx(np.mean(pairs))
        own = [1 - score(found.mask[plane] == 1, cut[i, plane]).dsc for i in range(5)]
        assert uncertainty_profile(found, "mask-disagreement")[plane] == pytest.approx(np.mean(own))
        areas = cut[:, plane].sum(axis=(1, 2))
        assert uncertainty_profile(found, "size-spread")[plane] == pytest.approx(areas.std(ddof=1))
    m = found.mask == 1
    for plane in range(6):
        inside, size = p[plane][m[plane]].sum(), m[plane].sum()
        expected = 1 - (2 * inside + 10) / (p[plane].sum() + size + 10)
        assert uncertainty_profile(found, "expected-dice-error")[plane] == pytest.approx(expected, abs=1e-6)


def test_the_boundary_alone(found):
    """Variance far from the mask's boundary does not count along it."""
    variance = found.variance.copy()
    variance[0, 2, 25:, 25:] = 0.25
    far = replace(found, variance=variance)
    assert uncertainty_profile(far, "boundary-variance") == pytest.approx(
        uncertainty_profile(found, "boundary-variance")
    )
    assert uncertainty_profile(far, "variance")[2] > uncertainty_profile(found, "variance")[2] + 10


def test_why(found):
    why = {one.index[0]: one.reason for one in rank(found, "expected-error")}
    assert why == {2: "boundary", 3: "presence"}
    assert {one.reason for one in rank(found, "size-spread")} == {"volume", "presence"}


def test_the_box_shows_the_doubt(found):
    (one,) = (one for one in rank(found) if one.index == (3,))
    assert one.box == ((3, 4), (9, 15), (9, 15))


def test_the_class_that_is_least_sure_is_named():
    sure, moving = square(2, 4, (8, 8)), [square(2, 5 - i % 2, (22, 22)) for i in range(5)]
    found = made(np.stack([[sure, one] for one in moving]), GEOMETRY, classes=classes_of("a", "b"))
    alone = made(np.stack([[one] for one in moving]), GEOMETRY)
    for key, share in (("expected-dice-error", 0.5), ("entropy-sum", 1.0)):  # a mean over classes, a sum
        (one,) = rank(found, key)
        assert (one.name, one.label) == ("b", 2)
        assert one.uncertainty == pytest.approx(share * rank(alone, key)[0].uncertainty)


def test_objects_and_what_the_mask_leaves_out():
    def one(i: int) -> Any:
        sure = square(1, 5, (8, 8)) + square(2, 5, (8, 8))
        moving = square(4, 4 - i % 2, (24, 24))
        missed = square(1, 2, (26, 6), 0.4)
        return [sure + moving + missed]

    found = made(np.stack([one(i) for i in range(5)]), GEOMETRY)
    ranked = rank(found, "expected-error", "objects")
    assert {(o.object_number, o.index, o.reason) for o in ranked} == {
        (2, (4,), "boundary"),
        (0, (1,), "presence"),
    }
    assert all(o.kind == "object" for o in ranked)
    numbers = {m.object_number: m.box for m in measure(found)}
    assert {o.object_number: o.box for o in ranked}[2] == numbers[2]
    assert {o.object_number: o.box for o in ranked}[0] == ((1, 2), (24, 28), (4, 8))
    assert {o.object_number: o.uncertainty for o in ranked}[0] == pytest.approx(16 * 102 / 255)
    assert len({o.identity for o in ranked}) == 2


@pytest.mark.parametrize("key", MEASURES)
def test_an_organ_is_one_object_with_the_tumour_that_cuts_it(key):
    """As it is measured: the numbers of its objects are those of the table."""
    organ = ClassInfo(label=1, name="organ", color="#ff0000", includes=("tumour",))
    tumour = ClassInfo(label=2, name="tumour", color="#00ff00")
    each = []
    for i in range(5):
        whole = square(2, 7 - i % 2)
        part = np.zeros_like(whole)
        part[2, 11:14] = whole[2, 11:14]
        each.append([whole, part])
    found = made(np.stack(each), GEOMETRY, classes=(organ, tumour))
    ranked = {(o.name, o.object_number): o for o in rank(found, key, "objects")}
    rows = {(m.name, m.object_number): m for m in measure(found) if m.object_number}
    assert set(rows) == {("organ", 1), ("tumour", 1)}
    assert set(ranked) <= set(rows)
    assert ("organ", 1) in ranked
    alone = made(np.stack([[one[0]] for one in each]), GEOMETRY)
    (expected,) = rank(alone, key, "objects")
    assert ranked["organ", 1].uncertainty == pytest.approx(expected.uncertainty)
    assert ranked["organ", 1].box == expected.box == rows["organ", 1].box


@pytest.mark.parametrize("key", MEASURES)
def test_a_sure_tumour_inside_an_organ_adds_no_doubt_to_the_slice(key):
    """The organ is scored with its parts: the border between the two is no boundary of the organ."""
    organ = ClassInfo(label=1, name="organ", color="#ff0000", includes=("tumour",))
    tumour = ClassInfo(label=2, name="tumour", color="#00ff00")
    wholes = [square(2, 7 - i % 2) for i in range(5)]
    part = np.zeros_like(wholes[0])
    part[2, 11:14, 11:14] = wholes[0][2, 11:14, 11:14]
    found = made(np.stack([[whole, part] for whole in wholes]), GEOMETRY, classes=(organ, tumour))
    (by_slice,) = rank(found, key)
    (expected,) = rank(made(np.stack([[whole] for whole in wholes]), GEOMETRY), key)
    classes = 2 if MEASURES[key].averages_classes else 1
    assert by_slice.uncertainty * classes == pytest.approx(expected.uncertainty)
    assert (by_slice.name, by_slice.box, by_slice.reason) == ("organ", expected.box, expected.reason)


@pytest.mark.parametrize("key", MEASURES)
def test_an_object_by_itself_is_as_unsure_as_its_slice(key):
    """A mask of one object in one plane: the sums over its surroundings are those of the plane."""
    moving = np.stack([[square(4, 4 - i % 2)] for i in range(5)])
    found = made(moving, GEOMETRY)
    (by_slice,), (by_object,) = rank(found, key), rank(found, key, "objects")
    if key == "entropy":  # a mean over the elements that count
        assert by_object.uncertainty > by_slice.uncertainty
    else:
        assert by_object.uncertainty == pytest.approx(by_slice.uncertainty)


def test_an_edited_mask_is_looked_at_instead(found):
    edited = found.mask.copy()
    edited[1] = 0
    key = "expected-dice-error"
    assert uncertainty_profile(found, key, mask=edited)[1] == pytest.approx(1 - 10 / (144 + 10))
    assert rank(found, key, mask=edited)[0].index == (1,)


def test_points_in_time():
    first = samples()
    still = np.repeat(first[:, :, 1:2], 6, axis=2)
    both = np.stack([still, first], axis=2)  # (n, K, t, z, y, x)
    geometry = Geometry.from_spacing("tzyx", (1.0, 3.0, 1.0, 1.0), "mm")
    found = made(both, geometry, "tzyx")
    assert uncertainty_profile(found).shape == (2, 6)
    assert {one.index for one in rank(found)} == {(1, 2), (1, 3)}
    ranked = rank(found, by="objects")
    assert {one.index[0] for one in ranked} == {1}
    assert all(one.box[0] == (1, 2) and len(one.box) == 4 for one in ranked)


def test_a_result_on_disk_is_ranked_alike(found, monkeypatch):
    chunks = (1, 1, 16, 16)
    lazy = replace(found, mask=da.from_array(found.mask, chunks=chunks[1:]),
                   mean=da.from_array(found.mean, chunks=chunks),
                   variance=da.from_array(found.variance, chunks=chunks))  # fmt: skip
    for key in MEASURES:
        assert rank(lazy, key) == rank(found, key)
    expected = {key: uncertainty_profile(found, key) for key in MEASURES}
    monkeypatch.setattr("napari_latentseg.measure.timepoint._MAX_BLOCK_VOXELS", 5 * 32)  # bands of five rows
    for key, values in expected.items():
        assert uncertainty_profile(lazy, key) == pytest.approx(values)


def test_what_can_be_ranked_by(found):
    assert available_measures(found)[0] == DEFAULT_MEASURE
    assert set(available_measures(found)) == set(MEASURES)
    read_back = replace(found, sample_maps=None)
    assert set(available_measures(read_back)) == {
        key for key, m in MEASURES.items() if m.required != "samples"
    }
    with pytest.raises(BadInput, match="were not kept"):
        rank(read_back, "disagreement")
    assert uncertainty_basis(found).startswith("5 samples from")


def graded() -> Any:
    found = samples(1)
    found[:, :, 3][found[:, :, 3] == 0] = 0.1
    return found


def test_one_answer_is_ranked_by_its_own_probabilities():
    found = made(graded(), GEOMETRY, source="none")
    assert {MEASURES[key].required for key in available_measures(found)} == {"mean"}
    assert {one.measure for one in rank(found)} == {available_measures(found)[0]}
    assert "no samples" in uncertainty_basis(found)
    with pytest.raises(BadInput, match="needs 3 samples or more, and the result has the probabilities of"):
        rank(found, "variance")


def test_two_samples_that_are_all_yes_or_no_are_not_called_one():
    found = made(np.zeros_like(samples(2)), GEOMETRY)
    with pytest.raises(BadInput, match="has 2 samples, too few for a variance, and probabilities of 0 and 1"):
        rank(found)


def test_one_answer_that_is_all_yes_or_no_is_refused():
    found = made(samples(1), GEOMETRY, source="none")
    with pytest.raises(BadInput, match="single prediction with probabilities of 0 and 1"):
        rank(found)
    with pytest.raises(BadInput, match="single prediction with probabilities of 0 and 1"):
        uncertainty_profile(found)


@pytest.mark.parametrize(
    ("given", "why"),
    [({"measure": "guess"}, "'guess' is not known"), ({"by": "cells"}, "'cells' is not known")],
)
def test_what_is_not_known(found, given, why):
    with pytest.raises(BadInput, match=why):
        rank(found, **given)


def test_a_mask_of_another_shape(found):
    with pytest.raises(BadInput, match="has shape"):
        rank(found, mask=found.mask[1:])


def test_progress(found):
    for by in ("slices", "objects"):
        told: list[float] = []
        rank(found, by=by, progress=told.append)
        assert told == sorted(told)
        assert told[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_every_measure_says_what_it_is(measure):
    assert measure.title
    assert measure.description
    assert measure.source
