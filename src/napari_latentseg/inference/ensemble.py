"""Mean and variance over samples, as they come; memory does not grow with their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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

    Attributes
    ----------
    mean
        float32 `(N, K, H, W)` in [0, 1].
    counts
        How many samples each plane has, `(N,)`.
    """

    def __init__(self, classes: int, planes: int, shape: tuple[int, int]) -> None:
        self.mean: NDArray[np.float32] = np.zeros((planes, classes, *shape), dtype=np.float32)
        self._squares: NDArray[np.float32] = np.zeros_like(self.mean)
        self.counts: NDArray[np.int64] = np.zeros(planes, dtype=np.int64)
        self._elements: list[NDArray[np.int64]] = []

    def add(self, plane: int, sample: NDArray[np.float32], threshold: float) -> None:
        """Take in one sample of one plane: probabilities `(K, H, W)`.

        How many of its elements lie above `threshold` is counted too, class by class.
        """
        number = int(self.counts[plane])
        away = sample - self.mean[plane]
        self.mean[plane] += away / (number + 1)
        self._squares[plane] += away * (sample - self.mean[plane])
        self.counts[plane] = number + 1
        if number == len(self._elements):
            self._elements.append(np.zeros((len(self.counts), sample.shape[0]), dtype=np.int64))
        self._elements[number][plane] = _elements_of(sample, threshold)

    def forget(self, plane: int) -> None:
        """Drop what a plane has so far."""
        self.mean[plane] = 0
        self._squares[plane] = 0
        self.counts[plane] = 0
        for elements in self._elements:
            elements[plane] = 0

    def variance(self) -> NDArray[np.float32]:
        """Population variance, float32 `(N, K, H, W)` in [0, 0.25]."""
        counts = np.maximum(self.counts, 1).astype(np.float32)
        found: NDArray[np.float32] = np.clip(self._squares / counts[:, None, None, None], 0, 0.25)
        return found

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


def _elements_of(sample: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    if len(sample) == 1:
        return np.array([np.count_nonzero(sample[0] > threshold)], dtype=np.int64)
    best = np.where(sample.max(axis=0) > threshold, sample.argmax(axis=0), -1)
    return np.array([np.count_nonzero(best == k) for k in range(len(sample))], dtype=np.int64)
