"""Several readers of one image: pairs, consensus, disagreement, and a model beside them."""

from __future__ import annotations

import json
from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.helpers.made import balls, classes_of

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.compare import compare
from napari_latentseg.evaluation.model_beside_readers import ModelMaps
from napari_latentseg.evaluation.reader_comparison import compare_label_maps
from napari_latentseg.evaluation.reader_pairs import Tolerance
from napari_latentseg.evaluation.surface_dice import surface_dice

SPACING = (2.0, 0.5, 1.0)
SHAPE = (14, 40, 30)
GEOMETRY = Geometry.from_spacing("zyx", SPACING, "mm")
ONE = classes_of("lesion")
READERS = [
    balls(SHAPE, SPACING, (centre, radius)).astype(np.uint8)
    for centre, radius in [
        ((14.0, 10.0, 14.0), 7.0),
        ((14.0, 11.0, 15.0), 6.5),
        ((14.0, 9.0, 14.0), 6.0),
        ((13.0, 10.0, 13.0), 7.5),
    ]
]
NAMES = ["r1", "r2", "r3", "r4"]


def model_of(samples: NDArray[np.uint8]) -> ModelMaps:
    mean = samples.astype(np.float32).mean(axis=0)[None]
    variance = samples.astype(np.float32).var(axis=0)[None]
    return ModelMaps("m 1", (mean[0] > 0.5).astype(np.uint8), tuple(samples), len(samples), mean, variance)


def test_pairs_are_what_compare_gives_for_two_masks() -> None:
    compared = compare_label_maps(READERS, NAMES, GEOMETRY, ONE, tolerance=1.0)
    assert [(p.first, p.second) for p in compared.pairs] == list(combinations(NAMES, 2))
    for pair in compared.pairs:
        a, b = READERS[NAMES.index(pair.first)], READERS[NAMES.index(pair.second)]
        (known,) = compare(a, b, GEOMETRY, ONE, assd=True)
        assert (pair.dsc, pair.iou, pair.hd95, pair.assd) == (known.dsc, known.iou, known.hd95, known.assd)
        assert pair.surface_dice == surface_dice(a > 0, b > 0, 1.0, SPACING)
    against = [compare(m, compared.consensus.labels, GEOMETRY, ONE)[0].dsc for m in READERS]
    assert [pair.dsc for pair in compared.against_consensus] == against


def test_the_majority_is_strictly_more_than_half() -> None:
    share = np.mean(READERS, axis=0)
    compared = compare_label_maps(READERS, NAMES, GEOMETRY, ONE)
    assert (share == 0.5).any()
    assert np.array_equal(compared.consensus.labels, share > 0.5)
    two = compare_label_maps(READERS[:2], NAMES[:2], GEOMETRY, ONE).consensus.labels
    assert np.array_equal(two, READERS[0] & READERS[1])


def test_disagreement_is_the_variance_of_the_masks() -> None:
    for count in (2, 3, 4):
        compared = compare_label_maps(READERS[:count], NAMES[:count], GEOMETRY, ONE)
        assert compared.disagreement.shape == (1, *SHAPE)
        assert compared.disagreement[0] == pytest.approx(np.var(READERS[:count], axis=0), abs=1e-7)
        assert compared.disagreement.max() <= 0.25


@pytest.mark.parametrize("count", [2, 3, 4])
def test_staple_is_that_of_simpleitk_on_the_whole_array(count: int) -> None:
    sitk = pytest.importorskip("SimpleITK")
    compared = compare_label_maps(READERS[:count], NAMES[:count], GEOMETRY, ONE, method="staple")
    estimator = sitk.STAPLEImageFilter()
    images = [sitk.GetImageFromArray(mask) for mask in READERS[:count]]
    theirs = sitk.GetArrayFromImage(estimator.Execute(images))
    assert np.array_equal(compared.consensus.probability[0], theirs.astype(np.float32))
    assert np.array_equal(compared.consensus.labels, theirs > 0.5)
    rows = compared.consensus.performance
    assert [row.reader for row in rows] == NAMES[:count]
    assert [row.sensitivity for row in rows] == list(estimator.GetSensitivity())
    assert [row.specificity for row in rows] == list(estimator.GetSpecificity())


