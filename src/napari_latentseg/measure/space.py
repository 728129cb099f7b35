"""Where the elements of an array lie, in one unit of length, time left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.scan import Geometry
from napari_latentseg.units import conversion

__all__ = ["Space"]


@dataclass(frozen=True)
class Space:
    """The geometry of an array's axes other than time, with all lengths in one unit.

    Attributes
    ----------
    linear
        `(d, d)`, from steps along the axes to lengths in the world.
    origin
        `(d,)`, where the first element lies.
    along_time
        `(d,)`, how far the world moves from one point in time to the next; nothing in most files.
    unit
        Of length; ``"pixel"`` where not all axes have one, and then lengths are counted in elements.
    size, size_unit
        Area or volume of one element, see `Geometry.element_size`.
    """

    linear: NDArray[np.float64]
    origin: NDArray[np.float64]
    along_time: NDArray[np.float64]
    unit: str
    size: float
    size_unit: str

    @classmethod
    def of(cls, geometry: Geometry, axes: str) -> Space:
        """The space of a scan.

        Parameters
        ----------
        geometry
            Of the scan.
        axes
            A letter for each of its axes.
        """
        space = [i for i, axis in enumerate(axes) if axis != "t"]
        size, size_unit = geometry.element_size
        units = [geometry.units[i] for i in space]
        unit = units[-1]
        still = np.zeros(len(space))
        if size_unit == "pixel" and unit != "pixel":  # no unit that all axes could be brought to
            return cls(np.eye(len(space)), still, still, "pixel", size, size_unit)
        factors = np.array([conversion(u, unit) for u in units], dtype=np.float64)
        rows = geometry.matrix[space] * factors[:, None]
        along_time = rows[:, axes.index("t")] if "t" in axes else still
        return cls(rows[:, space], rows[:, -1], along_time, unit, size, size_unit)

    def places(
        self, index: NDArray[np.floating | np.integer], time: int | None = None
    ) -> NDArray[np.float64]:
        """World positions of array indices `(M, d)` at a point in time."""
        found = index @ self.linear.T + self.origin
        return np.asarray(found if time is None else found + time * self.along_time, dtype=np.float64)
