"""Running mean and variance over samples; their memory does not grow with the number of samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.labels import argmax_classes, count_voxels
from napari_latentseg.utils.scratch_arrays import DEFAULT_MEMORY_LIMIT, allocate

if TYPE_CHECKING:
    import dask.array as da

    from napari_latentseg.core.sample_store import SampleMaps

__all__ = ["Ensemble"]

_CACHED_VALUES = 2**16  # float32 values of a part: with those in between, what fits into the cache of a core


class Ensemble:
    """Running mean and variance of the probabilities of each plane of a scan, by Welford's update [1]_.

    Parameters
    ----------
    class_count
        K.
    plane_count
        N, the number of planes.
    plane_shape
        Height and width of a plane in pixels.
    descendants
        For each class, the indices of the classes that are parts of it; none by default.
    max_bytes
        Memory limit in bytes; larger arrays go to a temporary file, and `mean` is a zarr array.
    sample_maps
        Stores every sample as well, if given. A sample that comes in several bands belongs to a plane too
        large for that; then no sample is stored.

    Attributes
    ----------
    mean
        float32 `(N, K, H, W)` in [0, 1].
    samples_per_plane
        How many samples each plane has, int64 `(N,)`.

    References
    ----------
    .. [1] Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics
    4,
       1962.
    """

    def __init__(
        self,
        class_count: int,
        plane_count: int,
        plane_shape: tuple[int, int],
        descendants: Sequence[frozenset[int]] | None = None,
        max_bytes: int = DEFAULT_MEMORY_LIMIT,
        sample_maps: SampleMaps | None = None,
    ) -> None:
        self.sample_maps = sample_maps
        self._descendants = descendants or [frozenset()] * class_count
        full_shape = (plane_count, class_count, *plane_shape)
        self.mean: Any = allocate(full_shape, max_bytes // 2)
        self._squared_deviations: Any = allocate(full_shape, max_bytes // 2)
        self.samples_per_plane: NDArray[np.int64] = np.zeros(plane_count, dtype=np.int64)
        self._voxel_counts: list[NDArray[np.int64]] = []

    def add_sample(self, plane: int, sample: NDArray[np.float32], threshold: float) -> None:
        """Add one sample of one plane, and count its voxels of each class.

        Parameters
        ----------
        plane
            Index of the plane.
        sample
            Probabilities, float32 `(K, H, W)` in [0, 1].
        threshold
            Probability above which a voxel belongs to a class.
        """
        self.add_sample_bands(plane, [(slice(None), sample)], threshold)

    def add_sample_bands(
        self,
        plane: int,
        bands: Iterable[tuple[slice, NDArray[np.float32]]],
        threshold: float,
        *,
        compare_mask: bool = False,
    ) -> float | None:
        """Add one sample that comes in bands of rows; see `add_sample`.

        Parameters
        ----------
        plane, threshold
            As for `add_sample`.
        bands
            The rows of each band, and its probabilities `(K, rows, W)`.
        compare_mask
            Whether to return how much the sample changed the mask.

        Returns
        -------
        float or None
            If `compare_mask`, 1 - Dice between the masks of the mean before and after this sample, averaged
            over the classes in either mask; None if both are empty, or without `compare_mask`.
        """
        sample_index = int(self.samples_per_plane[plane])
        if sample_index == len(self._voxel_counts):
            self._voxel_counts.append(
                np.zeros((len(self.samples_per_plane), self.mean.shape[1]), dtype=np.int64)
            )
        self._voxel_counts[sample_index][plane] = 0
        overlap_counts = np.zeros((3, self.mean.shape[1]), dtype=np.int64)
        for rows, sample in bands:
            band_index = (plane, slice(None), rows)
            mean, squared_deviations = self.mean[band_index], self._squared_deviations[band_index]
            classes_before = argmax_classes(mean, threshold, self._descendants) if compare_mask else None
            _update(mean, squared_deviations, sample, sample_index + 1)
            if self.is_on_disk:  # otherwise these are views
                self.mean[band_index], self._squared_deviations[band_index] = mean, squared_deviations
            self._voxel_counts[sample_index][plane] += count_voxels(sample, threshold, self._descendants)
            if classes_before is not None:
                overlap_counts += _class_overlap_counts(
                    classes_before, argmax_classes(mean, threshold, self._descendants), len(sample)
                )
            if self.sample_maps is not None and sample.shape[1] == self.mean.shape[2]:
                self.sample_maps.add(plane, sample)
            elif self.sample_maps is not None:
                self.sample_maps.discard_all()
        self.samples_per_plane[plane] = sample_index + 1
        is_present = overlap_counts[:2].any(axis=0)
        if not is_present.any():
            return None
        count_before, count_after, count_both = overlap_counts[:, is_present]
        return float(np.mean(1 - 2 * count_both / (count_before + count_after)))

    @property
    def is_on_disk(self) -> bool:
        """Whether mean and variance are in a temporary file, because they exceed the memory limit."""
        return not isinstance(self.mean, np.ndarray)

    def mean_array(self) -> Any:
        """The mean, float32 `(N, K, H, W)`; if on disk, a dask array that changes as the run continues."""
        return _as_dask(self.mean) if self.is_on_disk else self.mean

    def variance(self) -> Any:
        """Population variance, float32 `(N, K, H, W)` in [0, 0.25], a new array; dask if it is on disk."""
        counts = np.maximum(self.samples_per_plane, 1).astype(np.float32)[:, None, None, None]
        if self.is_on_disk:
            return (_as_dask(self._squared_deviations) / counts).clip(0, 0.25)
        variance = self._squared_deviations / counts
        return np.clip(variance, 0, 0.25, out=variance)

    def voxel_counts(self, plane_mask: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Number of voxels of each class in each sample, int64 `(n, K)`, with n the largest count of samples.

        Parameters
        ----------
        plane_mask
            Which planes to count, bool `(N,)`; all by default.
        """
        selected = np.ones(len(self.samples_per_plane), dtype=bool) if plane_mask is None else plane_mask
        n = int(self.samples_per_plane[selected].max(initial=0))
        if n == 0:
            return np.zeros((0, self.mean.shape[1]), dtype=np.int64)
        return np.stack([self._voxel_counts[i][selected].sum(axis=0) for i in range(n)])


def _update(
    mean: NDArray[np.float32],
    squared_deviations: NDArray[np.float32],
    sample: NDArray[np.float32],
    count: int,
) -> None:
    """Welford's update of `(K, H, W)` in place, with the sample number `count` from 1."""
    if count == 1:
        mean[:] = sample
        return
    step = max(1, _CACHED_VALUES // (mean.shape[0] * mean.shape[2]))
    for start in range(0, mean.shape[1], step):
        part = (slice(None), slice(start, start + step))
        deviation = sample[part] - mean[part]
        change = deviation / count
        mean[part] += change
        np.subtract(sample[part], mean[part], out=change)
        change *= deviation
        squared_deviations[part] += change


def _class_overlap_counts(
    before: NDArray[np.intp], after: NDArray[np.intp], class_count: int
) -> NDArray[np.int64]:
    """Voxels of each class before, after, and in both, `(3, K)`."""
    unchanged = after[before == after]
    return np.stack(
        [
            np.bincount(class_map.ravel() + 1, minlength=class_count + 1)[1:]
            for class_map in (before, after, unchanged)
        ]
    )


def _as_dask(array: Any) -> da.Array:
    import dask.array as da

    lazy_array: da.Array = da.from_zarr(array)
    return lazy_array
