"""Metrics: hand-computed cases, properties, and other people's implementations."""

from __future__ import annotations

import doctest
import importlib
import itertools
import json
import math
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import (
    CONVENTIONS,
    boundary,
    dice,
    hd95,
    iou,
    psnr,
    surface_distances,
)
from napari_latentseg.evaluation.scores import ImageScores, check_mean_dice_iou, score, summarise

Mask = NDArray[np.bool_]
Pair = tuple[Mask, Mask]

many = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def drawn(text: str) -> Mask:
    """A mask from a drawing: rows apart by spaces, # for what is in it."""
    return np.array([[c == "#" for c in row] for row in text.split()])


def pairs(min_dims: int = 1, max_dims: int = 3, max_side: int = 7) -> st.SearchStrategy[Pair]:
    shapes = hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, max_side=max_side)
    return shapes.flatmap(lambda s: st.tuples(hnp.arrays(np.bool_, s), hnp.arrays(np.bool_, s)))


def full_pairs(**kwargs: int) -> st.SearchStrategy[Pair]:
    return pairs(**kwargs).filter(lambda pair: bool(pair[0].any() and pair[1].any()))


steps = st.floats(0.1, 10.0)


# --- by hand -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    name: str
    prediction: str
    truth: str
    dsc: float
    iou: float
    hd95: float
    empty: str = ""
    spacing: tuple[float, float] | None = None


