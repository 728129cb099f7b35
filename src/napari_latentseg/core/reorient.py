"""Parts and turns of a scan: one of its channels, the series of planes along another axis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput

__all__ = ["WORLD_AXIS_OF_PLANE", "reorient", "restore_orientation", "select_channel"]

WORLD_AXIS_OF_PLANE: dict[str, int | None] = {"acquired": None, "axial": 0, "coronal": 1, "sagittal": 2}
"""Each plane choice with the axis of the world, in the order `z y x`, that its planes lie across."""


def select_channel(scan: Scan, channel: int) -> Scan:
    """One channel of an image whose channels are not colours, as a grey image.

    Parameters
    ----------
    scan
        With an axis `c`.
    channel
        Which, counted from 1.

    Raises
    ------
    BadInput
        Where there are no channels, or not as many.
    """
    if not scan.axes.endswith(CHANNEL):
        raise BadInput("channel", f"{scan.name} has no channels", "leave it out")
    count = scan.array.shape[-1]
    if not 1 <= channel <= count:
        raise BadInput("channel", f"{scan.name} has channels 1 to {count}", "choose one of them")
    levels = tuple(level[..., channel - 1] for level in scan.levels)
    return scan.replace(array=scan.array[..., channel - 1], axes=scan.spatial_axes, levels=levels)


def reorient(scan: Scan, plane: str) -> tuple[Scan, tuple[int, ...]]:
    """The scan with its planes across another axis, and the order of axes that this takes.

    The axis of the volume nearest to the asked axis of the patient becomes the one that planes are counted
    along. Nothing is resampled or flipped: the other two axes keep their order and direction.

    Parameters
    ----------
    scan
        A volume in the patient (frame LPS), or a time series of such.
    plane
        One of `WORLD_AXIS_OF_PLANE`.

    Returns
    -------
    scan, order
        Axis i of the new scan was axis ``order[i]``; see `restore_orientation`.

    Raises
    ------
    BadInput
        Where the plane is not known, or the scan does not say where the patient's axes are.
    """
    if plane not in WORLD_AXIS_OF_PLANE:
        raise BadInput("plane", f"{plane!r} is not known", f"use one of {', '.join(WORLD_AXIS_OF_PLANE)}")
    world_axis = WORLD_AXIS_OF_PLANE[plane]
    n = len(scan.spatial_axes)
    order = list(range(n))
    if world_axis is None:
        return scan, tuple(order)
    if "z" not in scan.axes or scan.geometry.frame != "LPS":
        raise BadInput("plane", f"{scan.name} is no volume that lies in a patient", "use acquired")
    first_spatial = n - 3
    slice_axis = _nearest_volume_axes(scan.geometry)[world_axis]
    order = [
        *range(first_spatial),
        first_spatial + slice_axis,
        *(first_spatial + i for i in range(3) if i != slice_axis),
    ]
    return _transposed(scan, order), tuple(order)


def _nearest_volume_axes(geometry: Geometry) -> tuple[int, ...]:
    """For each axis of the patient, the axis of the volume that runs nearest to it; no two have the same."""
    from itertools import permutations

    linear = geometry.matrix[-4:-1, -4:-1]
    alignment = np.abs(linear / np.linalg.norm(linear, axis=0))
    return max(permutations(range(3)), key=lambda p: sum(alignment[i, p[i]] for i in range(3)))


def _transposed(scan: Scan, order: list[int]) -> Scan:
    channels = [len(order)] if scan.axes.endswith(CHANNEL) else []
    geometry = scan.geometry
    matrix = geometry.matrix[:, [*order, len(order)]]
    transposed_geometry = Geometry(
        tuple(map(tuple, matrix)), geometry.units, geometry.axis_labels, geometry.frame
    )
    return scan.replace(
        array=scan.array.transpose(*order, *channels),
        geometry=transposed_geometry,
        levels=tuple(level.transpose(*order, *channels) for level in scan.levels),
    )


def restore_orientation(segmentation: Segmentation, scan: Scan, order: tuple[int, ...]) -> Segmentation:
    """A segmentation of what `reorient` gave, in the order of axes and the geometry of its scan.

    Parameters
    ----------
    segmentation
        Of the turned scan.
    scan
        The scan as it was.
    order
        As `reorient` gave it.
    """
    inverse_order = tuple(int(i) for i in np.argsort(order))
    if inverse_order == tuple(range(len(inverse_order))):
        return segmentation

    def transpose(array: Any) -> Any:
        leading = array.ndim - len(inverse_order)  # of the classes
        return array.transpose(*range(leading), *(leading + i for i in inverse_order))

    return replace(
        segmentation,
        mask=transpose(segmentation.mask),
        mean=transpose(segmentation.mean),
        variance=None if segmentation.variance is None else transpose(segmentation.variance),
        sample_maps=None
        if segmentation.sample_maps is None
        else segmentation.sample_maps.transpose(inverse_order),
        roi=None if segmentation.roi is None else tuple(segmentation.roi[i] for i in inverse_order),
        geometry=scan.geometry,
    )
