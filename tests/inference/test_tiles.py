"""Cutting into tiles and laying them back."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_latentseg.inference.tiles import TileBlender, Tiling, mirror_pad


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    size = draw(st.integers(1, 12))
    overlap = draw(st.integers(0, size - 1))
    return Tiling(draw(st.integers(1, 40)), draw(st.integers(1, 40)), size, overlap)


def joined(tiling: Tiling, plane: np.ndarray) -> np.ndarray:
    canvas = TileBlender(tiling, len(plane))
    for corners in tiling.batches(3):
        canvas.add_tiles(np.stack([tiling.crop_tile(plane, corner) for corner in corners]), corners)
    return canvas.blend()


@settings(max_examples=80, deadline=None)
@given(tilings())
def test_every_pixel_is_covered_and_neighbours_share_the_overlap(tiling: Tiling) -> None:
    for length, starts in (
        (tiling.height, tiling.starts(tiling.height)),
        (tiling.width, tiling.starts(tiling.width)),
    ):
        assert starts[0] == 0
        assert len(set(starts)) == len(starts)
        if length <= tiling.size:
            assert starts == [0]
            continue
        assert starts[-1] + tiling.size == length
        shared = [a + tiling.size - b for a, b in pairwise(starts)]
        assert min(shared) >= tiling.overlap


@settings(max_examples=80, deadline=None)
@given(tilings())
def test_the_weights_are_a_partition_of_unity(tiling: Tiling) -> None:
    ones = np.ones((2, tiling.height, tiling.width), np.float32)
    np.testing.assert_allclose(joined(tiling, ones), ones, rtol=0, atol=1e-5)


@settings(max_examples=80, deadline=None)
@given(tilings(), st.integers(0, 2**31))
def test_cutting_and_laying_gives_the_plane_back(tiling: Tiling, seed: int) -> None:
    plane = np.random.default_rng(seed).random((2, tiling.height, tiling.width), np.float32)
    np.testing.assert_allclose(joined(tiling, plane), plane, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "size", "overlap"),
    [
        (1, 1, 64, 16),
        (8, 2000, 64, 16),
        (1, 160, 64, 63),
        (37, 53, 64, 0),
        (65, 64, 64, 32),
        (640, 640, 512, 256),
    ],
)
def test_odd_planes_come_back(height: int, width: int, size: int, overlap: int) -> None:
    tiling = Tiling(height, width, size, overlap)
    plane = np.random.default_rng(0).random((1, height, width), np.float32)
    for corner in tiling.corners():
        assert tiling.crop_tile(plane, corner).shape == (1, size, size)
    np.testing.assert_allclose(joined(tiling, plane), plane, rtol=0, atol=1e-5)


def test_tiles_that_disagree_leave_no_step() -> None:
    """Each tile says something else; between them the answer must slide, not jump."""
    overlap = 32
    tiling = Tiling(200, 150, 64, overlap)
    canvas = TileBlender(tiling, 1)
    values = np.random.default_rng(0).permutation(np.linspace(0, 1, len(tiling.corners()), dtype=np.float32))
    for value, corner in zip(values, tiling.corners(), strict=True):
        canvas.add_tile(np.full((1, 64, 64), value, np.float32), corner)
    plane = canvas.blend()[0]
    slope = np.pi / 2 / overlap  # the steepest of a squared sine over the overlap, for a step of one
    for axis in (0, 1):
        assert float(np.abs(np.diff(plane, axis=axis)).max()) < 1.5 * slope
    hard = TileBlender(Tiling(200, 150, 64, 0), 1)  # the same test sees the seams where there is no overlap
    for value, corner in zip(values, hard.tiling.corners(), strict=False):
        hard.add_tile(np.full((1, 64, 64), value, np.float32), corner)
    assert float(np.abs(np.diff(hard.blend()[0], axis=0)).max()) > 1.5 * slope


def test_a_smooth_function_stays_smooth() -> None:
    rows, columns = np.linspace(0, 6, 130)[:, None], np.linspace(0, 6, 170)
    plane = (0.5 + 0.5 * np.sin(rows) * np.cos(columns)).astype(np.float32)[None]
    found = joined(Tiling(130, 170, 48, 12), plane)
    for axis in (1, 2):
        away = np.diff(found, axis=axis) - np.diff(plane, axis=axis)
        assert np.abs(away).max() < 1e-6


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (8, 8), (5, 9)])
def test_mirroring_repeats_the_edge_and_keeps_what_is_there(shape: tuple[int, int]) -> None:
    tile = np.random.default_rng(0).random((2, *shape), np.float32)
    found = mirror_pad(tile, 9)
    assert found.shape == (2, 9, 9)
    assert np.array_equal(found[:, : shape[0], : shape[1]], tile)
    if shape[0] < 9:
        assert np.array_equal(found[:, shape[0]], found[:, shape[0] - 1])
    assert set(found.ravel()) == set(tile.ravel())
