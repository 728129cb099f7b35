"""Where DICOM slices lie: one exact affine, or a clear no."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput

__all__ = ["Place", "along_normal", "plane_matrix", "same_plane", "stack_matrix"]

_SAME_DIRECTION = 1e-4  # of a cosine: a twentieth of a millimetre over half a metre
_RIGHT_ANGLE = 1e-3
_STEP, _MM = 0.01, 0.01  # how far a slice may lie from its even place: of a step, and at least in mm

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Place:
    """Where one slice lies in the patient, in millimetres and LPS.

    Attributes
    ----------
    position
        Of the centre of its first element.
    row, column
        Unit vectors along a row (x grows) and down a column (y grows).
    spacing
        Between rows, and between columns.
    thickness
        The step that a single slice is given along its normal.
    """

    position: Vector
    row: Vector
    column: Vector
    spacing: tuple[float, float]
    thickness: float = 1.0

    @property
    def normal(self) -> NDArray[np.float64]:
        """Row cross column, of length one."""
        across = np.cross(self.row, self.column)
        return np.asarray(across / np.linalg.norm(across), dtype=np.float64)

    @classmethod
    def checked(
        cls,
        name: str,
        position: Sequence[float],
        orientation: Sequence[float],
        spacing: Sequence[float],
        thickness: float,
    ) -> Place:
        """Build from the numbers of a header.

        Raises
        ------
        BadInput
            Where they are not three, six and two finite numbers, the directions are not of length one and
            at right angles, or a spacing is not above zero.
        """
        if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2:
            raise BadInput(name, "does not say where it lies in whole", "export it again")
        if not all(map(math.isfinite, (*position, *orientation, *spacing))) or min(spacing) <= 0:
            raise BadInput(name, "has a spacing or position that is no length", "export it again")
        row, column = _vector(orientation[:3]), _vector(orientation[3:])
        leaning = sum(map(mul, row, column))
        crooked = max(abs(math.hypot(*row) - 1), abs(math.hypot(*column) - 1), abs(leaning))
        if crooked > _RIGHT_ANGLE:
            raise BadInput(name, "has directions that are not at right angles", "export it again")
        return cls(
            _vector(position),
            row,
            column,
            (float(spacing[0]), float(spacing[1])),
            float(thickness) if math.isfinite(thickness) and thickness > 0 else 1.0,
        )


def _vector(values: Sequence[float]) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z


def same_plane(one: Place, other: Place) -> bool:
    """Whether two slices have the same directions and spacing, and may be of one stack."""
    turned = np.abs(np.subtract(one.row + one.column, other.row + other.column)).max()
    stretched = np.abs(np.divide(one.spacing, other.spacing) - 1).max()
    return bool(turned <= _SAME_DIRECTION and stretched <= _SAME_DIRECTION)


def along_normal(places: Sequence[Place]) -> NDArray[np.float64]:
    """How far each slice lies along the normal of the first, in mm, `(n,)`."""
    return np.array([p.position for p in places]) @ places[0].normal


def plane_matrix(place: Place, step: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """The affine of one slice as a stack of one, `(4, 4)` in the order z, y, x.

    Parameters
    ----------
    place
        Of the slice.
    step
        From one slice to the next, x first, in mm; along the normal where it is not given.
    """
    if step is None:
        step = place.normal * place.thickness
    columns = (step, np.multiply(place.column, place.spacing[0]), np.multiply(place.row, place.spacing[1]))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(columns, axis=1)[::-1]
    matrix[:3, 3] = place.position[::-1]
    return matrix


def stack_matrix(name: str, places: Sequence[Place]) -> NDArray[np.float64]:
    """The affine of a stack, `(4, 4)` in the order z, y, x (PS3.3, C.7.6.2.1.1).

    The step is the way from the first slice to the last in equal parts, so a tilted gantry gives a sheared
    affine, which is exact, and not a straight one that is nearly so.

    Parameters
    ----------
    name
        For messages.
    places
        Of slices that are the same plane, in order along their normal, no two at one place.

    Raises
    ------
    BadInput
        Where slices are missing, not equally far apart, or not in one line.
    """
    if len(places) == 1:
        return plane_matrix(places[0])
    points = np.array([p.position for p in places])
    count = len(points)
    gaps = np.diff(along_normal(places))
    step = (points[-1] - points[0]) / (count - 1)
    even = points[0] + np.arange(count)[:, None] * step
    bearable = max(_MM, _STEP * float(gaps.min()))
    if np.linalg.norm(points - even, axis=1).max() <= bearable:
        return plane_matrix(places[0], step)
    times = gaps / gaps.min()
    whole = np.abs(times - np.round(times)).max() * gaps.min() <= bearable
    missing = int(np.round(times).sum()) - count + 1
    if whole and 0 < missing < count:
        where = int(np.argmax(times))
        raise BadInput(
            name,
            f"lacks {missing} of {count + missing} slices, the first after slice {where + 1}",
            "copy the whole series",
        )
    if float(gaps.max() - gaps.min()) > bearable:
        raise BadInput(
            name,
            f"its {count} slices are not equally far apart ({gaps.min():.3g} to {gaps.max():.3g} mm)",
            "resample it to equal steps, or copy the whole series",
        )
    raise BadInput(name, "its slices do not lie in one line", "give each straight part as a series")