def test_staple_of_several_classes_and_time_points_is_one_of_each() -> None:
    sitk = pytest.importorskip("SimpleITK")
    classes = classes_of("a", "b")
    geometry = Geometry.from_spacing("tzyx", (1.0, *SPACING), "mm")
    inner = [balls(SHAPE, SPACING, ((14.0, 10.0, 14.0 + i), 3.0)) for i in range(3)]
    maps = [
        np.stack([np.where(part, 2, mask), np.where(part, 2, 0)]).astype(np.uint8)
        for part, mask in zip(inner, READERS, strict=False)
    ]
    compared = compare_label_maps(maps, NAMES[:3], geometry, classes, method="staple").consensus
    expected = np.zeros((2, 2, *SHAPE))
    for (k, info), time in product(enumerate(classes), range(2)):
        masks = [(labels[time] == info.label).astype(np.uint8) for labels in maps]
        if any(mask.any() for mask in masks):
            expected[k, time] = sitk.GetArrayFromImage(
                sitk.STAPLE([sitk.GetImageFromArray(mask) for mask in masks], 1.0)
            )
    assert np.array_equal(compared.probability, expected.astype(np.float32))
    numbers = np.where(expected.max(axis=0) > 0.5, expected.argmax(axis=0) + 1, 0)
    assert np.array_equal(compared.labels, numbers)
    absent = [row for row in compared.performance if (row.name, row.time) == ("a", 1)]
    assert [row.sensitivity for row in absent] == [None] * 3


def test_without_simpleitk_staple_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(BadInput, match=r'needs SimpleITK.*pip install "napari-latentseg\[readers\]"'):
        compare_label_maps(READERS, NAMES, GEOMETRY, ONE, method="staple")
    assert compare_label_maps(READERS, NAMES, GEOMETRY, ONE).consensus.labels.any()


def test_what_was_not_segmented_counts_for_nothing() -> None:
    part = np.zeros(SHAPE, bool)
    part[4:9] = True
    whole = compare_label_maps([m[4:9] for m in READERS], NAMES, GEOMETRY, ONE, method="staple")
    within = compare_label_maps(
        READERS, NAMES, GEOMETRY, ONE, method="staple", compared=part, segmented="5 of 14 slices"
    )
    assert within.segmented == "5 of 14 slices"
    assert np.array_equal(within.consensus.labels[4:9], whole.consensus.labels)
    assert not within.consensus.labels[~part].any()
    assert not within.disagreement[0][~part].any()
    assert within.consensus.performance == whole.consensus.performance
    assert [p.dsc for p in within.pairs] == [p.dsc for p in whole.pairs]
    with pytest.raises(BadInput, match="no slice in common"):
        compare_label_maps(READERS, NAMES, GEOMETRY, ONE, compared=np.zeros(SHAPE, bool))


