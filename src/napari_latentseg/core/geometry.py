"""Where an array lies in the world: its affine, its units and its frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_latentseg.core.units import MM_PER_UNIT, SECONDS, canonical_unit, conversion
from napari_latentseg.errors import BadInput

__all__ = ["Geometry"]

_MIN_DETERMINANT = 1e-6

_ENDS = {"x": "RL", "y": "AP", "z": "IS"}
"""Towards which side of the patient each axis of LPS falls and grows."""


@dataclass(frozen=True)
class Geometry:
    """Where the elements of an array lie in the world.

    Parameters
    ----------
    affine
        `(n + 1, n + 1)`, from array index to world position, **both in the order of the array's
        axes** (so for a `zyx` array the last row and column of the linear part belong to x). This is
        napari's order; a writer that needs x first reverses it.
    units
        A unit for each axis: ``"mm"``, ``"um"``, ``"s"``, ``"pixel"``; other spellings are brought to these.
    axis_labels
        A name for each axis, as napari shows it.
    frame
        ``"LPS"`` where the world is the patient (x grows to the left, y to the back, z to the head),
        as in DICOM and ITK; empty where it is only the image's own.

    Raises
    ------
    BadInput
        Where the affine is not a matrix of that size, is not finite, or cannot be inverted.
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

    @classmethod
    def from_matrix(
        cls, matrix: ArrayLike, units: tuple[str, ...], axis_labels: tuple[str, ...], frame: str = ""
    ) -> Geometry:
        """Build from anything that `numpy.asarray` reads as a matrix.

        Parameters
        ----------
        matrix
            `(n + 1, n + 1)`, in the order of the array's axes.
        units, axis_labels, frame
            As for the class.

        Raises
        ------
        BadInput
            Where it is no matrix of that size, or cannot be inverted.
        """
        return cls(tuple(tuple(row) for row in np.atleast_2d(_as_matrix(matrix))), units, axis_labels, frame)

    @classmethod
    def from_spacing(
        cls, axis_labels: str, spacing: tuple[float, ...] | None = None, unit: str = "pixel"
    ) -> Geometry:
        """Axis-aligned, with its origin at the first element.

        Parameters
        ----------
        axis_labels
            One letter an axis, ``"zyx"``.
        spacing
            The distance between neighbours along each axis, in `unit` (for ``t``: in seconds); 1 where
            it is not given.
        unit
            The unit of every axis but ``t``.

        Raises
        ------
        BadInput
            Where there is not one spacing an axis, or one of them is 0.
        """
        spacings = (1.0,) * len(axis_labels) if spacing is None else tuple(spacing)
        units = tuple("s" if a == "t" and canonical_unit(unit) != "pixel" else unit for a in axis_labels)
        return cls.from_matrix(np.diag([*spacings, 1.0]), units, tuple(axis_labels))

    @property
    def ndim(self) -> int:
        """The number of axes, channels not counted."""
        return len(self.units)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as an array, `(n + 1, n + 1)`."""
        return np.array(self.affine)

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distance between neighbours along each axis, in that axis's unit."""
        linear = self.matrix[: self.ndim, : self.ndim]
        return tuple(float(v) for v in np.linalg.norm(linear, axis=0))

    @property
    def origin(self) -> tuple[float, ...]:
        """Where the centre of the first element lies, in the order of the array's axes, each in its unit.

        Examples
        --------
        >>> Geometry.from_spacing("zyx", (5.0, 0.5, 0.5), "mm").origin
        (0.0, 0.0, 0.0)
        """
        return tuple(float(v) for v in self.matrix[:-1, -1])

    @property
    def direction(self) -> NDArray[np.float64]:
        """Where each axis of the array points in the world, `(n, n)`: column j is of length one, for axis j.

        The rows and columns are in the order of the array's axes; ITK's and DICOM's direction cosines have x
        first, and are ``direction[::-1, ::-1]`` of a volume.

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
        """Towards which side of the patient each axis of the array grows, a letter an axis, time left out.

        The letters are L or R, A or P and S or I, in the order of the array's axes: ``"SPL"`` for a `zyx`
        array whose columns run to the patient's left, its rows to the back and its slices to the head. An
        oblique axis has the letter of the side that it is nearest to, no two axes one of the same pair.
        Empty where the world is not the patient's (see `frame`).

        Examples
        --------
        >>> Geometry.from_matrix(np.eye(4), ("mm",) * 3, ("z", "y", "x"), frame="LPS").orientation
        'SPL'
        >>> Geometry.from_spacing("zyx").orientation
        ''
        """
        from itertools import permutations

        space = [i for i, label in enumerate(self.axis_labels) if label != "t"]
        if self.frame != "LPS" or not {self.axis_labels[i] for i in space} <= _ENDS.keys():
            return ""
        along = self.direction[np.ix_(space, space)]
        rows = max(
            permutations(range(len(space))), key=lambda p: sum(abs(along[i, j]) for j, i in enumerate(p))
        )
        ends = [_ENDS[self.axis_labels[space[i]]] for i in rows]
        return "".join(pair[int(along[i, j] > 0)] for j, (i, pair) in enumerate(zip(rows, ends, strict=True)))

    def agrees_with(
        self, other: Geometry, shape: tuple[int, ...], *, atol_steps: float = 0.01, atol: float = np.inf
    ) -> bool:
        """Whether an array of a shape lies in one place by both geometries.

        This is the rule for "the same place" everywhere in this package. Each corner of the array may lie
        apart by less than a hundredth of an element *along each axis of the array*. The tolerance is in steps
        of the index, because it is elements that are put upon each other: it asks the same of thick slices
        and of fine pixels, of sheared axes, and of an axis of time. A header of float32
        numbers rounds 200 mm by 8e-6 mm, less than a thousandth of a pixel of 0.01 mm, and napari rounds
        far less; a hundredth is above all of that, and below what a comparison of voxels could show.

        Parameters
        ----------
        other
            The other geometry. Units are converted, so 1 mm and 1000 um are one length; a unit that cannot be
            converted (pixels to mm) is another place. Frames must be equal: a world that is not known to
            be the patient's is not the patient's.
        shape
            Of the array, a length for each axis of the geometry.
        atol_steps
            How far a corner may lie away along each axis, in elements of either geometry.
        atol
            How far it may besides lie away along each axis of the world: in mm, along time in s, without a
            unit in elements. Only for files that must hold a geometry exactly.

        Returns
        -------
        bool
            Also False where the geometries have not the same number of axes.

        Raises
        ------
        ValueError
            Where there is not one length an axis.

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
        matrix, second = self.matrix[:-1], other.matrix[:-1] * np.array(factors, dtype=np.float64)[:, None]
        corners = np.array(list(np.ndindex(*(2,) * self.ndim))) * (np.array(shape) - 1)
        apart = (second - matrix) @ np.hstack([corners, np.ones((len(corners), 1))]).T
        for linear in (matrix[:, :-1], second[:, :-1]):  # in the steps of both, so that neither comes first
            if not (np.abs(np.linalg.solve(linear, apart)) <= atol_steps).all():
                return False
        sizes = np.array([(MM_PER_UNIT | SECONDS).get(unit, 1.0) for unit in self.units])
        return bool((np.abs(apart) * sizes[:, None] <= atol).all())

    @property
    def is_axis_aligned(self) -> bool:
        """Whether each axis of the array runs along the world's axis of the same number."""
        linear = self.matrix[: self.ndim, : self.ndim]
        off_diagonal = np.abs(linear - np.diag(np.diag(linear)))
        return bool((off_diagonal <= 1e-9 * np.linalg.norm(linear, axis=0)).all())

    @property
    def voxel_volume(self) -> tuple[float, str]:
        """Area or volume of one element, with its unit: `(size, "mm3")`; time is not counted.

        Lengths in several units are brought to that of the last axis. Where only some of the axes have a
        physical unit there is no area or volume to give, and an element counts as one: `(1.0, "pixel")`.
        """
        spatial_axes = [i for i, label in enumerate(self.axis_labels) if label != "t"]
        units = {self.units[i] for i in spatial_axes}
        unit = self.units[spatial_axes[-1]] if spatial_axes else "pixel"
        if not spatial_axes or (len(units) > 1 and not units <= MM_PER_UNIT.keys()):
            return 1.0, "pixel"
        row_factors = np.ones(self.ndim)
        if len(units) > 1:
            row_factors[spatial_axes] = [MM_PER_UNIT[self.units[i]] / MM_PER_UNIT[unit] for i in spatial_axes]
        linear = (self.matrix[: self.ndim, : self.ndim] * row_factors[:, None])[:, spatial_axes]
        axis_lengths = np.linalg.norm(linear, axis=0)  # kept apart, so that metres do not sink below rounding
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
    """Whether it maps without loss: finite, its axes not zero and not in one plane, nothing projective."""
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
