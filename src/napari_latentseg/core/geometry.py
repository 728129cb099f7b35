"""Geometry of an array: its affine to world coordinates, units and coordinate frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_latentseg.core.orientation import SIDES_OF_AXIS
from napari_latentseg.core.units import MM_PER_UNIT, SECONDS, canonical_unit, conversion
from napari_latentseg.errors import BadInput

__all__ = ["Geometry"]

# Of unit vectors along the axes: 0.87 for a gantry tilted by 30 degrees, near 0 if the axes lie in one plane.
_MIN_DETERMINANT = 1e-6

# A femtometre and a million kilometres: no image has either; a damaged exponent in a header leads there
_MIN_SPACING_MM, _MAX_SPACING_MM = 1e-12, 1e12


@dataclass(frozen=True)
class Geometry:
    """The position of the voxels of an array in the world; immutable.

    Parameters
    ----------
    affine
        `(n + 1, n + 1)`, from array index to world position of the voxel centre, **both in the order of the
        array's axes**: for a `zyx` array the last row and column of the linear part belong to x. This is
        napari's order; ITK, DICOM and NIfTI have x first, so their readers and writers reverse it.
    units
        One for each axis: ``"mm"``, ``"um"``, ``"s"``, ``"pixel"`` and the like. Other spellings are
        converted by `napari_latentseg.core.units.canonical_unit`.
    axis_labels
        One name for each axis, as napari shows it: ``("z", "y", "x")``.
    frame
        ``"LPS"`` if world coordinates are patient coordinates (x to the left, y to the back, z to the head,
        as in DICOM and ITK). Empty if the position in the patient is unknown.

    Raises
    ------
    BadInput
        If the affine is not a finite, invertible matrix of that size, or a spacing is one that no image has.

    Examples
    --------
    >>> geometry = Geometry.from_spacing("zyx", (5.0, 0.5, 0.5), "mm")
    >>> geometry.spacing, geometry.units, geometry.frame
    ((5.0, 0.5, 0.5), ('mm', 'mm', 'mm'), '')
    >>> geometry.voxel_volume
    (1.25, 'mm3')
    """

    affine: tuple[tuple[float, ...], ...]
    units: tuple[str, ...]
    axis_labels: tuple[str, ...]
    frame: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(canonical_unit(u) for u in self.units))
        object.__setattr__(self, "axis_labels", tuple(str(label) for label in self.axis_labels))
        matrix = _as_matrix(self.affine)
        n = len(self.units)
        if n == 0 or matrix.shape != (n + 1, n + 1) or len(self.axis_labels) != n:
            raise BadInput(
                "geometry",
                f"an affine of shape {matrix.shape} with {n} units and {len(self.axis_labels)} labels",
                "give one unit and one label an axis",
            )
        if not _is_invertible(matrix):
            raise BadInput("geometry", "the affine cannot be inverted", "repair the file's header")
        object.__setattr__(self, "affine", tuple(tuple(map(float, row)) for row in matrix))
        for step, unit in zip(self.spacing, self.units, strict=True):
            length = step * MM_PER_UNIT.get(unit, 1.0)
            if unit not in SECONDS and not _MIN_SPACING_MM <= length <= _MAX_SPACING_MM:
                raise BadInput(
                    "geometry", f"a spacing of {step:g} {unit} cannot be", "repair the file's header"
                )

    @classmethod
    def from_matrix(
        cls, matrix: ArrayLike, units: tuple[str, ...], axis_labels: tuple[str, ...], frame: str = ""
    ) -> Geometry:
        """Build from any array-like matrix.

        Parameters
        ----------
        matrix
            `(n + 1, n + 1)`, in the order of the array's axes.
        units, axis_labels, frame
            As for the class.

        Raises
        ------
        BadInput
            If it is not a finite, invertible matrix of that size.

        Examples
        --------
        >>> Geometry.from_matrix(np.diag([5.0, 0.5, 0.5, 1.0]), ("mm",) * 3, ("z", "y", "x"), "LPS").spacing
        (5.0, 0.5, 0.5)
        """
        return cls(tuple(tuple(row) for row in np.atleast_2d(_as_matrix(matrix))), units, axis_labels, frame)

    @classmethod
    def from_spacing(
        cls, axis_labels: str, spacing: tuple[float, ...] | None = None, unit: str = "pixel"
    ) -> Geometry:
        """Axis-aligned, with the origin at the first voxel and no position in the patient.

        Parameters
        ----------
        axis_labels
            One letter for each axis: ``"zyx"``.
        spacing
            Distance between neighbouring voxel centres along each axis, in `unit` (along ``t``, in seconds).
            None: 1 along every axis.
        unit
            Of every axis but ``t``, which is in seconds, or in ``"pixel"`` if this is ``"pixel"``.

        Raises
        ------
        BadInput
            If there is not one spacing for each axis, or one of them is 0.
        """
        spacings = (1.0,) * len(axis_labels) if spacing is None else tuple(spacing)
        units = tuple("s" if a == "t" and canonical_unit(unit) != "pixel" else unit for a in axis_labels)
        return cls.from_matrix(np.diag([*spacings, 1.0]), units, tuple(axis_labels))

    @property
    def ndim(self) -> int:
        """The number of axes, without channels."""
        return len(self.units)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as an array, `(n + 1, n + 1)`."""
        return np.array(self.affine)

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distance between neighbouring voxel centres along each axis, in the unit of that axis."""
        linear = self.matrix[: self.ndim, : self.ndim]
        return tuple(float(v) for v in np.linalg.norm(linear, axis=0))

    @property
    def origin(self) -> tuple[float, ...]:
        """World position of the centre of the first voxel, in the order and units of the array's axes.

        Examples
        --------
        >>> Geometry.from_spacing("zyx", (5.0, 0.5, 0.5), "mm").origin
        (0.0, 0.0, 0.0)
        """
        return tuple(float(v) for v in self.matrix[:-1, -1])

    @property
    def direction(self) -> NDArray[np.float64]:
        """Direction cosines, `(n, n)`: column j is the unit vector in the world along axis j of the array.

        Rows and columns are in the order of the array's axes. ITK and DICOM have x first: their cosines of a
        volume are ``direction[::-1, ::-1]``.

        Examples
        --------
        >>> flipped = Geometry.from_matrix(np.diag([5.0, -0.5, 0.5, 1.0]), ("mm",) * 3, ("z", "y", "x"))
        >>> flipped.direction.diagonal().tolist()
        [1.0, -1.0, 1.0]
        """
        linear = self.matrix[: self.ndim, : self.ndim]
        return np.asarray(linear / np.linalg.norm(linear, axis=0))

    @property
    def orientation(self) -> str:
        """Anatomical orientation code: the side of the patient towards which each axis of the array runs.

        One letter for each axis but time, in the order of the array's axes: L or R, A or P, S or I. ``"SPL"``
        is a `zyx` array whose slice index increases towards the head, row index towards the back and column
        index towards the patient's left. An oblique axis gets the letter of the nearest side; no two axes get
        letters of the same pair. Empty if `frame` is.

        Examples
        --------
        >>> Geometry.from_matrix(np.eye(4), ("mm",) * 3, ("z", "y", "x"), frame="LPS").orientation
        'SPL'
        >>> Geometry.from_spacing("zyx").orientation
        ''
        """
        from itertools import permutations

        space = [i for i, label in enumerate(self.axis_labels) if label != "t"]
        if self.frame != "LPS" or not {self.axis_labels[i] for i in space} <= SIDES_OF_AXIS.keys():
            return ""
        along = self.direction[np.ix_(space, space)]
        rows = max(
            permutations(range(len(space))), key=lambda p: sum(abs(along[i, j]) for j, i in enumerate(p))
        )
        ends = [SIDES_OF_AXIS[self.axis_labels[space[i]]] for i in rows]
        return "".join(pair[int(along[i, j] > 0)] for j, (i, pair) in enumerate(zip(rows, ends, strict=True)))

    def agrees_with(
        self, other: Geometry, shape: tuple[int, ...], *, atol_steps: float = 0.01, atol: float = np.inf
    ) -> bool:
        """Whether both geometries put the voxels of an array at the same positions.

        This is the one rule for "the same position" in this package. The corners of the array are compared:
        by default, each must differ by less than a hundredth of a voxel *along each axis of the array*. A
        tolerance in voxels treats thick slices, small pixels, sheared axes and time alike. A hundredth is
        above the rounding in files and in napari (a float32 header rounds 200 mm by 8e-6 mm, which is a
        thousandth of a pixel of 0.01 mm), and too small to matter when voxels are compared.

        Parameters
        ----------
        other
            The other geometry. Units are converted, so 1 mm equals 1000 um; units that cannot be converted
            (pixel to mm) differ. Frames must be equal: an unknown frame is not LPS.
        shape
            Shape of the array, one length for each axis of the geometry.
        atol_steps
            Largest difference of a corner along each axis of the array, in voxels of either geometry.
        atol
            Largest difference of a corner along each world axis, besides: in mm, for time in seconds, for
            pixels in pixels. Finite only to verify that a file holds a geometry exactly.

        Returns
        -------
        bool
            False, too, if the numbers of axes differ.

        Raises
        ------
        ValueError
            If `shape` has not one length for each axis.

        Examples
        --------
        >>> here = Geometry.from_spacing("zyx", (5.0, 0.5, 0.5), "mm")
        >>> here.agrees_with(Geometry.from_spacing("zyx", (5000.0, 500.0, 500.0), "um"), (20, 256, 256))
        True
        >>> here.agrees_with(Geometry.from_spacing("zyx", (5.0, 0.5, 0.6), "mm"), (20, 256, 256))
        False
        """
        if len(shape) != self.ndim:
            raise ValueError(f"shape {shape} for a geometry of {self.ndim} axes")
        if (self.ndim, self.frame) != (other.ndim, other.frame):
            return False
        factors = [conversion(b, a) for a, b in zip(self.units, other.units, strict=True)]
        if None in factors:
            return False
        first, second = self.matrix[:-1], other.matrix[:-1] * np.array(factors, dtype=np.float64)[:, None]
        corners = np.array(list(np.ndindex(*(2,) * self.ndim))) * (np.array(shape) - 1)
        distances = (second - first) @ np.hstack([corners, np.ones((len(corners), 1))]).T
        for linear in (first[:, :-1], second[:, :-1]):  # in voxels of either, so that the rule is symmetric
            if not (np.abs(np.linalg.solve(linear, distances)) <= atol_steps).all():
                return False
        unit_sizes = np.array([(MM_PER_UNIT | SECONDS).get(unit, 1.0) for unit in self.units])
        return bool((np.abs(distances) * unit_sizes[:, None] <= atol).all())

    def in_one_unit(self, unit: str = "") -> Geometry:
        """The same geometry with all lengths in one unit; as it is where an axis has no unit of length.

        A file may give its slices in micrometres and its pixels in nanometres. Distances that were computed
        from such numbers as they stand would be none.

        Parameters
        ----------
        unit
            Of length; that of the last axis where not given.

        Examples
        --------
        >>> mixed = Geometry.from_matrix(np.diag([2.0, 500, 500, 1]), ("um", "nm", "nm"), ("z", "y", "x"))
        >>> mixed.in_one_unit().spacing, mixed.in_one_unit().units
        ((2000.0, 500.0, 500.0), ('nm', 'nm', 'nm'))
        """
        space = [i for i, label in enumerate(self.axis_labels) if label != "t"]
        present = {self.units[i] for i in space}
        target = unit or (self.units[space[-1]] if space else "")
        if present <= {target} or not present | {target} <= MM_PER_UNIT.keys():
            return self
        matrix, units = self.matrix, list(self.units)
        for i in space:
            factor = conversion(units[i], target)
            assert factor is not None
            matrix[i] *= factor
            units[i] = target
        return Geometry.from_matrix(matrix, tuple(units), self.axis_labels, self.frame)

    @property
    def is_axis_aligned(self) -> bool:
        """Whether each axis of the array is parallel to its own world axis (no rotation, no shear)."""
        linear = self.matrix[: self.ndim, : self.ndim]
        off_diagonal = np.abs(linear - np.diag(np.diag(linear)))
        return bool((off_diagonal <= 1e-9 * np.linalg.norm(linear, axis=0)).all())

    def describe_spacing(self) -> str:
        """The spacing in a few words: ``"5 x 0.5 x 0.5 mm"``.

        Examples
        --------
        >>> Geometry.from_spacing("tyx", (2.0, 0.5, 0.5), "mm").describe_spacing()
        '2 s x 0.5 x 0.5 mm'
        """
        parts = []
        for i, (step, unit) in enumerate(zip(self.spacing, self.units, strict=True)):
            is_last_of_unit = i + 1 == self.ndim or self.units[i + 1] != unit
            parts.append(f"{step:.4g} {unit}" if is_last_of_unit else f"{step:.4g}")
        return " x ".join(parts)

    @property
    def voxel_volume(self) -> tuple[float, str]:
        """Volume of one voxel (area of one pixel) and its unit: ``(1.25, "mm3")``; the time axis is left out.

        Axes in different units of length are converted to the unit of the last axis. If only some axes have a
        unit of length, the result is ``(1.0, "pixel")``: volumes are then counts of voxels.
        """
        spatial_axes = [i for i, label in enumerate(self.axis_labels) if label != "t"]
        units = {self.units[i] for i in spatial_axes}
        unit = self.units[spatial_axes[-1]] if spatial_axes else "pixel"
        if not spatial_axes or (len(units) > 1 and not units <= MM_PER_UNIT.keys()):
            return 1.0, "pixel"
        row_factors = np.ones(self.ndim)
        if len(units) > 1:
            row_factors[spatial_axes] = [conversion(self.units[i], unit) for i in spatial_axes]
        linear = (self.matrix[: self.ndim, : self.ndim] * row_factors[:, None])[:, spatial_axes]
        axis_lengths = np.linalg.norm(
            linear, axis=0
        )  # factored out: the determinant of steps in metres would be tiny
        directions = linear / axis_lengths
        size = float(np.prod(axis_lengths) * np.sqrt(np.linalg.det(directions.T @ directions)))
        return size, unit if unit == "pixel" else f"{unit}{len(spatial_axes)}"


def _as_matrix(values: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(
            "geometry", "the affine is not a matrix of numbers", "give rows of one length"
        ) from error


def _is_invertible(matrix: NDArray[np.float64]) -> bool:
    """Whether the affine is finite, its axes are independent and its last row is ``[0, ..., 0, 1]``."""
    n = len(matrix) - 1
    with np.errstate(all="ignore"):
        axis_lengths = np.linalg.norm(matrix[:n, :n], axis=0)
        if (
            not np.isfinite(matrix).all()
            or not np.isfinite(axis_lengths).all()
            or not (axis_lengths > 0).all()
        ):
            return False
        volume = abs(np.linalg.det(matrix[:n, :n] / axis_lengths))
    return bool(volume > _MIN_DETERMINANT) and bool(np.array_equal(matrix[n], [0.0] * n + [1.0]))
