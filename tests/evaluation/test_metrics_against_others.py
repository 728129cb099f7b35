"""Metrics against a plain implementation, MONAI and SimpleITK."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.masks import Mask, Pair, blobs, full_pairs, many, steps

from napari_latentseg.evaluation.metrics import (
    boundary,
    dice,
    hd95,
    iou,
    surface_distances,
)


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
