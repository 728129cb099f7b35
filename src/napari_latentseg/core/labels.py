"""From probabilities to labels: which class a place belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo, class_descendants

__all__ = ["argmax_classes", "count_voxels", "labels_from_probabilities"]


def labels_from_probabilities(probabilities: Any, threshold: float, classes: Sequence[ClassInfo]) -> Any:
    """Class labels from mean probabilities.

    Parameters
    ----------
    probabilities
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
    if not isinstance(probabilities, np.ndarray):
        single_class_chunk: Any = probabilities.rechunk({0: -1})  # all classes of a place together
        return single_class_chunk.map_blocks(
            labels_from_probabilities, threshold, classes, drop_axis=0, dtype=np.uint8
        )
    if len(classes) == 1:
        foreground = probabilities[0] > threshold
        return foreground.view(np.uint8) * np.uint8(classes[0].label)
    if probabilities.ndim > 3:  # plane by plane: the most probable class takes eight bytes a place to find
        mask = np.empty(probabilities.shape[1:], dtype=np.uint8)
        for i in range(len(mask)):
            mask[i] = labels_from_probabilities(probabilities[:, i], threshold, classes)
        return mask
    labels = np.array([0, *(c.label for c in classes)], dtype=np.uint8)
    return labels[argmax_classes(probabilities, threshold, class_descendants(classes)) + 1]


def argmax_classes(
    probabilities: NDArray[Any], threshold: float, descendants: Sequence[frozenset[int]]
) -> NDArray[np.intp]:
    """Which class each place belongs to, from 0; -1 where it belongs to none.

    Parameters
    ----------
    probabilities
        `(K, *spatial)`.
    threshold
        A place belongs to a class where its probability is above this; where several are, to the most
        probable, but never to a class of which another one there is a part.
    descendants
        For each class, the classes that are parts of it: see `class_descendants`.
    """
    if any(descendants):
        above = probabilities > threshold
        probabilities = probabilities.copy()
        for k, part_indices in enumerate(descendants):
            if part_indices:
                probabilities[k][above[sorted(part_indices)].any(axis=0)] = 0
    argmax = probabilities.argmax(axis=0)
    return np.where(probabilities.max(axis=0) > threshold, argmax, -1)


def count_voxels(
    probabilities: NDArray[Any], threshold: float, descendants: Sequence[frozenset[int]]
) -> NDArray[np.int64]:
    """How many places belong to each class, `(K,)`; the parameters are those of `winners`."""
    if len(probabilities) == 1:
        return np.array([np.count_nonzero(probabilities[0] > threshold)], dtype=np.int64)
    class_map = argmax_classes(probabilities, threshold, descendants)
    return np.bincount(class_map.ravel() + 1, minlength=len(probabilities) + 1)[1:]