def distance(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    union = np.count_nonzero(a | b)
    return 1 - np.count_nonzero(a & b) / union if union else 0.0


def test_the_model_beside_readers_against_a_sum_over_all_pairs() -> None:
    samples = np.stack([np.roll(READERS[0], shift, axis=1) for shift in range(-2, 3)])
    compared = compare_label_maps(READERS, NAMES, GEOMETRY, ONE, model=model_of(samples))
    assert compared.model is not None
    (row,) = compared.model.agreements
    between, within, among = (
        np.mean([distance(a, b) for a, b in product(first, second)])
        for first, second in ((samples, READERS), (samples, samples), (READERS, READERS))
    )
    assert row.agreement.ged2 == pytest.approx(2 * between - within - among, abs=1e-6)
    variance, disagreement = samples.var(axis=0), np.var(READERS, axis=0)
    marked = np.any([*samples, *READERS], axis=0)
    for value, region in ((row.correlation, marked), (row.correlation_everywhere, np.ones(SHAPE, bool))):
        assert value == pytest.approx(np.corrcoef(variance[region], disagreement[region])[0, 1], abs=1e-5)
    mask = compared.model.maps.mask
    expected = [compare(m, mask, GEOMETRY, ONE)[0].dsc for m in (*READERS, compared.consensus.labels)]
    assert [pair.dsc for pair in compared.model.pairs] == expected
    assert {pair.second for pair in compared.model.pairs} == {"model"}


def test_without_samples_the_mask_stands_for_them() -> None:
    maps = ModelMaps("m 1", READERS[0], (), 5, READERS[0][None].astype(np.float32), None)
    model = compare_label_maps(READERS, NAMES, GEOMETRY, ONE, model=maps).model
    assert model is not None
    assert "samples were not kept" in model.maps.basis
    (row,) = model.agreements
    assert row.agreement.sample_distance == 0
    assert row.correlation is row.correlation_everywhere is None


def test_a_variance_of_rounding_has_no_correlation() -> None:
    noise = np.random.default_rng(0).random((1, *SHAPE)).astype(np.float32) * 1e-7
    maps = ModelMaps("m 1", READERS[0], (READERS[0],) * 3, 3, READERS[0][None].astype(np.float32), noise)
    model = compare_label_maps(READERS, NAMES, GEOMETRY, ONE, model=maps).model
    assert model is not None
    assert model.agreements[0].correlation is model.agreements[0].correlation_everywhere is None


@pytest.mark.parametrize("masks", [READERS[:2], READERS, [np.zeros_like(READERS[0]), READERS[1]]])
@pytest.mark.parametrize("tolerance", [0, 0.5, 1, 2.5])
def test_surface_dice_against_a_plain_implementation(masks, tolerance: float) -> None:
    def edge(mask: NDArray[np.uint8]) -> NDArray[np.float64]:
        padded = np.pad(mask > 0, 1)
        is_inside = np.all(
            [np.roll(padded, s, axis) for axis in range(3) for s in (-1, 1)], axis=0
        )  # fmt: skip
        return np.argwhere((padded & ~is_inside)[1:-1, 1:-1, 1:-1]) * SPACING

    a, b = edge(masks[0]), edge(masks[1])
    if len(a) and len(b):
        apart = np.linalg.norm(a[:, None] - b[None], axis=-1)
        near = (apart.min(axis=1) <= tolerance + 1e-9).sum() + (apart.min(axis=0) <= tolerance + 1e-9).sum()
        expected = near / (len(a) + len(b))
    else:
        expected = 0.0
    assert surface_dice(masks[0] > 0, masks[1] > 0, tolerance, SPACING) == pytest.approx(expected)


@pytest.mark.parametrize("tolerance", [0.5, 1, 2.5])
def test_monai_finds_the_same_surface_dice(tolerance: float) -> None:
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    for a, b in combinations(READERS, 2):
        tensors = [torch.tensor(m[None, None].astype(np.float32)) for m in (a, b)]
        theirs = monai.compute_surface_dice(
            *tensors, [tolerance + 1e-6], include_background=True, spacing=SPACING
        )
        assert surface_dice(a > 0, b > 0, tolerance, SPACING) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize(
    ("unit", "given", "expected"),
    [("mm", None, (1.0, "mm")), ("mm", 2, (2.0, "mm")), ("um", 0.002, (2.0, "um")),
     ("pixel", None, (1.0, "pixel")), ("pixel", 3, (3.0, "pixel"))],
)  # fmt: skip
def test_the_tolerance_is_a_pixel_or_in_mm(unit: str, given: float | None, expected) -> None:
    spacing = (1.0, 1.0, 1.0) if unit == "pixel" else SPACING
    tolerance = Tolerance.of(Geometry.from_spacing("zyx", spacing, unit), given)
    assert (pytest.approx(tolerance.value), tolerance.unit) == expected


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_an_impossible_tolerance_is_refused(value: float) -> None:
    with pytest.raises(BadInput, match="tolerance"):
        compare_label_maps(READERS, NAMES, GEOMETRY, ONE, tolerance=value)


def test_notes_on_a_mask_without_the_class_and_on_equal_masks() -> None:
    empty = np.zeros_like(READERS[0])
    compared = compare_label_maps([READERS[0], empty, READERS[0]], NAMES[:3], GEOMETRY, ONE)
    (missing, equal) = compared.notes
    assert (missing.reader, "has no lesion" in missing.text) == (1, True)
    assert (equal.reader, "equals the mask of r1" in equal.text) == (2, True)
    empties = {pair.second: pair.empty for pair in compared.pairs if pair.first == "r1"}
    assert empties == {"r2": "second", "r3": ""}
    with pytest.raises(BadInput, match="all empty"):
        compare_label_maps([empty, empty], NAMES[:2], GEOMETRY, ONE)


def test_an_organ_has_its_tumour_in_pairs_and_the_tumour_its_own_label_in_the_consensus() -> None:
    tumour, liver = classes_of("tumour", "liver")  # the part first: the whole is not painted over it
    classes = (tumour, liver.model_copy(update={"includes": ("tumour",)}))
    whole = 2 * READERS[0]
    with_tumour = np.where(READERS[2] > 0, 1, whole).astype(np.uint8)
    compared = compare_label_maps([whole, with_tumour, with_tumour], NAMES[:3], GEOMETRY, classes)
    assert [pair.dsc for pair in compared.pairs if pair.name == "liver"] == [
        pytest.approx(score.dsc) for score in compare_label_maps(
            [(labels > 0).astype(np.uint8) for labels in (whole, with_tumour, with_tumour)],
            NAMES[:3], GEOMETRY, ONE,
        ).pairs
    ]  # fmt: skip
    assert np.array_equal(compared.consensus.labels, with_tumour)


def test_a_label_that_is_compared_as_another_is_said() -> None:
    compared = compare_label_maps([READERS[0], 2 * READERS[1]], ["Anna", "Ben"], GEOMETRY, ONE)
    (note,) = compared.notes
    assert note.reader == 1
    assert note.text == "holds label 2, which is compared as lesion (label 1), since there is one class"


def test_figures_are_what_json_can_hold() -> None:
    samples = np.stack(READERS)
    compared = compare_label_maps(READERS, NAMES, GEOMETRY, ONE, method="staple", model=model_of(samples))
    figures = json.loads(json.dumps(compared.figures(), allow_nan=False))
    assert figures["pairs"][0]["dsc"] == compared.pairs[0].dsc
    assert figures["model"]["agreements"][0]["agreement"]["ged2"] == pytest.approx(0, abs=1e-12)
    assert "not the disagreement of readers" in figures["model"]["note"]
    assert {"surface_dice", "consensus", "performance", "ged2"} <= set(figures["conventions"])
