"""Which axis of an array the slices of a run are perpendicular to."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from napari_latentseg.core.geometry import Geometry

__all__ = ["WORLD_AXIS_OF_PLANE", "plane_axis_order"]

WORLD_AXIS_OF_PLANE: dict[str, int | None] = {"acquired": None, "axial": 0, "coronal": 1, "sagittal": 2}
"""The slice orientations, each with the world axis (in the order `z y x`) perpendicular to its slices.

``"acquired"`` leaves the scan as it is."""


def plane_axis_order(geometry: Geometry, axis_count: int, plane: str) -> tuple[int, ...]:
    """The order of an array's axes in which its last two are those of a slice.

    Parameters
    ----------
    geometry
        Geometry of the array; of a volume in patient coordinates if `plane` is not ``"acquired"``.
    axis_count
        Number of axes of the array, without channels.
    plane
        A key of `WORLD_AXIS_OF_PLANE`.

    Returns
    -------
    tuple of int
        Axis i of the reoriented array is axis ``order[i]`` of the array.

    Examples
    --------
    >>> plane_axis_order(Geometry.from_spacing("zyx"), 3, "coronal")
    (1, 0, 2)
    """
    order = list(range(axis_count))
    world_axis = WORLD_AXIS_OF_PLANE[plane]
    if world_axis is None:
        return tuple(order)
    first_spatial = axis_count - 3
    slice_axis = _nearest_volume_axes(geometry)[world_axis]
    others = [first_spatial + i for i in range(3) if i != slice_axis]
    return (*order[:first_spatial], first_spatial + slice_axis, *others)


def _nearest_volume_axes(geometry: Geometry) -> tuple[int, ...]:
    """For each axis of the patient, the nearest axis of the volume; a permutation of 0, 1, 2."""
    linear = geometry.matrix[-4:-1, -4:-1]
    alignment = np.abs(linear / np.linalg.norm(linear, axis=0))
    return max(permutations(range(3)), key=lambda p: sum(alignment[i, p[i]] for i in range(3)))
