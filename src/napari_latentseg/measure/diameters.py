"""Longest diameter and short axis of an object, from its convex hull."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Diameters", "diameters", "run_ends"]

_Points = NDArray[np.float64]
_MAX_PAIRS_AT_ONCE = 2_000_000  # pairs of hull points in memory at once: 16 MB as float64


@dataclass(frozen=True)
class Diameters:
    """Two perpendicular diameters of an object, in the unit of length of the geometry.

    Attributes
    ----------
    long_axis
        Longest distance between two points of the convex hull.
    short_axis
        Longest chord of the hull perpendicular to it.
    """

    long_axis: float
    short_axis: float


def run_ends(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first and the last voxel of every line along the last axis, int64 `(M, ndim)`.

    Their convex hull is that of all voxels, and there are far fewer of them.

    Parameters
    ----------
    mask
        Boolean, with any number of axes.
    """
    line_index = np.nonzero(mask.any(axis=-1))
    width = mask.shape[-1]
    mask_lines = mask[line_index]
    first = mask_lines.argmax(axis=-1)
    last = width - 1 - mask_lines[:, ::-1].argmax(axis=-1)
    ends = [np.stack([*line_index, end], axis=1) for end in (first, last)]
    return np.concatenate(ends).astype(np.int64, copy=False)


def diameters(voxels: NDArray[np.int64], linear: NDArray[np.float64]) -> Diameters:
    """Longest diameter and short axis of an object, exactly.

    A voxel is counted with its extent: an object reaches half a voxel beyond the centres of its outermost
    voxels along every axis, so that a line of n voxels is n voxels long.

    Parameters
    ----------
    voxels
        Array indices of the voxels of an object, `(M, ndim)`, in two or three dimensions; those on its convex
        hull suffice, see `run_ends`.
    linear
        Matrix from voxel steps along the axes to lengths, `(ndim, ndim)`; anisotropic, oblique or sheared.

    Returns
    -------
    Diameters
        In the unit of `linear`.

    Notes
    -----
    The short axis is the longest distance between two points of the hull in one plane perpendicular to the
    longest diameter. One of the two is a vertex and the other on an edge, and all such pairs are tried. For a
    convex object this is the bidimensional measure of RECIST [1]_; for another, a reader would stay inside
    the object, which the hull does not.

    References
    ----------
    .. [1] Eisenhauer et al., "New response evaluation criteria in solid tumours: revised RECIST guideline
       (version 1.1)", European Journal of Cancer 45, 2009.

    Examples
    --------
    A line of 6 pixels of 0.5 mm:

    >>> line = diameters(np.argwhere(np.ones((1, 6), dtype=bool)), np.diag([0.5, 0.5]))
    >>> round(line.long_axis, 6), round(line.short_axis, 6)
    (3.0, 0.5)
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
    """Vertices `(V, ndim)` and edges `(E, 2)` of the convex hull of all voxel face centres, in lengths."""
    from scipy.spatial import ConvexHull, QhullError

    ndim = len(linear)
    centres = voxels.astype(np.float64)
    centres -= centres[0]
    if len(centres) > 4 * ndim:  # below that, a first hull of the centres saves nothing
        with suppress(QhullError):  # flat or a line of voxels: only the face centres give it an extent
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
    """Squared distances of all pairs of points, in chunks of rows, with the index of the first row."""
    step = max(1, _MAX_PAIRS_AT_ONCE // len(points))
    for start in range(0, len(points), step):
        chunk = points[start : start + step]
        squared = np.zeros((len(chunk), len(points)))
        for axis in range(points.shape[1]):
            squared += (chunk[:, axis, None] - points[:, axis]) ** 2
        yield start, squared


def _short_axis(vertices: _Points, edges: NDArray[np.intp], direction: _Points) -> float:
    """Longest distance between two points of the hull with the same position along a direction."""
    position_along = vertices @ direction
    low, high = position_along[edges].min(axis=1), position_along[edges].max(axis=1)
    begin = np.where(position_along[edges[:, 0]] <= position_along[edges[:, 1]], edges[:, 0], edges[:, 1])
    end = edges.sum(axis=1) - begin
    # an edge perpendicular to the direction is covered by its end points, which other edges share
    slanted = high - low > 1e-12 * max(1.0, float(np.ptp(position_along)))
    low, high, begin, end = low[slanted], high[slanted], begin[slanted], end[slanted]
    step = max(1, _MAX_PAIRS_AT_ONCE // max(1, len(low)))
    widest = 0.0
    # the tolerances, far above float64 rounding and far below a voxel, keep edges that end exactly at a
    # vertex
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
