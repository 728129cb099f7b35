"""Parts and turns of a scan: one of its channels, the series of planes along another axis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.scan import CHANNEL, Geometry, Scan
from napari_latentseg.segmentation import Segmentation

__all__ = ["PLANES", "one_channel", "seen_along", "turned_back"]

PLANES: dict[str, int | None] = {"acquired": None, "axial": 0, "coronal": 1, "sagittal": 2}
"""Each plane choice with the axis of the world, in the order `z y x`, that its planes lie across."""


def one_channel(scan: Scan, channel: int) -> Scan:
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


def seen_along(scan: Scan, plane: str) -> tuple[Scan, tuple[int, ...]]:
    """The scan with its planes across another axis, and the order of axes that this takes.

    The axis of the volume nearest to the asked axis of the patient becomes the one that planes are counted
    along. Nothing is resampled or flipped: the other two axes keep their order and direction.

    Parameters
    ----------
    scan
        A volume in the patient (frame LPS), or a time series of such.
    plane
        One of `PLANES`.

    Returns
    -------
    scan, order
        Axis i of the new scan was axis ``order[i]``; see `turned_back`.

    Raises
    ------
    BadInput
        Where the plane is not known, or the scan does not say where the patient's axes are.
    """
    if plane not in PLANES:
        raise BadInput("plane", f"{plane!r} is not known", f"use one of {', '.join(PLANES)}")
    wanted = PLANES[plane]
    n = len(scan.spatial_axes)
    order = list(range(n))
    if wanted is None:
        return scan, tuple(order)
    if "z" not in scan.axes or scan.geometry.frame != "LPS":
        raise BadInput("plane", f"{scan.name} is no volume that lies in a patient", "use acquired")
    first = n - 3
    across = _nearest(scan.geometry)[wanted]
    order = [*range(first), first + across, *(first + i for i in range(3) if i != across)]
    return _ordered(scan, order), tuple(order)


def _nearest(geometry: Geometry) -> tuple[int, ...]:
    """For each axis of the patient, the axis of the volume that runs nearest to it; no two have the same."""
    from itertools import permutations

    linear = geometry.matrix[-4:-1, -4:-1]
    along = np.abs(linear / np.linalg.norm(linear, axis=0))
    return max(permutations(range(3)), key=lambda p: sum(along[i, p[i]] for i in range(3)))


def _ordered(scan: Scan, order: list[int]) -> Scan:
    channels = [len(order)] if scan.axes.endswith(CHANNEL) else []
    geometry = scan.geometry
    matrix = geometry.matrix[:, [*order, len(order)]]
    turned = Geometry(tuple(map(tuple, matrix)), geometry.units, geometry.axis_labels, geometry.frame)
    return scan.replace(
        array=scan.array.transpose(*order, *channels),
        geometry=turned,
        levels=tuple(level.transpose(*order, *channels) for level in scan.levels),
    )


def turned_back(found: Segmentation, scan: Scan, order: tuple[int, ...]) -> Segmentation:
    """A segmentation of what `seen_along` gave, in the order of axes and the geometry of its scan.

    Parameters
    ----------
    found
        Of the turned scan.
    scan
        The scan as it was.
    order
        As `seen_along` gave it.
    """
    back = tuple(int(i) for i in np.argsort(order))
    if back == tuple(range(len(back))):
        return found

    def turn(array: Any) -> Any:
        leading = array.ndim - len(back)  # of the classes
        return array.transpose(*range(leading), *(leading + i for i in back))

    return replace(
        found,
        mask=turn(found.mask),
        mean=turn(found.mean),
        variance=None if found.variance is None else turn(found.variance),
        maps=None if found.maps is None else found.maps.turned(back),
        worked=None if found.worked is None else tuple(found.worked[i] for i in back),
        geometry=scan.geometry,
    )
