"""Where a scan is drawn, and where it lies: a tilted scan is drawn in its own planes, with scale alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_latentseg.core.geometry import Geometry

__all__ = ["Placement", "placement_of"]

# The letters of `Geometry.orientation` for rows that run down and columns that run to the right, as
# radiologists look at slices: anterior, superior and the patient's right are up and to the left.
_FORWARD = "PIL"


@dataclass(frozen=True)
class Placement:
    """The affine with which a scan is drawn, and its exact one.

    Both are `(n + 1, n + 1)`, from array index to world, in the order of the array's axes.

    Parameters
    ----------
    drawn
        With scale and translation only, so that a viewer shows exactly the slices of the array.
    exact
        Of the scan, such as to the patient.

    Examples
    --------
    >>> tilted = [[0.8, -0.6, 0, 5], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    >>> placement = Placement.from_matrices(np.eye(4), tilted)
    >>> placement.exact_matrix(np.eye(4))[0].tolist()
    [0.8, -0.6, 0.0, 5.0]
    """

    drawn: tuple[tuple[float, ...], ...]
    exact: tuple[tuple[float, ...], ...]

    @classmethod
    def from_matrices(cls, drawn: ArrayLike, exact: ArrayLike) -> Placement:
        """Build from arrays, `(n + 1, n + 1)` each."""
        first, second = (
            tuple(tuple(map(float, row)) for row in np.asarray(matrix, dtype=np.float64))
            for matrix in (drawn, exact)
        )
        return cls(first, second)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.drawn) - 1

    @property
    def to_exact(self) -> NDArray[np.float64]:
        """The affine from where it is drawn to where it lies, `(n + 1, n + 1)`."""
        return np.asarray(np.array(self.exact) @ np.linalg.inv(np.array(self.drawn)))

    def exact_matrix(self, matrix: ArrayLike) -> NDArray[np.float64]:
        """Where an array lies that is drawn with `matrix` beside the scan.

        A layer that was moved, turned or scaled on screen is moved by the same amount in the tilted planes.

        Parameters
        ----------
        matrix
            The affine with which it is drawn, `(n + 1, n + 1)`.
        """
        current, drawn = np.asarray(matrix, dtype=np.float64), np.array(self.drawn)
        # a viewer that splits an affine into scale and rotation rounds it: without a move it is exact
        if np.allclose(current, drawn, rtol=1e-9, atol=1e-9):
            return np.array(self.exact)
        return np.asarray(self.to_exact @ current)


def placement_of(geometry: Geometry, shape: tuple[int, ...]) -> Placement | None:
    """How to draw a scan whose axes are not parallel to those of the world.

    Parameters
    ----------
    geometry
        Of the scan.
    shape
        Length of each axis of the geometry.

    Returns
    -------
    Placement or None
        None if the scan is axis-aligned, and is drawn where it lies. If it is so within a hundredth of a
        voxel, as after rounding in a header, it is drawn there. Else it is drawn in its own planes: the
        first slice at 0, rows and columns flipped where needed to look at them as radiologists do.

    Examples
    --------
    >>> turned = Geometry.from_matrix(
    ...     [[4, -0.3, 0, 5], [3, 0.4, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1]], ("mm",) * 3, "zyx", "LPS"
    ... )
    >>> np.round(placement_of(turned, (20, 64, 64)).drawn, 6).diagonal().tolist()
    [5.0, 0.5, 0.5, 1.0]
    >>> placement_of(Geometry.from_spacing("zyx"), (20, 64, 64)) is None
    True
    """
    if geometry.is_axis_aligned:
        return None
    upright = np.diag(np.diag(geometry.matrix))
    upright[:-1, -1] = geometry.origin
    if (np.diag(upright) != 0).all() and geometry.agrees_with(
        Geometry.from_matrix(upright, geometry.units, geometry.axis_labels, geometry.frame), shape
    ):
        return Placement.from_matrices(upright, geometry.matrix)
    drawn = np.eye(geometry.ndim + 1)
    for axis, (step, sign) in enumerate(zip(geometry.spacing, _signs(geometry), strict=True)):
        drawn[axis, axis] = sign * step
        drawn[axis, -1] = 0.0 if sign > 0 else step * (shape[axis] - 1)
    return Placement.from_matrices(drawn, geometry.matrix)


def _signs(geometry: Geometry) -> list[int]:
    """1, or -1 for rows and columns that are drawn in reverse; slices always count upwards."""
    signs = [1] * geometry.ndim
    # the axes of world coordinates of unknown frame are drawn like those of the patient, as napari does
    letters = replace(geometry, frame="LPS").orientation
    for from_end in (1, 2) if len(letters) >= 2 else ():
        signs[-from_end] = 1 if letters[-from_end] in _FORWARD else -1
    return signs
