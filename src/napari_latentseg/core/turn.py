"""Turn an array that lies where another does, but is stored in another orientation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.orientation import SIDES_OF_AXIS
from napari_latentseg.core.units import conversion

__all__ = ["Turn", "find_turn", "misplacement"]

# what is reported as the reason is what a person can see: smaller differences are rounding in headers
_MIN_SPACING_RATIO = 1e-3
_MIN_ANGLE_DEGREES = 0.05
_SIDE_WORDS = {
    "L": "left", "R": "right", "A": "front", "P": "back", "S": "head", "I": "feet",
}  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """A permutation of axes with flips; no value is interpolated.

    Attributes
    ----------
    order
        Axis i of the turned array is axis ``order[i]`` of the array.
    flipped
        For each axis of the turned array, whether it is reversed.
    """

    order: tuple[int, ...]
    flipped: tuple[bool, ...]

    @property
    def is_identity(self) -> bool:
        """Whether nothing is moved."""
        return self.order == tuple(range(len(self.order))) and not any(self.flipped)

    def apply(self, array: Any) -> Any:
        """The turned array, as a view; NumPy or dask, without channels."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return array.transpose(self.order)[steps]

    def apply_to_geometry(self, geometry: Geometry, shape: tuple[int, ...]) -> Geometry:
        """The geometry of the turned array.

        Parameters
        ----------
        geometry
            Of the array.
        shape
            Of the array, before it is turned.
        """
        n = geometry.ndim
        matrix = geometry.matrix[:, [*self.order, n]]
        for axis, flip in enumerate(self.flipped):
            if flip:
                matrix[:n, n] += matrix[:n, axis] * (shape[self.order[axis]] - 1)
                matrix[:n, axis] *= -1
        return Geometry.from_matrix(matrix, geometry.units, geometry.axis_labels, geometry.frame)


def find_turn(
    geometry: Geometry, shape: tuple[int, ...], target: Geometry, target_shape: tuple[int, ...]
) -> Turn | None:
    """How an array is turned to lie index on index with another; None where it lies elsewhere.

    Parameters
    ----------
    geometry, shape
        Of the array.
    target, target_shape
        Of the other array.

    Returns
    -------
    Turn or None
        `Geometry.agrees_with` holds for the turned array and the other one.

    Examples
    --------
    >>> target = Geometry.from_matrix(np.diag([2.0, 1, 1, 1]), ("mm",) * 3, ("z", "y", "x"), "LPS")
    >>> flipped = np.diag([2.0, 1, -1, 1])
    >>> flipped[2, 3] = 7
    >>> mask = Geometry.from_matrix(flipped, ("mm",) * 3, ("z", "y", "x"), "LPS")
    >>> find_turn(mask, (4, 6, 8), target, (4, 6, 8))
    Turn(order=(0, 1, 2), flipped=(False, False, True))
    """
    turn = _nearest_turn(geometry, target)
    if turn is None or tuple(shape[i] for i in turn.order) != tuple(target_shape):
        return None
    agrees = target.agrees_with(turn.apply_to_geometry(geometry, shape), target_shape)
    return turn if agrees else None


def misplacement(
    geometry: Geometry, shape: tuple[int, ...], target: Geometry, target_shape: tuple[int, ...]
) -> str:
    """Why `find_turn` gives None, in words that follow the name of the array's file.

    Parameters
    ----------
    geometry, shape, target, target_shape
        As for `find_turn`.
    """
    turn = _nearest_turn(geometry, target)
    if turn is None:
        return f"has axes {geometry.axis_labels} in {geometry.units}, its image {target.axis_labels}"
    turned, turned_shape = turn.apply_to_geometry(geometry, shape), tuple(shape[i] for i in turn.order)
    if turned_shape != tuple(target_shape):
        stored = "" if turn.is_identity else " once it is turned as its image is"
        return f"has shape {turned_shape}{stored}, its image {tuple(target_shape)}"
    factors = _unit_factors(turned, target)
    assert factors is not None
    spacing = np.array(turned.spacing) * factors
    for axis, (ours, theirs) in enumerate(zip(spacing, target.spacing, strict=True)):
        if target_shape[axis] > 1 and abs(ours / theirs - 1) > _MIN_SPACING_RATIO:
            unit, label = target.units[axis], target.axis_labels[axis]
            return f"has a spacing of {ours:.4g} {unit} along {label}, its image {theirs:.4g} {unit}"
    cosines = np.clip((turned.direction * target.direction).sum(axis=0), -1, 1)
    angle = float(np.degrees(np.arccos(cosines.min())))
    if angle > _MIN_ANGLE_DEGREES:
        return f"is turned by {angle:.3g} degrees against its image"
    offset = np.array(turned.origin) * factors - np.array(target.origin)
    axis = int(np.abs(offset).argmax())
    label = target.axis_labels[axis]
    towards = ""
    if target.frame == "LPS" and label in SIDES_OF_AXIS:
        towards = f", towards the {_SIDE_WORDS[SIDES_OF_AXIS[label][int(offset[axis] > 0)]]}"
    return (
        f"lies elsewhere in the patient than its image: "
        f"{abs(offset[axis]):.4g} {target.units[axis]} off along {label}{towards}"
    )


def _unit_factors(geometry: Geometry, target: Geometry) -> NDArray[np.float64] | None:
    """Factors from the units of one geometry to those of another; None where they cannot be converted."""
    if geometry.ndim != target.ndim or geometry.frame != target.frame:
        return None
    factors = [conversion(a, b) for a, b in zip(geometry.units, target.units, strict=True)]
    return None if None in factors else np.array(factors, dtype=np.float64)


def _nearest_turn(geometry: Geometry, target: Geometry) -> Turn | None:
    """The turn that brings each axis next to the one of the target that it is nearest to."""
    if _unit_factors(geometry, target) is None:
        return None
    along = geometry.direction.T @ target.direction  # cosines: axes of the array by axes of the target
    order = [int(i) for i in np.abs(along).argmax(axis=0)]
    if sorted(order) != list(range(geometry.ndim)):  # between two axes, as after a turn by 45 degrees
        order = list(range(geometry.ndim))
    flipped = tuple(bool(along[i, axis] < 0) for axis, i in enumerate(order))
    return Turn(tuple(order), flipped)
