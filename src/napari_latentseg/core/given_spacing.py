"""A spacing that a person gives to an image whose file has none, such as a photograph."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput

__all__ = ["GIVEN_SPACING_NOTE", "geometry_with_spacing", "give_spacing", "spacing_from_ruler"]

GIVEN_SPACING_NOTE = "the spacing was given by a person; the file has none"

# mm; from a pixel of a microscope to a metre: what is outside was typed in another unit, or by mistake
_MIN_SPACING, _MAX_SPACING = 1e-4, 1000.0


def give_spacing(scan: Scan, spacing: Sequence[float]) -> Scan:
    """A scan without a physical size, with the spacing that a person knows.

    Parameters
    ----------
    scan
        Its axes are in pixels, and parallel to the axes of the world.
    spacing
        In mm: one number for square pixels or cubic voxels, or one for each axis of the array but time and
        channels, such as slices, rows, columns.

    Returns
    -------
    Scan
        In mm, with a note that the spacing was given. A time axis stays as it is.

    Raises
    ------
    BadInput
        If the scan has a physical size, or the spacing is not possible.

    Examples
    --------
    >>> import numpy as np
    >>> photograph = Scan(np.zeros((20, 30), np.uint8), "yx", Geometry.from_spacing("yx"))
    >>> give_spacing(photograph, [0.2]).geometry.voxel_volume
    (0.04000000000000001, 'mm2')
    """
    geometry = geometry_with_spacing(scan.geometry, spacing)
    return scan.replace(geometry=geometry, notes=(*scan.notes, GIVEN_SPACING_NOTE))


def geometry_with_spacing(geometry: Geometry, spacing: Sequence[float]) -> Geometry:
    """A geometry in pixels with another spacing, in mm; see `give_spacing`.

    Raises
    ------
    BadInput
        As `give_spacing`.
    """
    spatial_axes = [i for i, label in enumerate(geometry.axis_labels) if label != "t"]
    if any(geometry.units[i] != "pixel" for i in spatial_axes):
        stated = " x ".join(f"{geometry.spacing[i]:g} {geometry.units[i]}" for i in spatial_axes)
        raise BadInput("spacing", f"the image has one already: {stated}", "leave it as it is")
    if not geometry.is_axis_aligned:
        raise BadInput("spacing", "the image is rotated or sheared", "give a spacing to the image as opened")
    values = [float(value) for value in spacing]
    if len(values) == 1:
        values = values * len(spatial_axes)
    if len(values) != len(spatial_axes):
        labels = ", ".join(geometry.axis_labels[i] for i in spatial_axes)
        raise BadInput(
            "spacing", f"{len(values)} numbers for the axes {labels}", f"give one, or {len(spatial_axes)}"
        )
    for value in values:
        _check_spacing(value)
    matrix, units = geometry.matrix, list(geometry.units)
    for axis, value in zip(spatial_axes, values, strict=True):
        matrix[axis] *= value / geometry.spacing[axis]
        units[axis] = "mm"
    return Geometry.from_matrix(matrix, tuple(units), geometry.axis_labels, geometry.frame)


def spacing_from_ruler(start: Sequence[float], end: Sequence[float], length: float) -> float:
    """The spacing at which two points of an image are a known distance apart.

    Parameters
    ----------
    start, end
        Array indices of the ends of a scale bar or calliper, `(rows, columns)`; fractions allowed.
    length
        Their distance in mm.

    Returns
    -------
    float
        Size of a square pixel, in mm.

    Raises
    ------
    BadInput
        If the points are less than ten pixels apart, or the length is not a positive number.

    Examples
    --------
    >>> spacing_from_ruler((10, 20), (10, 120), 20.0)
    0.2
    """
    pixels = float(np.linalg.norm(np.subtract(end, start)))
    if not (math.isfinite(length) and length > 0):
        raise BadInput("length", f"{length:g} mm is not a length", "enter the length of the scale in mm")
    # a click is right to about half a pixel at either end: an error of a tenth on ten pixels
    if not pixels >= 10:
        raise BadInput("ruler", f"its ends are {pixels:.1f} pixels apart", "draw it along a longer scale")
    spacing = length / pixels
    _check_spacing(spacing)
    return spacing


def _check_spacing(value: float) -> None:
    if not (math.isfinite(value) and _MIN_SPACING <= value <= _MAX_SPACING):
        raise BadInput(
            "spacing", f"{value:g} mm is not possible", f"give {_MIN_SPACING:g} to {_MAX_SPACING:g} mm"
        )
