"""From probabilities to labels: which class each voxel belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo, class_descendants

__all__ = ["argmax_classes", "class_region", "count_voxels", "labels_from_probabilities"]


def labels_from_probabilities(probabilities: Any, threshold: float, classes: Sequence[ClassInfo]) -> Any:
    """A label map from class probabilities.

    Parameters
    ----------
    probabilities
        `(K, *spatial)` in [0, 1], NumPy or dask.
    threshold
        A voxel belongs to a class if the probability is above this value; if several classes qualify, to the
        most probable one, but never to a class of which another qualifying class is a part.
    classes
        The K classes, in the order of the first axis.

    Returns
    -------
    ndarray or dask.array.Array
        Label map, uint8, `(*spatial)`; 0 is background. Dask for dask.

    Examples
    --------
    >>> lesion = ClassInfo(label=3, name="lesion", color="#ffb000")
    >>> labels_from_probabilities(np.array([[[0.2, 0.9]]]), 0.5, [lesion]).tolist()
    [[0, 3]]
    """
    if not isinstance(probabilities, np.ndarray):
        single_class_chunk: Any = probabilities.rechunk({0: -1})  # all classes of a voxel in one chunk
        return single_class_chunk.map_blocks(
            labels_from_probabilities, threshold, classes, drop_axis=0, dtype=np.uint8
        )
    if len(classes) == 1:
        foreground = probabilities[0] > threshold
        return foreground.view(np.uint8) * np.uint8(classes[0].label)
    if probabilities.ndim > 3:  # slice by slice, for argmax takes eight bytes a voxel
        mask = np.empty(probabilities.shape[1:], dtype=np.uint8)
        for i in range(len(mask)):
            mask[i] = labels_from_probabilities(probabilities[:, i], threshold, classes)
        return mask
    labels = np.array([0, *(c.label for c in classes)], dtype=np.uint8)
    return labels[argmax_classes(probabilities, threshold, class_descendants(classes)) + 1]


def class_region(mask: NDArray[Any], k: int, classes: Sequence[ClassInfo]) -> NDArray[np.bool_]:
    """Where a label map holds a class, with the classes that are its parts.

    Parameters
    ----------
    mask
        Label map.
    k
        Index of the class.
    classes
        The K classes.
    """
    members = [k, *class_descendants(classes)[k]]
    if len(members) == 1:  # faster, and the rule
        own: NDArray[np.bool_] = mask == classes[k].label
        return own
    return np.isin(mask, [classes[i].label for i in members])


def argmax_classes(
    probabilities: NDArray[Any], threshold: float, descendants: Sequence[frozenset[int]]
) -> NDArray[np.intp]:
    """The position (0 to K - 1) of the class that each voxel belongs to, -1 for background.

    Parameters
    ----------
    probabilities
        `(K, *spatial)`.
    threshold
        As for `labels_from_probabilities`.
    descendants
        For each class, the classes that are parts of it; see `class_descendants`.

    Returns
    -------
    ndarray
        `(*spatial)`.
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
    """The number of voxels of each class, `(K,)`. Parameters as for `argmax_classes`."""
    if len(probabilities) == 1:
        return np.array([np.count_nonzero(probabilities[0] > threshold)], dtype=np.int64)
    class_map = argmax_classes(probabilities, threshold, descendants)
    return np.bincount(class_map.ravel() + 1, minlength=len(probabilities) + 1)[1:]
