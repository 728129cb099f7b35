"""A scan: an array, and where it lies in the patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    import dask.array as da

    Array = NDArray[Any] | da.Array

__all__ = ["CHANNEL", "MILLIMETRES", "Geometry", "Scan", "unit_name", "values_of"]

CHANNEL = "c"
_AXES = frozenset("tzyxc")

MILLIMETRES: dict[str, float] = {"nm": 1e-6, "um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}
"""How many millimetres one of each unit of length is."""

_SAME_UNIT = {
    "": "pixel", "pixels": "pixel", "px": "pixel",
    "nanometer": "nm", "nanometre": "nm",
    "\N{MICRO SIGN}m": "um", "\N{GREEK SMALL LETTER MU}m": "um", "micron": "um", "microns": "um",
    "micrometer": "um", "micrometre": "um",
    "millimeter": "mm", "millimetre": "mm",
    "centimeter": "cm", "centimetre": "cm",
    "meter": "m", "metre": "m",
    "second": "s", "seconds": "s", "sec": "s",
    "millisecond": "ms", "msec": "ms",
    "\N{MICRO SIGN}s": "us", "\N{GREEK SMALL LETTER MU}s": "us", "microsecond": "us", "usec": "us",
}  # fmt: skip

_FLATTEST = 1e-6


# Not pint: a dozen spellings need no registry of all units, which takes a third of a second to load.
def unit_name(text: object) -> str:
    """The name that is used here for a unit: ``"mm"`` for ``"millimeter"``, ``"um"`` for ``"µm"``.

    Parameters
    ----------
    text
        A unit as a file or another package spells it. One that is not known is left as it is.
    """
    name = str(text).strip()
    return _SAME_UNIT.get(name, name)


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
        object.__setattr__(self, "units", tuple(unit_name(u) for u in self.units))
        object.__setattr__(self, "axis_labels", tuple(str(label) for label in self.axis_labels))
        matrix = _matrix(self.affine)
        n = len(self.units)
        if n == 0 or matrix.shape != (n + 1, n + 1) or len(self.axis_labels) != n:
            raise BadInput(
                "geometry",
                f"an affine of shape {matrix.shape} with {n} units and {len(self.axis_labels)} labels",
                "give one unit and one label an axis",
            )
        if not _invertible(matrix):
            raise BadInput("geometry", "the affine cannot be inverted", "repair the file's header")
        object.__setattr__(self, "affine", tuple(tuple(map(float, row)) for row in matrix))

    @classmethod
    def from_matrix(
        cls, matrix: ArrayLike, units: tuple[str, ...], labels: tuple[str, ...], frame: str = ""
    ) -> Geometry:
        """Build from anything that `numpy.asarray` reads as a matrix.

        Parameters
        ----------
        matrix
            `(n + 1, n + 1)`, in the order of the array's axes.
        units, labels, frame
            As for the class.

        Raises
        ------
        BadInput
            Where it is no matrix of that size, or cannot be inverted.
        """
        return cls(tuple(tuple(row) for row in np.atleast_2d(_matrix(matrix))), units, labels, frame)

    @classmethod
    def plain(cls, labels: str, spacing: tuple[float, ...] | None = None, unit: str = "pixel") -> Geometry:
        """Axis-aligned, with its origin at the first element.

        Parameters
        ----------
        labels
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
        steps = (1.0,) * len(labels) if spacing is None else tuple(spacing)
        units = tuple("s" if a == "t" and unit_name(unit) != "pixel" else unit for a in labels)
        return cls.from_matrix(np.diag([*steps, 1.0]), units, tuple(labels))

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
    def is_axis_aligned(self) -> bool:
        """Whether each axis of the array runs along the world's axis of the same number."""
        linear = self.matrix[: self.ndim, : self.ndim]
        off = np.abs(linear - np.diag(np.diag(linear)))
        return bool((off <= 1e-9 * np.linalg.norm(linear, axis=0)).all())

    @property
    def element_size(self) -> tuple[float, str]:
        """Area or volume of one element, with its unit: `(size, "mm3")`; time is not counted.

        Lengths in several units are brought to that of the last axis. Where only some of the axes have a
        physical unit there is no area or volume to give, and an element counts as one: `(1.0, "pixel")`.
        """
        space = [i for i, label in enumerate(self.axis_labels) if label != "t"]
        units = {self.units[i] for i in space}
        unit = self.units[space[-1]] if space else "pixel"
        if not space or (len(units) > 1 and not units <= MILLIMETRES.keys()):
            return 1.0, "pixel"
        rows = np.ones(self.ndim)
        if len(units) > 1:
            rows[space] = [MILLIMETRES[self.units[i]] / MILLIMETRES[unit] for i in space]
        linear = (self.matrix[: self.ndim, : self.ndim] * rows[:, None])[:, space]
        steps = np.linalg.norm(linear, axis=0)  # kept apart, so that metres do not sink below rounding
        directions = linear / steps
        size = float(np.prod(steps) * np.sqrt(np.linalg.det(directions.T @ directions)))
        return size, unit if unit == "pixel" else f"{unit}{len(space)}"


