"""Metrics: hand-computed cases, properties, and input that is refused."""

from __future__ import annotations

import doctest
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from tests.helpers.masks import Mask, Pair, blobs, full_pairs, many, pairs, steps

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
from napari_latentseg.evaluation.scores import ImageScores, score


def drawn(text: str) -> Mask:
    """A mask from a drawing: rows apart by spaces, # for what is in it."""
    return np.array([[c == "#" for c in row] for row in text.split()])


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
