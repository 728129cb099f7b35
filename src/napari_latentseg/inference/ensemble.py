"""Mean and variance over samples, as they come; their memory does not grow with the number of samples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.cut import elements_of, winners
from napari_latentseg.inference.room import DEFAULT_LIMIT, zeros

if TYPE_CHECKING:
    import dask.array as da

    from napari_latentseg.sample_maps import SampleMaps

__all__ = ["Ensemble"]


class Ensemble:
    """Running moments of each plane of a scan, by Welford's update.

    Parameters
    ----------
    classes
        K.
    planes
        N, the number of planes.
    shape
        Height and width of a plane.
    inside
        For each class, the classes that are parts of it; none of any where not given.
    limit
        Bytes that the sums may take in memory; larger ones lie on disk, and `mean` is zarr's.
    maps
        Takes in each sample as well, where given. A sample that comes in several bands is of a plane too
        large for that, and then none is kept.

    Attributes
    ----------
    mean
        float32 `(N, K, H, W)` in [0, 1].
    counts
        How many samples each plane has, `(N,)`.
    """

    def __init__(
        self,
        classes: int,
        planes: int,
        shape: tuple[int, int],
        inside: Sequence[frozenset[int]] | None = None,
        limit: int = DEFAULT_LIMIT,
        maps: SampleMaps | None = None,
    ) -> None:
        self.maps = maps
        self._inside = inside or [frozenset()] * classes
        whole = (planes, classes, *shape)
        self.mean: Any = zeros(whole, limit // 2)
        self._squares: Any = zeros(whole, limit // 2)
        self.counts: NDArray[np.int64] = np.zeros(planes, dtype=np.int64)
        self._elements: list[NDArray[np.int64]] = []

    def add(self, plane: int, sample: NDArray[np.float32], threshold: float) -> None:
        """Take in one sample of one plane: probabilities `(K, H, W)`.

        How many of its elements lie above `threshold` is counted too, class by class.
        """
        self.add_bands(plane, [(slice(None), sample)], threshold)

    def add_bands(
        self,
        plane: int,
        bands: Iterable[tuple[slice, NDArray[np.float32]]],
        threshold: float,
        *,
        compared: bool = False,
    ) -> float | None:
        """As `add`, for a sample that comes in bands of rows: which rows, and `(K, rows, W)`.

        Returns
        -------
        float or None
            Where `compared`, how much the sample changed the mask that the mean gives: 1 - DSC, on average
            over the classes that the mask before or after shows; None where it shows none.
        """
        number = int(self.counts[plane])
        if number == len(self._elements):
            self._elements.append(np.zeros((len(self.counts), self.mean.shape[1]), dtype=np.int64))
        self._elements[number][plane] = 0
        shared = np.zeros((3, self.mean.shape[1]), dtype=np.int64)
        for rows, sample in bands:
            place = (plane, slice(None), rows)
            mean = self.mean[place]
            before = winners(mean, threshold, self._inside) if compared else None
            away = sample - mean
            mean += away / (number + 1)
            self._squares[place] += away * (sample - mean)
            self.mean[place] = mean
            self._elements[number][plane] += elements_of(sample, threshold, self._inside)
            if before is not None:
                shared += _shared(before, winners(mean, threshold, self._inside), len(sample))
            if self.maps is not None and sample.shape[1] == self.mean.shape[2]:
                self.maps.add(plane, sample)
            elif self.maps is not None:
                self.maps.drop()
        self.counts[plane] = number + 1
        there = shared[:2].any(axis=0)
        if not there.any():
            return None
        old, new, both = shared[:, there]
        return float(np.mean(1 - 2 * both / (old + new)))

    @property
    def is_on_disk(self) -> bool:
        """Whether the sums are too large for memory."""
        return not isinstance(self.mean, np.ndarray)

    def means(self) -> Any:
        """The mean, `(N, K, H, W)`; dask where it is on disk, and then it goes on with the run."""
        return _lazily(self.mean) if self.is_on_disk else self.mean

    def variance(self) -> Any:
        """Population variance, float32 `(N, K, H, W)` in [0, 0.25]; dask where it is on disk."""
        counts = np.maximum(self.counts, 1).astype(np.float32)[:, None, None, None]
        squares = _lazily(self._squares) if self.is_on_disk else self._squares
        return (squares / counts).clip(0, 0.25)

    def elements(self, planes: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Elements above the threshold in each sample, over the planes that have it: `(n, K)`.

        Parameters
        ----------
        planes
            Which planes count, `(N,)`; all where not given.
        """
        chosen = np.ones(len(self.counts), dtype=bool) if planes is None else planes
        n = int(self.counts[chosen].max(initial=0))
        if n == 0:
            return np.zeros((0, self.mean.shape[1]), dtype=np.int64)
        return np.stack([self._elements[i][chosen].sum(axis=0) for i in range(n)])


def _shared(before: NDArray[np.intp], after: NDArray[np.intp], classes: int) -> NDArray[np.int64]:
    """Places of each class before, after, and both, `(3, K)`."""
    same = after[before == after]
    return np.stack(
        [np.bincount(one.ravel() + 1, minlength=classes + 1)[1:] for one in (before, after, same)]
    )


def _lazily(array: Any) -> da.Array:
    import dask.array as da

    made: da.Array = da.from_zarr(array)
    return made