CASES = [
    Case("both empty", "... ...", "... ...", 1, 1, 0, "both"),
    Case("nothing found", "... ... ... ...", "... .#. ... ...", 0, 0, 5, "prediction"),
    Case("nothing there", ".#. ... ... ...", "... ... ... ...", 0, 0, 5, "truth"),
    Case("empty, spacing", "... ... ... ...", "... .#. ... ...", 0, 0, 10, "prediction", (1.5, 8 / 3)),
    Case("equal", ".## .#.", ".## .#.", 1, 1, 0),
    Case("all of it", "## ##", "## ##", 1, 1, 0),
    Case("half", "##..", ".##.", 0.5, 1 / 3, 1),
    Case("contained", "#...", "####", 0.4, 0.25, 2.8),  # distances 0 and 0, 1, 2, 3
    Case("apart", "#....", "....#", 0, 0, 4),
    Case("apart, spacing", "#....", "....#", 0, 0, 2, "", (7.0, 0.5)),
    Case("diagonal", "#... .... .... ....", ".... .... .... ...#", 0, 0, math.sqrt(18)),
    Case("diagonal, spacing", "#.. ... ...", "... ... ..#", 0, 0, 10, "", (3.0, 4.0)),
    # The centre is in neither boundary, so the hole costs overlap and no distance.
    Case("hole", "### #.# ###", "### ### ###", 16 / 17, 8 / 9, 0),
    # Pool: 0 nineteen times one way; nineteen times 0 and once 1 the other; rank 0.95 * 38 = 36.1.
    Case("outlier forgiven", "#" * 19 + ".", "#" * 20, 38 / 39, 19 / 20, 0),
    # Pool: 0 one way, 0 ... 9 the other; rank 0.95 * 10 = 9.5, between 8 and 9.
    Case("interpolated", "#" + "." * 9, "#" * 10, 2 / 11, 1 / 10, 8.5),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_by_hand(case: Case) -> None:
    prediction, truth = drawn(case.prediction), drawn(case.truth)
    found = score(prediction, truth, case.spacing)
    assert found.dsc == pytest.approx(case.dsc)
    assert found.iou == pytest.approx(case.iou)
    assert found.hd95 == pytest.approx(case.hd95)
    assert found.empty == case.empty
    assert found.dsc == dice(prediction, truth)
    assert found.iou == iou(prediction, truth)
    assert found.hd95 == hd95(prediction, truth, case.spacing)


def test_diagonal_of_the_papers_size() -> None:
    nothing = np.zeros((224, 224), dtype=bool)
    assert hd95(nothing, ~nothing) == pytest.approx(316.78, abs=0.01)


@pytest.mark.parametrize(
    ("mask", "edge"),
    [
        ("..... .###. .###. .###. .....", "..... .###. .#.#. .###. ....."),
        ("### ### ###", "### #.# ###"),  # the edge of the image is outside
        ("##### ##### ##.## ##### #####", "##### #.#.# ##.## #.#.# #####"),
        ("... ...", "... ..."),
        (".#. ### .#.", ".#. #.# .#."),  # corners are no neighbours
    ],
)
def test_boundary_drawn(mask: str, edge: str) -> None:
    assert np.array_equal(boundary(drawn(mask)), drawn(edge))


def test_boundary_of_a_box() -> None:
    box = np.zeros((6, 6, 6), dtype=bool)
    box[1:5, 1:5, 1:5] = True
    inside = np.zeros_like(box)
    inside[2:4, 2:4, 2:4] = True
    assert np.array_equal(boundary(box), box & ~inside)


# --- properties --------------------------------------------------------------------------------------


@many
@given(pairs())
def test_overlap_properties(pair: Pair) -> None:
    a, b = pair
    d, j = dice(a, b), iou(a, b)
    assert (d, j) == (dice(b, a), iou(b, a))
    assert 0 <= j <= d <= 1
    assert j == pytest.approx(d / (2 - d), abs=1e-12)
    assert (d == 1) == np.array_equal(a, b)
    assert (d == 0) == (not (a & b).any() and bool(a.any() or b.any()))
    assert dice(a, a) == iou(a, a) == 1


@many
@given(pairs(), st.data())
def test_distance_properties(pair: Pair, data: st.DataObject) -> None:
    a, b = pair
    spacing = [data.draw(steps) for _ in a.shape]
    found = hd95(a, b, spacing)
    assert found == pytest.approx(hd95(b, a, spacing))
    assert hd95(a, a, spacing) == 0
    assert 0 <= found <= math.hypot(*(n * s for n, s in zip(a.shape, spacing, strict=True)))


@many
@given(pairs(), st.data())
def test_turned_image_scores_the_same(pair: Pair, data: st.DataObject) -> None:
    a, b = pair
    order = data.draw(st.permutations(range(a.ndim)))
    axes = data.draw(st.sets(st.integers(0, a.ndim - 1)))
    spacing = [data.draw(steps) for _ in a.shape]

    def turned(mask: Mask) -> Mask:
        return np.flip(mask, tuple(axes)).transpose(order)

    before = score(a, b, spacing)
    after = score(turned(a), turned(b), [spacing[i] for i in order])
    assert (before.dsc, before.iou, before.empty) == (after.dsc, after.iou, after.empty)
    assert before.hd95 == pytest.approx(after.hd95)


@many
@given(pairs(), steps)
def test_distance_scales_with_the_spacing(pair: Pair, step: float) -> None:
    a, b = pair
    assert hd95(a, b, (step,) * a.ndim) == pytest.approx(step * hd95(a, b))
    assert hd95(a, b, (1,) * a.ndim) == hd95(a, b, None)


@many
@given(full_pairs(), st.data())
def test_background_around_changes_nothing(pair: Pair, data: st.DataObject) -> None:
    a, b = pair
    margin = [data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4))) for _ in a.shape]
    assert hd95(np.pad(a, margin), np.pad(b, margin)) == hd95(a, b)
    assert dice(np.pad(a, margin), np.pad(b, margin)) == dice(a, b)


# --- against a plain implementation ------------------------------------------------------------------


def plain_boundary(mask: Mask) -> list[tuple[int, ...]]:
    """Every element with a face neighbour outside, one by one."""

    def inside(at: tuple[int, ...]) -> bool:
        return all(0 <= i < n for i, n in zip(at, mask.shape, strict=True)) and bool(mask[at])

    found = []
    for at in itertools.product(*map(range, mask.shape)):
        near = [
            (*at[:axis], at[axis] + step, *at[axis + 1 :]) for axis in range(mask.ndim) for step in (-1, 1)
        ]
        if inside(at) and not all(map(inside, near)):
            found.append(at)
    return found


