"""One channel of a scan, or its slices along another axis of the patient; and the way back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.plane_axes import WORLD_AXIS_OF_PLANE, plane_axis_order
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput

__all__ = ["WORLD_AXIS_OF_PLANE", "check_plane", "reorient", "restore_orientation", "select_channel"]


def select_channel(scan: Scan, channel: int) -> Scan:
    """One channel of a multichannel image, as a grey image.

    Parameters
    ----------
    scan
        With an axis `c`.
    channel
        Counted from 1.

    Returns
    -------
    Scan
        Without the axis `c`; geometry and metadata are kept.

    Raises
    ------
    BadInput
        If the scan has no channels, or fewer than `channel`.
    """
    if not scan.axes.endswith(CHANNEL):
        raise BadInput("channel", f"{scan.name} has no channels", "leave it out")
    count = scan.array.shape[-1]
    if not 1 <= channel <= count:
        raise BadInput("channel", f"{scan.name} has channels 1 to {count}", "choose one of them")
    levels = tuple(level[..., channel - 1] for level in scan.levels)
    return scan.replace(array=scan.array[..., channel - 1], axes=scan.spatial_axes, levels=levels)


def check_plane(plane: str) -> None:
    """Refuse a name that is no orientation of slices.

    Raises
    ------
    BadInput
        If it is none.
    """
    if not isinstance(plane, str) or plane not in WORLD_AXIS_OF_PLANE:
        raise BadInput("plane", f"{plane!r} is not known", f"use one of {', '.join(WORLD_AXIS_OF_PLANE)}")


def reorient(scan: Scan, plane: str) -> tuple[Scan, tuple[int, ...]]:
    """Transpose a volume so that its slices are axial, coronal or sagittal.

    The axis of the array nearest to the axis of the patient perpendicular to the slices becomes the slice
    axis. Nothing is resampled or flipped: the other two axes keep their order and direction.

    Parameters
    ----------
    scan
        A volume in patient coordinates (frame LPS), or a time series of such volumes.
    plane
        ``"acquired"`` (no change), ``"axial"``, ``"coronal"`` or ``"sagittal"``.

    Returns
    -------
    scan : Scan
        The transposed scan, its geometry included.
    order : tuple of int
        Axis i of the new scan was axis ``order[i]``; `restore_orientation` takes it.

    Raises
    ------
    BadInput
        If the plane is unknown, or the scan is not a volume in patient coordinates.
    """
    check_plane(plane)
    n = len(scan.spatial_axes)
    if WORLD_AXIS_OF_PLANE[plane] is None:
        return scan, tuple(range(n))
    if "z" not in scan.axes or scan.geometry.frame != "LPS":
        raise BadInput("plane", f"{scan.name} is not a volume in patient coordinates", "use acquired")
    order = plane_axis_order(scan.geometry, n, plane)
    return _transposed(scan, order), order


def _transposed(scan: Scan, order: tuple[int, ...]) -> Scan:
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
    """Undo `reorient`: the segmentation in the axis order and geometry of the original scan.

    Parameters
    ----------
    segmentation
        Of the reoriented scan.
    scan
        The original scan.
    order
        The order of axes that `reorient` returned.

    Returns
    -------
    Segmentation
        Its arrays are views of those given, and have the spatial shape of `scan`.
    """
    inverse_order = tuple(int(i) for i in np.argsort(order))
    if inverse_order == tuple(range(len(inverse_order))):
        return segmentation

    def transpose(array: Any) -> Any:
        leading = array.ndim - len(inverse_order)  # the axis of classes, of mean and variance
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
