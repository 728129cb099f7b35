"""How many voxels of each sample belong to each region of a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.measure.physical_space import PhysicalSpace
from napari_latentseg.measure.regions import Regions

__all__ = ["SampleAssignment", "assign_samples"]


@dataclass(frozen=True)
class SampleAssignment:
    """Voxel counts of the samples, by region and by class.

    Attributes
    ----------
    region_counts
        Voxels of each of n samples that were assigned to each of R regions, int64 `(n, R + 1)`; column 0, the
        background, is 0.
    class_counts
        Voxels of each of K classes in each sample, int64 `(n, K)`; also of classes that the mask lacks.
    """

    region_counts: NDArray[np.int64]
    class_counts: NDArray[np.int64]


def assign_samples(
    regions: Regions, classes: Sequence[ClassInfo], physical_space: PhysicalSpace, advance: Callable[[], None]
) -> SampleAssignment | None:
    """Assign each voxel of each sample to the region of its class that contains it, or else to the nearest.

    So for a class with a region in the mask, the counts of its regions add up to the count of the class in
    that sample.

    Parameters
    ----------
    regions
        Regions of the mask.
    classes
        The K classes of the segmentation.
    physical_space
        For distances in physical units.
    advance
        Called after every plane, for a progress bar.

    Returns
    -------
    SampleAssignment or None
        None if no samples were kept.
    """
    timepoint = regions.timepoint
    sample_count = timepoint.sample_count
    if sample_count == 0:
        return None
    class_of_label = np.full(256, -1)  # a mask is uint8
    class_of_label[[c.label for c in classes]] = np.arange(len(classes))
    class_of_region = class_of_label[regions.label_of_region]
    class_of_region[0] = -1
    nearest = [_NearestRegion(regions, info.label, physical_space) for info in classes]
    region_counts = np.zeros((sample_count, len(regions) + 1), dtype=np.int64)
    class_counts = np.zeros((sample_count, len(classes)), dtype=np.int64)
    blocks_of_plane: dict[tuple[int, ...], list[Any]] = {}
    for block in timepoint.blocks():
        blocks_of_plane.setdefault(block.index, []).append(block)
    for index, plane_blocks in blocks_of_plane.items():
        plane_regions = np.concatenate([regions.region_map(block) for block in plane_blocks])
        class_map = class_of_region[plane_regions]
        unassigned: list[list[tuple[int, NDArray[np.intp]]]] = [[] for _ in classes]
        for i, sample in enumerate(timepoint.sample_class_maps(index)):
            voxels = np.flatnonzero(sample.ravel() >= 0)  # -1 is background
            if not voxels.size:
                continue
            voxel_classes = sample.ravel()[voxels]
            class_counts[i] += np.bincount(voxel_classes, minlength=len(classes))
            is_inside = class_map.ravel()[voxels] == voxel_classes
            region_counts[i] += np.bincount(
                plane_regions.ravel()[voxels[is_inside]], minlength=len(regions) + 1
            )
            for k in np.unique(voxel_classes[~is_inside]):
                unassigned[k].append((i, voxels[~is_inside & (voxel_classes == k)]))
        for k, class_unassigned in enumerate(unassigned):
            nearest[k].add(region_counts, index, plane_regions.shape[1], class_unassigned)
        advance()
    return SampleAssignment(region_counts, class_counts)


class _NearestRegion:
    """Assigns voxels outside all regions of a class to the nearest of these regions."""

    def __init__(self, regions: Regions, label: int, space: PhysicalSpace) -> None:
        self._regions, self._label, self._space = regions, label, space
        self._region_ids = regions.regions_with_label(label)
        self._tree: Any = None

    def add(
        self,
        region_counts: NDArray[np.int64],
        index: tuple[int, ...],
        width: int,
        unassigned: list[tuple[int, NDArray[np.intp]]],
    ) -> None:
        """Add the unassigned voxels of the plane at `index` to `region_counts`.

        `unassigned` holds the number of a sample, and the indices of its voxels in the flattened plane, which
        has `width` columns.
        """
        if not unassigned or not self._region_ids:
            return
        if len(self._region_ids) == 1:
            for i, voxels in unassigned:
                region_counts[i, self._region_ids[0]] += len(voxels)
            return
        unique_voxels = np.unique(np.concatenate([voxels for _, voxels in unassigned]))
        nearest_region = self._nearest_regions(index, unique_voxels, width)
        for i, voxels in unassigned:
            assigned_regions = nearest_region[np.searchsorted(unique_voxels, voxels)]
            region_counts[i] += np.bincount(assigned_regions, minlength=region_counts.shape[1])

    def _nearest_regions(
        self, index: tuple[int, ...], voxels: NDArray[np.intp], width: int
    ) -> NDArray[np.int32]:
        """Nearest region of each of the voxels of a plane, by the distance to the regions' boundaries."""
        from scipy.spatial import cKDTree

        if self._tree is None:
            # only built if a voxel of a sample lies outside the regions
            boundary_voxels, self._boundary_regions = self._regions.boundary_voxels(self._label)
            self._tree = cKDTree(boundary_voxels @ self._space.linear.T)
        rows, columns = np.divmod(voxels, width)
        leading = np.broadcast_to(np.array(index, dtype=np.intp), (len(voxels), len(index)))
        positions = np.column_stack([leading, rows, columns]) @ self._space.linear.T
        nearest_region: NDArray[np.int32] = self._boundary_regions[self._tree.query(positions)[1]]
        return nearest_region
