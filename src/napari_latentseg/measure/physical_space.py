"""From array indices to positions and lengths, in one unit of length and without the time axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.units import conversion

__all__ = ["PhysicalSpace"]


@dataclass(frozen=True)
class PhysicalSpace:
    """Geometry of the spatial axes of a scan, with all lengths in one unit.

    Attributes
    ----------
    linear
        Matrix from voxel steps along the axes to lengths in world coordinates, `(d, d)`.
    origin
        World position of the first voxel, `(d,)`.
    time_displacement
        Shift of the world position from one time point to the next, `(d,)`; 0 in most files.
    unit
        Unit of length; ``"pixel"`` if not all axes have one, and then lengths are in voxels.
    voxel_volume, volume_unit
        Area or volume of one voxel, see `Geometry.voxel_volume`.
    """

    linear: NDArray[np.float64]
    origin: NDArray[np.float64]
    time_displacement: NDArray[np.float64]
    unit: str
    voxel_volume: float
    volume_unit: str

    @classmethod
    def from_geometry(cls, geometry: Geometry, axes: str) -> PhysicalSpace:
        """The physical space of a scan.

        Parameters
        ----------
        geometry
            Geometry of the scan.
        axes
            A letter for each axis, such as ``"tzyx"``.
        """
        spatial_axes = [i for i, axis in enumerate(axes) if axis != "t"]
        voxel_volume, volume_unit = geometry.voxel_volume
        units = [geometry.units[i] for i in spatial_axes]
        unit = units[-1]
        zero = np.zeros(len(spatial_axes))
        if volume_unit == "pixel" and set(units) != {"pixel"}:  # no unit that all axes could be brought to
            return cls(np.eye(len(spatial_axes)), zero, zero, "pixel", voxel_volume, volume_unit)
        factors = np.array([conversion(u, unit) for u in units], dtype=np.float64)
        rows = geometry.matrix[spatial_axes] * factors[:, None]
        along_time = rows[:, axes.index("t")] if "t" in axes else zero
        return cls(rows[:, spatial_axes], rows[:, -1], along_time, unit, voxel_volume, volume_unit)

    def to_world(
        self, index: NDArray[np.floating | np.integer], time: int | None = None
    ) -> NDArray[np.float64]:
        """World positions `(M, d)` of array indices `(M, d)` at a time point."""
        world = index @ self.linear.T + self.origin
        return np.asarray(world if time is None else world + time * self.time_displacement, dtype=np.float64)
