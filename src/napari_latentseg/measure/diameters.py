"""The longest diameter of an object, and the longest across it, from its convex hull."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Diameters", "diameters", "ends_of_lines"]

_Points = NDArray[np.float64]
_AT_ONCE = 2_000_000  # pairs that are looked at together, which bounds the memory


@dataclass(frozen=True)
class Diameters:
    """How long an object is, and how wide across that.

    Attributes
    ----------
    longest
        The greatest distance between two points of the hull.
    across
        The longest chord of the hull at a right angle to it.
    """

    longest: float
    across: float


def ends_of_lines(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first and the last element of every line along the last axis: `(M, ndim)`.

    The convex hull of these is that of all elements.

    Parameters
    ----------
    inside
        Boolean, with any number of dimensions.
    """
    lines = np.nonzero(inside.any(axis=-1))
    width = inside.shape[-1]
    rows = inside[lines]
    first = rows.argmax(axis=-1)
    last = width - 1 - rows[:, ::-1].argmax(axis=-1)
    ends = [np.stack([*lines, end], axis=1) for end in (first, last)]
    return np.concatenate(ends).astype(np.int64, copy=False)


def diameters(elements: NDArray[np.int64], linear: NDArray[np.float64]) -> Diameters:
    """Longest diameter of an object and the longest across it, exactly.

    An object reaches half an element beyond the centres of its outermost elements along every axis of the
    array, as its outlines do, so that a line of n elements is n elements long.

    Parameters
    ----------
    elements
        Array indices of an object's elements, `(M, ndim)`, of two or three axes; those on its hull suffice.
    linear
        `(ndim, ndim)`, from steps along the array's axes to lengths: unequal, turned and sheared ones too.

    Notes
    -----
    Both lie between points of the convex hull. The chord is the greatest distance of two points of the hull
    that lie in one plane across the diameter; one of them is then a vertex, the other on an edge, and all
    such pairs are looked at. This is the bidimensional measure of RECIST [1]_ where the object is convex;
    where it is not, a reader would stay inside the object, and the hull does not.

    References
    ----------
    .. [1] Eisenhauer et al., "New response evaluation criteria in solid tumours: revised RECIST guideline
       (version 1.1)", European Journal of Cancer 45, 2009.
    """
    vertices, edges = _hull(elements, linear)
    longest, ends = 0.0, (0, 0)
    for start, squares in _squared_distances(vertices):
        place = int(squares.argmax())
        if squares.flat[place] > longest:
            longest = float(squares.flat[place])
            i, j = divmod(place, squares.shape[1])
            ends = (start + i, j)
    length = float(np.sqrt(longest))
    direction = (vertices[ends[1]] - vertices[ends[0]]) / length
    return Diameters(length, _across(vertices, edges, direction))


def _hull(elements: NDArray[np.int64], linear: NDArray[np.float64]) -> tuple[_Points, NDArray[np.intp]]:
    """Vertices `(V, ndim)` and edges `(E, 2)` of the hull of all face centres, in lengths."""
    from scipy.spatial import ConvexHull, QhullError

    ndim = len(linear)
    corners = elements.astype(np.float64)
    corners -= corners[0]
    if len(corners) > 4 * ndim:
        with suppress(QhullError):  # all in one plane or line, which the faces widen
            corners = corners[ConvexHull(corners).vertices]
    faces = 0.5 * np.concatenate([np.eye(ndim), -np.eye(ndim)])
    points = (corners[:, None] + faces).reshape(-1, ndim) @ linear.T
    hull = ConvexHull(points)
    number = np.full(len(points), -1)
    number[hull.vertices] = np.arange(len(hull.vertices))
    pairs = [(i, j) for i in range(ndim) for j in range(i)]
    edges = np.concatenate([hull.simplices[:, pair] for pair in pairs])
    edges = np.unique(np.sort(number[edges], axis=1), axis=0)
    return points[hull.vertices], edges[(edges >= 0).all(axis=1)]


def _squared_distances(points: _Points) -> Iterator[tuple[int, _Points]]:
    """The squared distances of some points to all, a part at a time, with the number of the first."""
    step = max(1, _AT_ONCE // len(points))
    for start in range(0, len(points), step):
        some = points[start : start + step]
        squares = np.zeros((len(some), len(points)))
        for axis in range(points.shape[1]):
            squares += (some[:, axis, None] - points[:, axis]) ** 2
        yield start, squares


def _across(vertices: _Points, edges: NDArray[np.intp], direction: _Points) -> float:
    """The greatest distance of two points of the hull that lie equally far along a direction."""
    along = vertices @ direction
    low, high = along[edges].min(axis=1), along[edges].max(axis=1)
    begin = np.where(along[edges[:, 0]] <= along[edges[:, 1]], edges[:, 0], edges[:, 1])
    end = edges.sum(axis=1) - begin
    # an edge that lies across as a whole is met at its vertices, which other edges end in
    slanted = high - low > 1e-12 * max(1.0, float(np.ptp(along)))
    low, high, begin, end = low[slanted], high[slanted], begin[slanted], end[slanted]
    step = max(1, _AT_ONCE // max(1, len(low)))
    widest = 0.0
    slack = 1e-9 * float(np.ptp(along))
    for start in range(0, len(vertices), step):
        some = slice(start, start + step)
        place = along[some, None]
        vertex, edge = np.nonzero((place >= low - slack) & (place <= high + slack))
        share = np.clip((along[some][vertex] - low[edge]) / (high[edge] - low[edge]), 0, 1)[:, None]
        met = vertices[begin[edge]] * (1 - share) + vertices[end[edge]] * share
        apart = np.linalg.norm(vertices[some][vertex] - met, axis=1)
        widest = max(widest, float(apart.max(initial=0.0)))
    return widest
