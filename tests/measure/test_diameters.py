from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import ConvexHull
from tests.helpers.made import balls

from napari_latentseg.measure.diameters import diameters, run_ends


def of(inside: np.ndarray, linear: np.ndarray | None = None):
    return diameters(run_ends(inside), np.eye(inside.ndim) if linear is None else linear)


@pytest.mark.parametrize(
    ("shape", "longest"), [((1, 1), 1.0), ((1, 7), 7.0), ((1, 1, 1), 1.0), ((1, 5, 1), 5.0)]
)
def test_a_line_is_as_long_as_its_elements(shape, longest):
    assert of(np.ones(shape, bool)).long_axis == pytest.approx(longest)


def test_a_rectangle_of_unequal_spacing():
    """Half an element beyond the centres along each axis: corners are cut, as in its outline."""
    found = of(np.ones((3, 8), bool), np.diag([2.0, 0.5]))
    # from (1, 0.25) below the first to (1, 0.25) above the last centre, along one axis at a time
    points = np.array(
        [(y, x) for y in (-1, 0, 4, 5) for x in (-0.25, 0, 3.5, 3.75) if (y in (0, 4)) != (x in (0, 3.5))]
    )
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    assert found.long_axis == pytest.approx(apart.max())


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_ball_in_the_world_whatever_the_steps(ndim):
    spacing = (1.5, 0.7, 0.4)[-ndim:]
    shape = (24, 40, 70)[-ndim:]
    radius = 11.0
    centre = [n * s / 2 for n, s in zip(shape, spacing, strict=True)]
    found = of(balls(shape, spacing, (centre, radius)), np.diag(spacing))
    assert found.long_axis == pytest.approx(2 * radius, abs=max(spacing))
    assert found.short_axis == pytest.approx(2 * radius, abs=1.5 * max(spacing))


def test_the_longest_diameter_is_that_of_the_outline():
    from skimage.measure import find_contours

    rng = np.random.default_rng(3)
    for _ in range(5):
        inside = balls((30, 40), (1, 1), (rng.uniform(10, 20, 2), 6.0), (rng.uniform(12, 25, 2), 5.0))
        points = np.concatenate(find_contours(np.pad(inside, 1).astype(float), 0.5)) * (2.0, 0.7)
        longest = np.linalg.norm(points[:, None] - points, axis=-1).max()
        assert of(inside, np.diag([2.0, 0.7])).long_axis == pytest.approx(longest)


def brute(inside: np.ndarray, linear: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """All face centres, the longest distance between two of them, and its direction."""
    ndim = inside.ndim
    faces = 0.5 * np.concatenate([np.eye(ndim), -np.eye(ndim)])
    points = ((np.argwhere(inside)[:, None] + faces).reshape(-1, ndim)) @ linear.T
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    i, j = np.unravel_index(apart.argmax(), apart.shape)
    return points, float(apart.max()), (points[j] - points[i]) / apart.max()


@given(hnp.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))).filter(np.any))
def test_two_dimensions_against_all_pairs(inside):
    """The chord is found again as the width of the hull along many lines across its longest diameter."""
    linear = np.array([[1.3, 0.2], [0.0, 0.8]])  # sheared
    points, longest, direction = brute(inside, linear)
    found = of(inside, linear)
    assert found.long_axis == pytest.approx(longest)
    ends = points @ direction
    starts = np.linspace(ends.min(), ends.max(), 400)[1:-1, None] * direction
    sides = ConvexHull(points).equations
    slopes = sides[:, :2] @ np.array([-direction[1], direction[0]])
    rests = starts @ sides[:, :2].T + sides[:, 2]
    above, below = slopes > 1e-12, slopes < -1e-12
    highs = (-rests[:, above] / slopes[above]).min(axis=1)
    lows = (-rests[:, below] / slopes[below]).max(axis=1)
    widest = float((highs - lows).max())
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    if (apart > longest - 1e-9).sum() == 2:  # of several longest ones, another may have been taken
        assert found.short_axis >= widest - 1e-9
        assert found.short_axis == pytest.approx(widest, abs=0.02)
    assert found.short_axis <= found.long_axis + 1e-9


def test_the_chord_across_in_three_dimensions():
    """No pair of points of a box that lies across its longest diagonal is farther apart."""
    rng = np.random.default_rng(0)
    inside = np.zeros((4, 9, 15), bool)
    inside[1:3, 2:7, 1:14] = True
    linear = np.diag([3.0, 1.0, 1.0])
    found = of(inside, linear)
    points, longest, direction = brute(inside, linear)
    assert found.long_axis == pytest.approx(longest)
    weights = rng.dirichlet(np.full(8, 0.2), (2, 4000))
    ends = (points[rng.integers(0, len(points), (2, 4000, 8))] * weights[..., None]).sum(axis=2)
    level = np.abs((ends[0] - ends[1]) @ direction) < 1e-2
    assert level.sum() > 3
    tried = np.linalg.norm(ends[0] - ends[1], axis=1)[level].max()
    assert tried <= found.short_axis + 1e-6
    assert found.short_axis <= found.long_axis + 1e-9


@given(hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))).filter(np.any))
def test_ends_of_lines_hold_the_hull(inside):
    ends = run_ends(inside)
    assert inside[tuple(ends.T)].all()
    assert of(inside).long_axis == pytest.approx(brute(inside, np.eye(3))[1])
