"""Bootstrapped intervals of means and medians over images, or over patients with all of their images.

The interval is that of the percentiles of resamples (Efron and Tibshirani, An Introduction to the Bootstrap,
1993, chapter 13). With the default seed it is what these lines give for the mean of scores `x`::

    draws = np.random.default_rng(0).integers(len(x), size=(10_000, len(x)))
    np.percentile(x[draws].mean(axis=1), [2.5, 97.5])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput

__all__ = ["LEVEL", "RESAMPLES", "SEED", "Bootstrap", "Interval", "column_means", "flat_mean", "medians"]

Interval = tuple[float, float]

LEVEL = 0.95
RESAMPLES = 10_000
"""So many that the ends of an interval change by about a hundredth of its width with another seed."""
SEED = 0
# resamples that are computed at once: their weights over 1,000 images take 8 MB
_CHUNK = 1_000

Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


class Bootstrap:
    """Resamples of units with replacement; a unit is an image, or a patient with all images of theirs.

    Parameters
    ----------
    groups
        For each image the name of its unit.
    resamples, seed
        How many resamples are drawn, and the seed of the draws. All intervals use the same draws.

    Raises
    ------
    BadInput
        If there is no image.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.array([[0.9], [0.8], [0.7], [0.95], [0.85]])
    >>> bootstrap = Bootstrap(["a", "b", "c", "d", "e"])
    >>> [[(round(low, 2), round(high, 2))] for low, high in bootstrap.intervals(scores, column_means)]
    [[(0.76, 0.91)]]
    """

    def __init__(self, groups: Sequence[str], resamples: int = RESAMPLES, seed: int = SEED) -> None:
        if not groups:
            raise BadInput("scores", "there is no image to resample", "score at least one")
        numbers = {name: number for number, name in enumerate(dict.fromkeys(groups))}
        self._unit_of_image = np.array([numbers[name] for name in groups])
        self.unit_count = len(numbers)
        self._resamples, self._seed = resamples, seed

    @property
    def is_possible(self) -> bool:
        """Whether there are two units: the resamples of one are all equal."""
        return self.unit_count > 1

    def intervals(self, values: NDArray[np.float64], statistic: Statistic) -> list[Interval]:
        """The 95 % interval of each number that a statistic gives.

        Parameters
        ----------
        values
            Scores, float64 `(images, columns)`; NaN where an image does not count.
        statistic
            Of `values` and weights `(resamples, images)`, gives `(resamples, numbers)`: `column_means`,
            `flat_mean` or `medians`.

        Returns
        -------
        list of (low, high)
            Resamples in which a number is not defined (a class that is in none of its images) do not count.
        """
        drawn = np.concatenate([statistic(values, weights) for weights in self._weights()])
        tail = 100 * (1 - LEVEL) / 2
        low, high = np.nanpercentile(drawn, [tail, 100 - tail], axis=0)
        return list(zip(low.tolist(), high.tolist(), strict=True))

    def _weights(self) -> Iterator[NDArray[np.float64]]:
        """How often each image is in each resample, `(resamples, images)`, part by part."""
        rng, units = np.random.default_rng(self._seed), self.unit_count
        for start in range(0, self._resamples, _CHUNK):
            count = min(_CHUNK, self._resamples - start)
            draws = rng.integers(units, size=(count, units)) + units * np.arange(count)[:, None]
            weights = np.bincount(draws.ravel(), minlength=count * units).reshape(count, units)
            yield weights[:, self._unit_of_image].astype(np.float64)


def column_means(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each column over the images that count in it."""
    sums, counts = _sums_and_counts(values, weights)
    return _ratio(sums, counts)


def flat_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of all columns together, each image counting once for each column that it has."""
    sums, counts = _sums_and_counts(values, weights)
    return _ratio(sums.sum(axis=1, keepdims=True), counts.sum(axis=1, keepdims=True))


def medians(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each column, which has no NaN; of an even number the mean of the middle two."""
    return np.stack([_weighted_medians(column, weights) for column in values.T], axis=1)


def _weighted_medians(column: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(column)
    ordered, upto = column[order], np.cumsum(weights[:, order], axis=1)
    total = upto[:, -1:]
    # the first image whose cumulated weight exceeds a rank holds the value of that rank
    lower = (upto > (total - 1) // 2).argmax(axis=1)
    upper = (upto > total // 2).argmax(axis=1)
    middle: NDArray[np.float64] = (ordered[lower] + ordered[upper]) / 2
    return middle


def _sums_and_counts(values: NDArray[np.float64], weights: NDArray[np.float64]) -> Any:
    counts_here = ~np.isnan(values)
    return weights @ np.where(counts_here, values, 0.0), weights @ counts_here.astype(np.float64)


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return ratio
