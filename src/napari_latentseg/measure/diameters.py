"""The longest diameter of an object, and the longest across it, from its convex hull."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Diameters", "diameters", "run_ends"]

_Points = NDArray[np.float64]
_MAX_PAIRS_AT_ONCE = 2_000_000  # pairs that are looked at together, which bounds the memory


@dataclass(frozen=True)
class Diameters:
    """How long an object is, and how wide across that.

    Attributes
    ----------
    long_axis
        The greatest distance between two points of the hull.
    short_axis
        The longest chord of the hull at a right angle to it.
    """

    long_axis: float
    short_axis: float


def run_ends(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first and the last element of every line along the last axis: `(M, ndim)`.

    The convex hull of these is that of all elements.

    Parameters
    ----------
    mask
        Boolean, with any number of dimensions.
    """
    line_index = np.nonzero(mask.any(axis=-1))
    width = mask.shape[-1]
    mask_lines = mask[line_index]
    first = mask_lines.argmax(axis=-1)
    last = width - 1 - mask_lines[:, ::-1].argmax(axis=-1)
    ends = [np.stack([*line_index, end], axis=1) for end in (first, last)]
    return np.concatenate(ends).astype(np.int64, copy=False)


def diameters(voxels: NDArray[np.int64], linear: NDArray[np.float64]) -> Diameters:
    """Longest diameter of an object and the longest across it, exactly.

    An object reaches half an element beyond the centres of its outermost elements along every axis of the
    array, as its outlines do, so that a line of n elements is n elements long.

    Parameters
    ----------
    voxels
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
    vertices, edges = _hull(voxels, linear)
    max_squared_length, end_vertices = 0.0, (0, 0)
    for start, squared_distances in _squared_distances(vertices):
        flat_index = int(squared_distances.argmax())
        if squared_distances.flat[flat_index] > max_squared_length:
            max_squared_length = float(squared_distances.flat[flat_index])
            i, j = divmod(flat_index, squared_distances.shape[1])
            end_vertices = (start + i, j)
    length = float(np.sqrt(max_squared_length))
    direction = (vertices[end_vertices[1]] - vertices[end_vertices[0]]) / length
    return Diameters(length, _short_axis(vertices, edges, direction))


def _hull(voxels: NDArray[np.int64], linear: NDArray[np.float64]) -> tuple[_Points, NDArray[np.intp]]:
    """Vertices `(V, ndim)` and edges `(E, 2)` of the hull of all face centres, in lengths."""
    from scipy.spatial import ConvexHull, QhullError

    ndim = len(linear)
    centres = voxels.astype(np.float64)
    centres -= centres[0]
    if len(centres) > 4 * ndim:
        with suppress(QhullError):  # all in one plane or line, which the faces widen
            centres = centres[ConvexHull(centres).vertices]
    half_steps = 0.5 * np.concatenate([np.eye(ndim), -np.eye(ndim)])
    points = (centres[:, None] + half_steps).reshape(-1, ndim) @ linear.T
    hull = ConvexHull(points)
    vertex_of_point = np.full(len(points), -1)
    vertex_of_point[hull.vertices] = np.arange(len(hull.vertices))
    pairs = [(i, j) for i in range(ndim) for j in range(i)]
    edges = np.concatenate([hull.simplices[:, pair] for pair in pairs])
    edges = np.unique(np.sort(vertex_of_point[edges], axis=1), axis=0)
    return points[hull.vertices], edges[(edges >= 0).all(axis=1)]


def _squared_distances(points: _Points) -> Iterator[tuple[int, _Points]]:
    """The squared distances of some points to all, a part at a time, with the number of the first."""
    step = max(1, _MAX_PAIRS_AT_ONCE // len(points))
    for start in range(0, len(points), step):
        chunk = points[start : start + step]
        squared = np.zeros((len(chunk), len(points)))
        for axis in range(points.shape[1]):
            squared += (chunk[:, axis, None] - points[:, axis]) ** 2
        yield start, squared


def _short_axis(vertices: _Points, edges: NDArray[np.intp], direction: _Points) -> float:
    """The greatest distance of two points of the hull that lie equally far along a direction."""
    position_along = vertices @ direction
    low, high = position_along[edges].min(axis=1), position_along[edges].max(axis=1)
    begin = np.where(position_along[edges[:, 0]] <= position_along[edges[:, 1]], edges[:, 0], edges[:, 1])
    end = edges.sum(axis=1) - begin
    # an edge that lies across as a whole is met at its vertices, which other edges end in
    slanted = high - low > 1e-12 * max(1.0, float(np.ptp(position_along)))
    low, high, begin, end = low[slanted], high[slanted], begin[slanted], end[slanted]
    step = max(1, _MAX_PAIRS_AT_ONCE // max(1, len(low)))
    widest = 0.0
    tolerance = 1e-9 * float(np.ptp(position_along))
    for start in range(0, len(vertices), step):
        chunk = slice(start, start + step)
        chunk_positions = position_along[chunk, None]
        vertex, edge = np.nonzero(
            (chunk_positions >= low - tolerance) & (chunk_positions <= high + tolerance)
        )
        edge_fraction = np.clip((position_along[chunk][vertex] - low[edge]) / (high[edge] - low[edge]), 0, 1)[
            :, None
        ]
        edge_points = vertices[begin[edge]] * (1 - edge_fraction) + vertices[end[edge]] * edge_fraction
        widths = np.linalg.norm(vertices[chunk][vertex] - edge_points, axis=1)
        widest = max(widest, float(widths.max(initial=0.0)))
    return widest
