"""Where the elements of an array lie, in one unit of length, time left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.units import conversion

__all__ = ["PhysicalSpace"]


@dataclass(frozen=True)
class PhysicalSpace:
    """The geometry of an array's axes other than time, with all lengths in one unit.

    Attributes
    ----------
    linear
        `(d, d)`, from steps along the axes to lengths in the world.
    origin
        `(d,)`, where the first element lies.
    time_displacement
        `(d,)`, how far the world moves from one point in time to the next; nothing in most files.
    unit
        Of length; ``"pixel"`` where not all axes have one, and then lengths are counted in elements.
    voxel_volume, volume_unit
        Area or volume of one element, see `Geometry.voxel_volume`.
    """

    linear: NDArray[np.float64]
    origin: NDArray[np.float64]
    time_displacement: NDArray[np.float64]
    unit: str
    voxel_volume: float
    volume_unit: str

    @classmethod
    def from_geometry(cls, geometry: Geometry, axes: str) -> PhysicalSpace:
        """The space of a scan.

        Parameters
        ----------
        geometry
            Of the scan.
        axes
            A letter for each of its axes.
        """
        spatial_axes = [i for i, axis in enumerate(axes) if axis != "t"]
        voxel_volume, volume_unit = geometry.voxel_volume
        units = [geometry.units[i] for i in spatial_axes]
        unit = units[-1]
        zero = np.zeros(len(spatial_axes))
        if volume_unit == "pixel" and unit != "pixel":  # no unit that all axes could be brought to
            return cls(np.eye(len(spatial_axes)), zero, zero, "pixel", voxel_volume, volume_unit)
        factors = np.array([conversion(u, unit) for u in units], dtype=np.float64)
        rows = geometry.matrix[spatial_axes] * factors[:, None]
        along_time = rows[:, axes.index("t")] if "t" in axes else zero
        return cls(rows[:, spatial_axes], rows[:, -1], along_time, unit, voxel_volume, volume_unit)

    def to_world(
        self, index: NDArray[np.floating | np.integer], time: int | None = None
    ) -> NDArray[np.float64]:
        """World positions of array indices `(M, d)` at a point in time."""
        world = index @ self.linear.T + self.origin
        return np.asarray(world if time is None else world + time * self.time_displacement, dtype=np.float64)