def plain_distances(a: Mask, b: Mask, spacing: list[float]) -> list[float]:
    """From each boundary element of `a` to all of `b`, the least."""

    def place(at: tuple[int, ...]) -> list[float]:
        return [i * s for i, s in zip(at, spacing, strict=True)]

    goals = [place(at) for at in plain_boundary(b)]
    return [min(math.dist(place(at), goal) for goal in goals) for at in plain_boundary(a)]


def plain_percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    rank = percent / 100 * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


@settings(many, max_examples=80)
@given(full_pairs(max_side=6), st.data())
def test_unequal_spacing_against_brute_force(pair: Pair, data: st.DataObject) -> None:
    a, b = pair
    spacing = [data.draw(steps) for _ in a.shape]
    assert list(map(tuple, np.argwhere(boundary(a)).tolist())) == plain_boundary(a)
    there, back = plain_distances(a, b, spacing), plain_distances(b, a, spacing)
    found = surface_distances(a, b, spacing)
    assert found[0] == pytest.approx(there)
    assert found[1] == pytest.approx(back)
    assert hd95(a, b, spacing) == pytest.approx(plain_percentile(there + back, 95))


# --- against others' implementations -----------------------------------------------------------------


def blobs(seed: int, shape: tuple[int, ...], *, margin: int = 0) -> Pair:
    """Two overlapping masks of smooth shape."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=shape), 3)
    other = field + 0.5 * gaussian_filter(rng.normal(size=shape), 3)
    clear = np.pad(np.ones([n - 2 * margin for n in shape], dtype=bool), margin)
    return (field > np.quantile(field, 0.7)) & clear, (other > np.quantile(other, 0.75)) & clear


OTHERS = [
    (0, (48, 40), (1.0, 1.0)),
    (1, (48, 40), (0.7, 2.5)),
    (2, (16, 24, 20), (3.0, 0.8, 0.9)),
]


@pytest.fixture(scope="module")
def monai() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("monai.metrics")


@pytest.mark.filterwarnings("ignore")  # MONAI calls its own deprecated options
@pytest.mark.parametrize(("seed", "shape", "spacing"), OTHERS)
def test_against_monai(monai: Any, seed: int, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    import torch

    a, b = blobs(seed, shape)
    first, second = (torch.from_numpy(m)[None, None].float() for m in (a, b))

    def theirs(percentile: float, y_pred: Any, y: Any) -> float:
        value = monai.compute_hausdorff_distance(
            y_pred, y, include_background=True, percentile=percentile, directed=True, spacing=list(spacing)
        )
        return float(value.item())

    # MONAI takes the greater of the two directed percentiles, not the percentile of the pool, so the
    # directions are compared one by one.
    there, back = surface_distances(a, b, spacing)
    for percent in (50, 95, 100):
        assert np.percentile(there, percent) == pytest.approx(theirs(percent, first, second), rel=1e-5)
        assert np.percentile(back, percent) == pytest.approx(theirs(percent, second, first), rel=1e-5)
    both = [theirs(95, first, second), theirs(95, second, first)]
    assert min(both) - 1e-5 <= hd95(a, b, spacing) <= max(both) + 1e-5
    assert monai.compute_dice(first, second).item() == pytest.approx(dice(a, b))
    assert monai.compute_iou(first, second).item() == pytest.approx(iou(a, b))


@pytest.mark.filterwarnings("ignore")
def test_empty_masks_against_monai(monai: Any) -> None:
    import torch

    nothing = np.zeros((5, 5), dtype=bool)
    something = nothing.copy()
    something[2, 2] = True
    for a, b in itertools.product((nothing, something), repeat=2):
        first, second = (torch.from_numpy(m)[None, None].float() for m in (a, b))
        theirs = monai.compute_dice(first, second, ignore_empty=False).item()
        assert dice(a, b) == theirs


@pytest.mark.parametrize(("seed", "shape", "spacing"), OTHERS)
def test_against_simpleitk(seed: int, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    sitk = pytest.importorskip("SimpleITK")
    a, b = blobs(seed, shape, margin=1)  # away from the edge, where ITK sees no boundary

    def image(mask: Mask) -> Any:
        made = sitk.GetImageFromArray(mask.astype(np.uint8))
        made.SetSpacing(spacing[::-1])
        return made

    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(image(a), image(b))
    assert overlap.GetDiceCoefficient(1) == pytest.approx(dice(a, b))
    assert overlap.GetJaccardCoefficient(1) == pytest.approx(iou(a, b))
    edges = [sitk.BinaryContour(image(m), fullyConnected=False) for m in (a, b)]
    assert np.array_equal(sitk.GetArrayFromImage(edges[0]) > 0, boundary(a))
    distance = sitk.HausdorffDistanceImageFilter()
    distance.Execute(*edges)
    farthest = max(d.max() for d in surface_distances(a, b, spacing))
    assert distance.GetHausdorffDistance() == pytest.approx(farthest, rel=1e-5)


# --- reconstruction ----------------------------------------------------------------------------------


def test_psnr() -> None:
    grey = np.full((3, 8, 8), 0.5, dtype=np.float32)
    assert psnr(grey, grey) == math.inf
    assert psnr(grey + 0.1, grey) == pytest.approx(20, abs=1e-4)
    assert psnr(np.zeros((2, 2)), np.ones((2, 2))) == 0
    half = np.array([0.0, 0.0, 0.0, 1.0])  # one of four is wrong by 1
    assert psnr(half, np.zeros(4)) == pytest.approx(10 * math.log10(4))


@many
@given(hnp.arrays(np.float32, (2, 5), elements=st.floats(0, 1, width=32)), st.integers(0, 9))
def test_psnr_is_symmetric_and_not_negative(image: NDArray[np.float32], at: int) -> None:
    other = image.copy()
    other.flat[at] = 1 - other.flat[at]
    assume(not np.array_equal(image, other))
    assert psnr(image, other) == psnr(other, image) >= 0


# --- summaries ---------------------------------------------------------------------------------------


@many
@given(st.lists(pairs(min_dims=2, max_dims=2), min_size=1, max_size=8))
def test_summary_of_any_images(images: list[Pair]) -> None:
    scores = [score(a, b) for a, b in images]
    found = summarise(scores)
    assert found["images"] == len(images)
    for name, spread in (("dsc", found["dsc"]), ("iou", found["iou"]), ("hd95", found["hd95"])):
        values = [getattr(one, name) for one in scores]
        assert spread["mean"] == pytest.approx(statistics.fmean(values))
        expected = statistics.stdev(values) if len(values) > 1 else None
        assert spread["std"] == (None if expected is None else pytest.approx(expected, abs=1e-12))
    for which in ("prediction", "truth", "both"):
        assert found["empty"][which] == sum(one.empty == which for one in scores)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_summary_of_nothing() -> None:
    with pytest.raises(BadInput, match="no image"):
        summarise([])


def test_scores_of_different_masks_are_a_fault() -> None:
    right = ImageScores(dsc=0.5, iou=1 / 3, hd95=1)
    summarise([right])
    with pytest.raises(RuntimeError, match="image 1"):
        summarise([right, ImageScores(dsc=0.5, iou=0.34, hd95=1)])


# Printed in the papers, in percent, to two digits.
@pytest.mark.parametrize(
    ("dsc", "iou_", "possible"),
    [
        pytest.param(92.76, 85.49, False, id="SDSeg on BTCV"),
        pytest.param(75.17, 60.23, True, id="EGE-UNet, on the bound"),
        pytest.param(93.90, 88.50, True, id="EGE-UNet, on the bound again"),
        pytest.param(80.0, 80.01, False, id="IoU above Dice"),
        pytest.param(100.0, 100.0, True, id="perfect"),
        pytest.param(0.0, 0.0, True, id="all wrong"),
        pytest.param(50.0, 50.0, True, id="half perfect, half wrong"),
    ],
)
def test_means_that_can_be(dsc: float, iou_: float, possible: bool) -> None:
    if possible:
        check_mean_dice_iou(dsc / 100, iou_ / 100, tolerance=5e-5)
    else:
        with pytest.raises(RuntimeError, match="cannot go with"):
            check_mean_dice_iou(dsc / 100, iou_ / 100, tolerance=5e-5)


def test_scores_are_frozen_and_within_range() -> None:
    one = ImageScores(dsc=1, iou=1, hd95=0)
    for name in ImageScores.model_fields:
        with pytest.raises(ValidationError):
            setattr(one, name, getattr(one, name))
    bad: list[dict[str, Any]] = [
        {"dsc": 1.1}, {"iou": -0.1}, {"hd95": math.nan}, {"hd95": -1}, {"empty": "neither"}, {"assd": 1}
    ]  # fmt: skip
    for change in bad:
        with pytest.raises(ValidationError):
            ImageScores(**({"dsc": 1, "iou": 1, "hd95": 0} | change))
    assert ImageScores.model_validate_json(one.model_dump_json()) == one


def test_each_metric_has_its_convention() -> None:
    assert set(ImageScores.model_fields) - {"empty"} <= set(CONVENTIONS)
    assert all(CONVENTIONS.values())


# --- what cannot be used, and speed ------------------------------------------------------------------

OK = np.ones((3, 4), dtype=bool)


@pytest.mark.parametrize("function", [dice, iou, hd95, score, surface_distances])
@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        (OK, OK.T, "shape"),
        (OK, OK[:1], "shape"),  # would broadcast
        (OK, OK[None], "shape"),
        (OK[:0], OK[:0], "is empty"),
        (np.array(True), np.array(True), "is empty"),
        (OK * 0.7, OK, "float64"),
        (OK, OK.astype(np.uint8), "uint8"),
    ],
)
def test_wrong_arrays(function: Callable[..., Any], prediction: Any, truth: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        function(prediction, truth)


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, -2.0), (1.0, math.nan)])
@pytest.mark.parametrize("masks", [(OK, OK), (OK, ~OK), (~OK, ~OK)])
def test_wrong_spacing(masks: Pair, spacing: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match="spacing"):
        hd95(*masks, spacing)


@pytest.mark.parametrize(
    ("a", "b", "who"), [(OK, ~OK, "reference"), (~OK, OK, "prediction"), (~OK, ~OK, "masks")]
)
def test_no_boundary_to_measure(a: Mask, b: Mask, who: str) -> None:
    with pytest.raises(BadInput, match=who):
        surface_distances(a, b)


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3))),
        (np.zeros((2, 2)), np.zeros((2, 2), dtype=np.uint8)),
        (np.full((2, 2), 1.5), np.zeros((2, 2))),
        (np.zeros((2, 2)), np.full((2, 2), -1.0)),
        (np.full((2, 2), np.nan), np.zeros((2, 2))),
        (np.zeros((0, 2)), np.zeros((0, 2))),
    ],
)
def test_wrong_images(image: NDArray[Any], reference: NDArray[Any]) -> None:
    with pytest.raises(BadInput):
        psnr(image, reference)


def test_inputs_are_left_alone() -> None:
    a, b = blobs(5, (20, 20))
    kept = a.copy(), b.copy()
    a.flags.writeable = b.flags.writeable = False
    score(a, b)
    assert np.array_equal(a, kept[0])
    assert np.array_equal(b, kept[1])


def test_of_a_large_image_only_the_box_of_the_masks_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes is told by bench/quick.py."""
    a, b = (np.pad(mask, ((3, 900), (500, 40))) for mask in blobs(6, (20, 30)))
    sizes: list[int] = []
    transform = ndimage.distance_transform_edt

    def counting(image: Mask, *args: Any, **kwargs: Any) -> Any:
        sizes.append(image.size)
        return transform(image, *args, **kwargs)

    monkeypatch.setattr(ndimage, "distance_transform_edt", counting)
    hd95(a, b, (0.5, 0.5))
    assert len(sizes) == 2
    assert max(sizes) <= 20 * 30


@pytest.mark.parametrize(
    "module",
    ["evaluation.metrics", "evaluation.scores", "evaluation.calibration", "measure.diameters"],
)
def test_the_examples_in_the_docstrings_run(module: str) -> None:
    results = doctest.testmod(importlib.import_module(f"napari_latentseg.{module}"))
    assert results.failed == 0
    assert results.attempted > 0
