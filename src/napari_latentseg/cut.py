"""From probabilities to labels: which class a place belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.classes import ClassInfo, descendants

__all__ = ["elements_of", "mask_from", "winners"]


def mask_from(mean: Any, threshold: float, classes: Sequence[ClassInfo]) -> Any:
    """Class labels from mean probabilities.

    Parameters
    ----------
    mean
        `(K, *spatial)` in [0, 1]; of a dask array the mask is one too.
    threshold
        A place belongs to a class where its mean is above this; where several are, to the most probable.
    classes
        Their labels.

    Returns
    -------
    array
        uint8, `spatial`.
    """
    if not isinstance(mean, np.ndarray):
        whole: Any = mean.rechunk({0: -1})  # all classes of a place together
        return whole.map_blocks(mask_from, threshold, classes, drop_axis=0, dtype=np.uint8)
    if len(classes) == 1:
        found = mean[0] > threshold
        return found.view(np.uint8) * np.uint8(classes[0].label)
    if mean.ndim > 3:  # plane by plane: the most probable class takes eight bytes a place to find
        mask = np.empty(mean.shape[1:], dtype=np.uint8)
        for i in range(len(mask)):
            mask[i] = mask_from(mean[:, i], threshold, classes)
        return mask
    labels = np.array([0, *(c.label for c in classes)], dtype=np.uint8)
    return labels[winners(mean, threshold, descendants(classes)) + 1]


def winners(
    probabilities: NDArray[Any], threshold: float, inside: Sequence[frozenset[int]]
) -> NDArray[np.intp]:
    """Which class each place belongs to, from 0; -1 where it belongs to none.

    Parameters
    ----------
    probabilities
        `(K, *spatial)`.
    threshold
        A place belongs to a class where its probability is above this; where several are, to the most
        probable, but never to a class of which another one there is a part.
    inside
        For each class, the classes that are parts of it: see `descendants`.
    """
    if any(inside):
        above = probabilities > threshold
        probabilities = probabilities.copy()
        for k, parts in enumerate(inside):
            if parts:
                probabilities[k][above[sorted(parts)].any(axis=0)] = 0
    best = probabilities.argmax(axis=0)
    return np.where(probabilities.max(axis=0) > threshold, best, -1)


def elements_of(
    probabilities: NDArray[Any], threshold: float, inside: Sequence[frozenset[int]]
) -> NDArray[np.int64]:
    """How many places belong to each class, `(K,)`; the parameters are those of `winners`."""
    if len(probabilities) == 1:
        return np.array([np.count_nonzero(probabilities[0] > threshold)], dtype=np.int64)
    found = winners(probabilities, threshold, inside)
    return np.bincount(found.ravel() + 1, minlength=len(probabilities) + 1)[1:]
