"""Positions of DICOM slices, and the affine of a stack: exact, or refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import mul

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput

__all__ = ["SlicePose", "distance_along_normal", "is_same_orientation", "plane_matrix", "stack_matrix"]

_DIRECTION_TOLERANCE = 1e-4  # of a direction cosine: 0.05 mm over half a metre
_ORTHOGONALITY_TOLERANCE = 1e-3  # scanners write cosines with as few as four decimals
# How far a slice may lie from equal spacing: 1 % of a step, and never less than 0.01 mm (rounded positions).
_TOLERANCE_STEPS, _TOLERANCE_MM = 0.01, 0.01

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class SlicePose:
    """Position and orientation of a slice in the patient: millimetres, LPS, x first.

    Attributes
    ----------
    position
        Centre of the first pixel (Image Position Patient).
    row, column
        Unit vectors along a row (of increasing x) and along a column (of increasing y).
    spacing
        Distance between rows and between columns.
    thickness
        Slice spacing of a volume of this slice alone; 0 where the file does not say, which counts as 1 mm.
    """

    position: Vector
    row: Vector
    column: Vector
    spacing: tuple[float, float]
    thickness: float = 0.0

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit normal of the slice: row x column."""
        cross_product = np.cross(self.row, self.column)
        return np.asarray(cross_product / np.linalg.norm(cross_product), dtype=np.float64)

    def moved_to(self, position: NDArray[np.float64]) -> SlicePose:
        """The same slice at another position in mm, x first."""
        return replace(self, position=_as_vector([float(v) for v in position]))

    @classmethod
    def from_header(
        cls,
        name: str,
        position: Sequence[float],
        orientation: Sequence[float],
        spacing: Sequence[float],
        thickness: float,
    ) -> SlicePose:
        """Validate the numbers of a header.

        Parameters
        ----------
        name
            For messages.
        position, orientation, spacing, thickness
            Image Position (3 numbers), Image Orientation (6), Pixel Spacing (2), slice spacing (invalid: 0).

        Raises
        ------
        BadInput
            If a number is missing or not finite, the directions are not orthogonal unit vectors, or a spacing
            is not above zero.
        """
        if len(position) != 3 or len(orientation) != 6 or len(spacing) != 2:
            raise BadInput(name, "has an incomplete position", "export it again")
        if not all(map(math.isfinite, (*position, *orientation, *spacing))) or min(spacing) <= 0:
            raise BadInput(name, "has an invalid spacing or position", "export it again")
        row, column = _as_vector(orientation[:3]), _as_vector(orientation[3:])
        direction_dot = sum(map(mul, row, column))
        deviation = max(abs(math.hypot(*row) - 1), abs(math.hypot(*column) - 1), abs(direction_dot))
        if deviation > _ORTHOGONALITY_TOLERANCE:
            raise BadInput(name, "has directions that are not at right angles", "export it again")
        return cls(
            _as_vector(position),
            row,
            column,
            (float(spacing[0]), float(spacing[1])),
            float(thickness) if math.isfinite(thickness) and thickness > 0 else 0.0,
        )


def _as_vector(values: Sequence[float]) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z


def is_same_orientation(pose: SlicePose, other_pose: SlicePose) -> bool:
    """Whether two slices have the same directions and pixel spacing, so that they can form a stack."""
    direction_difference = np.abs(
        np.subtract(pose.row + pose.column, other_pose.row + other_pose.column)
    ).max()
    spacing_difference = np.abs(np.divide(pose.spacing, other_pose.spacing) - 1).max()
    return bool(direction_difference <= _DIRECTION_TOLERANCE and spacing_difference <= _DIRECTION_TOLERANCE)


def distance_along_normal(poses: Sequence[SlicePose]) -> NDArray[np.float64]:
    """The position of each slice along the normal of the first, in mm, `(n,)`."""
    return np.array([p.position for p in poses]) @ poses[0].normal


def plane_matrix(pose: SlicePose, step: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """The affine of a volume of one slice, `(4, 4)` in the order z, y, x.

    Parameters
    ----------
    pose
        Of the slice.
    step
        Vector to the next slice in mm, x first; None: `thickness` along the normal.
    """
    if step is None:
        step = pose.normal * (pose.thickness or 1.0)
    columns = (step, np.multiply(pose.column, pose.spacing[0]), np.multiply(pose.row, pose.spacing[1]))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack(columns, axis=1)[::-1]
    matrix[:3, 3] = pose.position[::-1]
    return matrix


def stack_matrix(name: str, poses: Sequence[SlicePose]) -> NDArray[np.float64]:
    """The affine of a stack, `(4, 4)` in the order z, y, x (PS3.3, C.7.6.2.1.1).

    The step is the vector from the first slice to the last, divided equally. A tilted gantry thus gives a
    sheared affine, which is exact.

    Parameters
    ----------
    name
        For messages.
    poses
        Of slices of the same orientation, in order along their normal, all at different positions.

    Raises
    ------
    BadInput
        If slices are missing, not equally spaced, or not in one line.
    """
    if len(poses) == 1:
        return plane_matrix(poses[0])
    points = np.array([p.position for p in poses])
    count = len(points)
    gaps = np.diff(distance_along_normal(poses))
    step = (points[-1] - points[0]) / (count - 1)
    regular_positions = points[0] + np.arange(count)[:, None] * step
    tolerance = max(_TOLERANCE_MM, _TOLERANCE_STEPS * float(gaps.min()))
    if np.linalg.norm(points - regular_positions, axis=1).max() <= tolerance:
        return plane_matrix(poses[0], step)
    gap_ratios = gaps / gaps.min()
    is_integer_multiple = np.abs(gap_ratios - np.round(gap_ratios)).max() * gaps.min() <= tolerance
    missing = int(np.round(gap_ratios).sum()) - count + 1
    if is_integer_multiple and 0 < missing < count:
        gap_index = int(np.argmax(gap_ratios))
        raise BadInput(
            name,
            f"lacks {missing} of {count + missing} slices, the first after slice {gap_index + 1}",
            "copy the whole series",
        )
    if float(gaps.max() - gaps.min()) > tolerance:
        raise BadInput(
            name,
            f"its {count} slices are not equally spaced ({gaps.min():.3g} to {gaps.max():.3g} mm)",
            "resample it to equal spacing, or copy the whole series",
        )
    raise BadInput(name, "its slices do not lie in one line", "export each straight part as a series")
