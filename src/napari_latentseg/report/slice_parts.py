"""Which part of a slice is shown in a picture of a page, how large, and what the slice is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry

__all__ = ["SlicePart", "part_to_show", "slice_part", "slice_title"]

_LARGEST_PANEL = (300, 300)  # width and height in pixels: four fit beside each other on a screen
_MAX_READ_SIDE = 1024  # voxels; a larger slice is subsampled
_FULL_VIEW_SIDE = 160  # voxels; a slice up to this size is always shown whole
_MARGIN = 0.25  # of the side of the part that anyone marked, so that its surroundings can be seen
_MIN_SIDE = 64  # voxels of a part, so that a small object is not drawn as a few large squares
_AXES = {"t": "time", "z": "slice"}


@dataclass(frozen=True)
class SlicePart:
    """A part of a slice, and the picture of it.

    Attributes
    ----------
    plane
        Index of the part in an array of the scan's axes, in steps where it is large.
    shape
        Its rows and columns, in voxels.
    size
        Width and height of the picture in pixels, with the proportions that the part has in the patient.
    """

    plane: tuple[Any, ...]
    shape: tuple[int, int]
    size: tuple[int, int]


def slice_part(
    index: tuple[int, ...],
    rows: slice,
    columns: slice,
    geometry: Geometry,
    largest: tuple[int, int] = _LARGEST_PANEL,
) -> SlicePart:
    """The part of a slice.

    Parameters
    ----------
    index
        Of the slice, along the axes before its own.
    rows, columns
        Of the part; both ends are given.
    geometry
        Of the scan.
    largest
        Width and height in pixels into which the picture fits.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    step = max(1, -(-max(height, width) // _MAX_READ_SIDE))
    vertical, horizontal = geometry.spacing[-2:]
    scale = min(largest[0] / (width * horizontal), largest[1] / (height * vertical))
    return SlicePart(
        (*index, slice(rows.start, rows.stop, step), slice(columns.start, columns.stop, step)),
        (height, width),
        (max(1, round(width * horizontal * scale)), max(1, round(height * vertical * scale))),
    )


def part_to_show(is_marked: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The rows and columns to show: all of a small slice, else what is marked and its surroundings."""
    if max(is_marked.shape) <= _FULL_VIEW_SIDE or not is_marked.any():
        return slice(0, is_marked.shape[0]), slice(0, is_marked.shape[1])
    parts = []
    for axis, length in enumerate(is_marked.shape):
        marked = np.flatnonzero(is_marked.any(axis=1 - axis))
        start, stop = int(marked[0]), int(marked[-1]) + 1
        margin = max(round(_MARGIN * (stop - start)), (_MIN_SIDE - (stop - start) + 1) // 2)
        parts.append(slice(max(0, start - margin), min(length, stop + margin)))
    return parts[0], parts[1]


def slice_title(geometry: Geometry, index: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """Which slice, counted from 1, such as ``"Slice 3 of 12"``."""
    places = [
        f"{_AXES.get(axis, axis)} {i + 1} of {n}"
        for axis, i, n in zip(geometry.axis_labels, index, shape, strict=False)
    ]
    return ", ".join(places).capitalize() or "The image"
