"""Distances between the boundaries of masks in the physical units of their geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.units import conversion
from napari_latentseg.evaluation.arrays import Mask
from napari_latentseg.evaluation.metrics import boundary, surface_distances

__all__ = ["PhysicalDistance"]

# Cosine of the angle between two axes, 0 for orthogonal ones. Up to this value (0.06 degrees of shear) a grid
# is measured as an orthogonal one, which is faster and changes a distance by 0.1 % at most.
_ORTHOGONALITY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class PhysicalDistance:
    """Distances between voxels in physical units, exact for anisotropic, oblique and sheared grids.

    Attributes
    ----------
    linear
        Matrix from voxel steps along the axes to lengths in `unit`, `(d, d)`.
    unit
        ``"mm"``, another unit of length, or ``"pixel"``.
    """

    linear: NDArray[np.float64]
    unit: str

    @classmethod
    def of(cls, geometry: Geometry) -> PhysicalDistance:
        """The distances of a geometry without its time axis; in pixels if the units cannot be converted."""
        spatial_axes = [i for i, label in enumerate(geometry.axis_labels) if label != "t"]
        units = [geometry.units[i] for i in spatial_axes]
        linear = geometry.matrix[np.ix_(spatial_axes, spatial_axes)]
        unit = units[-1]
        factors = [conversion(u, unit) for u in units]
        if None in factors:
            return cls(np.eye(len(spatial_axes)), "pixel")
        return cls(linear * np.array(factors, dtype=np.float64)[:, None], unit)

    @property
    def steps(self) -> NDArray[np.float64]:
        """Distance of neighbouring voxels along each axis, `(d,)`, in `unit`."""
        return np.asarray(np.linalg.norm(self.linear, axis=0), dtype=np.float64)

    def diagonal(self, shape: tuple[int, ...]) -> float:
        """Longest diagonal of an image of this shape, in `unit`."""
        # the corner-to-corner vectors (±n_1, ..., ±n_d); they differ in length on a sheared grid
        signs = np.array(np.meshgrid(*[(-1, 1)] * len(shape))).reshape(len(shape), -1)
        return float(np.linalg.norm(self.linear @ (signs * np.array(shape)[:, None]), axis=0).max())

    def distances(self, a: Mask, b: Mask) -> NDArray[np.float64]:
        """Distances between the boundaries of two masks that are not empty, both directions pooled."""
        directions = self.linear / self.steps
        if np.abs(directions.T @ directions - np.eye(len(directions))).max() <= _ORTHOGONALITY_TOLERANCE:
            return np.concatenate(surface_distances(a, b, [float(s) for s in self.steps]))
        from scipy.spatial import cKDTree  # the distance transform needs orthogonal axes

        first, second = (np.argwhere(boundary(mask)) @ self.linear.T for mask in (a, b))
        return np.concatenate([cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]])