def _matrix(values: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BadInput(
            "geometry", "the affine is not a matrix of numbers", "give rows of one length"
        ) from error


def _invertible(matrix: NDArray[np.float64]) -> bool:
    """Whether it maps without loss: finite, its axes not zero and not in one plane, nothing projective."""
    n = len(matrix) - 1
    with np.errstate(all="ignore"):
        steps = np.linalg.norm(matrix[:n, :n], axis=0)
        if not np.isfinite(matrix).all() or not np.isfinite(steps).all() or not (steps > 0).all():
            return False
        volume = abs(np.linalg.det(matrix[:n, :n] / steps))
    return bool(volume > _FLATTEST) and bool(np.array_equal(matrix[n], [0.0] * n + [1.0]))


@dataclass(frozen=True, eq=False)
class Scan:
    """An array with its axes and geometry; frozen. Two scans are equal where they are the same object.

    Parameters
    ----------
    array
        NumPy or dask, of a real dtype of 64 bits at most.
    axes
        One letter an axis out of ``t z y x c``; ``c`` (channels), where there is one, is last.
    geometry
        For the axes other than ``c``.
    modality
        What the file says (``"MR"``, ``"US"``), empty where it does not.
    format
        The name of the format that read it.
    properties
        What the writer of that format needs to write the same header again: plain numbers, lists and
        text, so that JSON holds it. Never patient data.
    source
        The file or folder, for messages, and for DICOM-SEG, which refers to what is there; never recorded.
    notes
        What the reader assumed or left out, in plain words, for people and for the run record.
    levels
        The same image ever coarser, each with the axes of `array`, where the file holds such; for display.

    Raises
    ------
    BadInput
        Where these do not fit each other.
    """

    array: Array
    axes: str
    geometry: Geometry
    modality: str = ""
    format: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    source: Path | None = None
    notes: tuple[str, ...] = ()
    levels: tuple[Array, ...] = ()

    def __post_init__(self) -> None:
        name = self.name
        if not set(self.axes) <= _AXES or len(set(self.axes)) != len(self.axes):
            raise BadInput(name, f"axes {self.axes!r} are not known", "use each letter of tzyxc once at most")
        if CHANNEL in self.axes and not self.axes.endswith(CHANNEL):
            raise BadInput(name, f"axes {self.axes!r}: channels must come last", "move that axis")
        if len(self.axes) != self.array.ndim:
            raise BadInput(
                name, f"{self.array.ndim} dimensions for axes {self.axes!r}", "give one letter an axis"
            )
        if not self.spatial_axes.endswith("yx"):
            raise BadInput(name, f"axes {self.axes!r} do not end in yx", "an image needs a plane")
        if 0 in self.array.shape:
            raise BadInput(name, f"is empty (shape {self.array.shape})", "choose another file")
        if self.array.dtype.kind not in "buif" or self.array.dtype.itemsize > 8:
            raise BadInput(
                name,
                f"values of type {self.array.dtype} are not an image's",
                "use whole or real numbers of 64 bits at most",
            )
        if self.geometry.ndim != len(self.spatial_axes):
            raise BadInput(
                name,
                f"a geometry of {self.geometry.ndim} axes for an image of {len(self.spatial_axes)}",
                "give one for every axis but the channels",
            )
        object.__setattr__(self, "properties", MappingProxyType(dict(self.properties)))

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only mapping cannot be pickled, and a scan must be able to go to another process.
        given = (self.array, self.axes, self.geometry, self.modality, self.format)
        return type(self), (*given, dict(self.properties), self.source, self.notes, self.levels)

    @property
    def spatial_axes(self) -> str:
        """The axes without channels, which are those of the geometry and of every result."""
        return self.axes.removesuffix(CHANNEL)

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """The shape without channels."""
        return tuple(self.array.shape[: len(self.spatial_axes)])

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return self.source.name if self.source else "image"

    def replace(self, **changes: Any) -> Scan:
        """A validated copy with other values.

        Raises
        ------
        BadInput
            Where they do not fit the rest.
        """
        return replace(self, **changes)


def values_of(array: Any) -> NDArray[Any]:
    """An array's values, read in this thread.

    Parameters
    ----------
    array
        NumPy's, or dask's: caches that others have registered with dask, as napari does, are passed by, for
        they are made for one thread.
    """
    if hasattr(array, "dask"):
        array = array.compute(scheduler="synchronous", callbacks=())
    return np.asarray(array)
