"""Sums over the voxels of every region, in one pass through the mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.measure.diameters import run_ends
from napari_latentseg.measure.measurement import Intensity
from napari_latentseg.measure.regions import Regions

__all__ = ["RegionSums", "sum_regions"]


class RegionSums:
    """Running sums over the voxels of each region; entry 0 is the background, and is not used.

    Parameters
    ----------
    region_count
        R, the number of regions.
    ndim
        Number of axes of the array.

    Attributes
    ----------
    voxel_counts
        Number of voxels, int64 `(R + 1,)`.
    probability_sums
        Sum of the mean probabilities, `(R + 1,)`.
    index_sums
        Sum of the array indices, `(R + 1, ndim)`.
    run_ends_by_label
        For regions that are classes: the ends of their voxel lines, see `run_ends`.
    """

    def __init__(self, region_count: int, ndim: int) -> None:
        size = region_count + 1
        self.voxel_counts = np.zeros(size, dtype=np.int64)
        self.probability_sums = np.zeros(size)
        self.index_sums = np.zeros((size, ndim))
        self.run_ends_by_label: dict[int, list[NDArray[np.int64]]] = {}
        self._finite_counts = np.zeros(size, dtype=np.int64)
        self._deviation_sums = np.zeros((2, size))
        self._minimum = np.full(size, np.inf)
        self._maximum = np.full(size, -np.inf)
        self._offset: float | None = None

    def add_intensities(self, region_ids: NDArray[np.int32], values: NDArray[np.float64]) -> None:
        """Add intensities of voxels of these regions, both `(M,)`; infinite values and NaN are ignored."""
        finite = np.isfinite(values)
        region_ids, values = region_ids[finite], values[finite]
        if not values.size:
            return
        if self._offset is None:  # subtracted, so that squares of large values keep their precision
            self._offset = float(values.mean())
        deviations = values - self._offset
        size = len(self.voxel_counts)
        self._finite_counts += np.bincount(region_ids, minlength=size)
        self._deviation_sums[0] += np.bincount(region_ids, deviations, minlength=size)
        self._deviation_sums[1] += np.bincount(region_ids, deviations * deviations, minlength=size)
        np.minimum.at(self._minimum, region_ids, values)
        np.maximum.at(self._maximum, region_ids, values)

    def intensity(self, regions: Sequence[int]) -> Intensity | None:
        """Intensities of some regions together; None without finite values."""
        region_ids = list(regions)
        n = int(self._finite_counts[region_ids].sum())
        if n == 0 or self._offset is None:
            return None
        mean_deviation, mean_square = (float(v) for v in self._deviation_sums[:, region_ids].sum(axis=1) / n)
        return Intensity(
            mean=self._offset + mean_deviation,
            std=float(np.sqrt(max(0.0, mean_square - mean_deviation * mean_deviation))),
            minimum=float(self._minimum[region_ids].min()),
            maximum=float(self._maximum[region_ids].max()),
        )


def sum_regions(regions: Regions, classes: Sequence[ClassInfo], advance: Callable[[], None]) -> RegionSums:
    """Sum over the voxels of every region, in one pass through the mask.

    Parameters
    ----------
    regions
        Regions of the mask.
    classes
        Classes of the segmentation, in the order of its mean.
    advance
        Called after every block.
    """
    timepoint = regions.timepoint
    sums = RegionSums(len(regions), len(timepoint.shape))
    size = len(regions) + 1
    class_of_label = {info.label: k for k, info in enumerate(classes)}
    labels = [int(label) for label in np.unique(regions.label_of_region[1:])]
    for block in timepoint.blocks():
        region_map = regions.region_map(block)
        rows, columns = np.nonzero(region_map)
        advance()
        if not rows.size:
            continue
        region_ids = region_map[rows, columns]
        block_counts = np.bincount(region_ids, minlength=size)
        sums.voxel_counts += block_counts
        for axis, i in enumerate(block.index):
            sums.index_sums[:, axis] += block_counts * i
        sums.index_sums[:, -2] += np.bincount(region_ids, rows + block.rows.start, minlength=size)
        sums.index_sums[:, -1] += np.bincount(region_ids, columns, minlength=size)
        voxel_labels = regions.label_of_region[region_ids]
        for label in labels:
            has_label = voxel_labels == label
            if label in class_of_label and has_label.any():
                mean = np.asarray(timepoint.mean[(class_of_label[label], *block.array_index)])
                sums.probability_sums += np.bincount(
                    region_ids[has_label], mean[rows[has_label], columns[has_label]], minlength=size
                )
            if not regions.are_objects and has_label.any():
                end_indices = run_ends(region_map == int(region_ids[has_label][0]))
                leading = np.broadcast_to(
                    np.array(block.index, dtype=np.int64), (len(end_indices), len(block.index))
                )
                end_voxels = np.column_stack(
                    [leading, end_indices[:, 0] + block.rows.start, end_indices[:, 1]]
                )
                sums.run_ends_by_label.setdefault(label, []).append(end_voxels)
        if timepoint.image is not None:
            sums.add_intensities(region_ids, timepoint.intensities(block)[rows, columns])
    return sums
