"""The slices between two masks of one structure, from signed distances to its edge (Raya and Udupa 1990)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from napari_latentseg.core.signed_distance import signed_distance

__all__ = ["distances_between", "distances_through", "inside_distance", "interpolate_between"]

Mask = NDArray[np.bool_]
Distances = NDArray[np.float32]


def interpolate_between(
    mask_a: Mask, mask_b: Mask, fractions: Sequence[float], spacing: Sequence[float] = (1.0, 1.0)
) -> Mask:
    """The masks of the slices between two slices of a structure.

    Parameters
    ----------
    mask_a, mask_b
        Of the two slices, `(H, W)`. Where one is empty, the structure becomes smaller on the way until
        nothing is left.
    fractions
        Where the slices lie, from 0 (that of `mask_a`) to 1 (that of `mask_b`).
    spacing
        Of rows and columns, in mm or any other unit of length.

    Returns
    -------
    ndarray
        `(len(fractions), H, W)`, bool.

    Raises
    ------
    ValueError
        If the masks differ in shape, or a fraction is not between 0 and 1.

    Examples
    --------
    >>> a, b = np.zeros((2, 9, 9), bool)
    >>> a[3:6, 3:6] = b[1:8, 1:8] = True
    >>> interpolate_between(a, b, [0.0, 0.5, 1.0]).sum((1, 2))
    array([ 9, 25, 49])
    """
    mask: Mask = distances_between(mask_a, mask_b, fractions, spacing) > 0
    return mask


def distances_between(
    mask_a: Mask, mask_b: Mask, fractions: Sequence[float], spacing: Sequence[float] = (1.0, 1.0)
) -> Distances:
    """Interpolated signed distances to the edge, positive inside; `interpolate_between` is where they are.

    Objects that would overlap more if one was moved onto the other, as a vessel that runs obliquely, are
    moved on the way.

    Parameters
    ----------
    mask_a, mask_b, fractions, spacing
        As for `interpolate_between`.

    Returns
    -------
    ndarray
        `(len(fractions), H, W)`, float32, in the unit of the spacing.
    """
    if mask_a.shape != mask_b.shape or mask_a.ndim != 2:
        raise ValueError(f"masks of shapes {mask_a.shape} and {mask_b.shape} are not of two slices")
    if not all(0 <= fraction <= 1 for fraction in fractions):
        raise ValueError("fractions are between 0 and 1")
    mask_a, mask_b = mask_a.astype(bool), mask_b.astype(bool)
    weights = np.asarray(fractions, np.float32)[:, None, None]
    for mask, other, share in ((mask_a, mask_b, weights), (mask_b, mask_a, 1 - weights)):
        if not other.any() or other.all():  # the structure, or what is around it, ends on the way
            distance = inside_distance(mask, spacing)
            # the hole is closed at its end, where its deepest pixel would have a distance of 0
            change = -distance.max() if not other.any() else np.float32(1.0001) * -distance.min()
            ended: Distances = distance + share * change
            return ended
    distance_a, distance_b = inside_distance(mask_a, spacing), inside_distance(mask_b, spacing)
    way = _way(mask_a, mask_b)
    if not way.any():
        still: Distances = (1 - weights) * distance_a + weights * distance_b
        return still
    between = np.empty((len(fractions), *mask_a.shape), np.float32)
    for number, fraction in enumerate(fractions):
        moved_a, moved_b = _moved(distance_a, way * fraction), _moved(distance_b, way * (fraction - 1))
        between[number] = (1 - fraction) * moved_a + fraction * moved_b
    return between


def distances_through(
    masks: Mapping[int, Mask], gap: tuple[int, int], spacing: Sequence[float] = (1.0, 1.0)
) -> Distances:
    """As `distances_between`, with the slices beyond the two: a structure grows and shrinks smoothly.

    The distances follow a cubic that goes no further than the slices to both its sides (PCHIP, Fritsch and
    Carlson 1980). Where the two masks have to be moved onto one another it is `distances_between`.

    Parameters
    ----------
    masks
        Of the slices that are known, by their number.
    gap
        The two slices between which the distances are wanted, the lower one first.
    spacing
        Of rows and columns.

    Returns
    -------
    ndarray
        `(n, H, W)`, float32, of the slices between the two.

    Examples
    --------
    >>> masks = {z: np.hypot(*(np.mgrid[:21, :21] - 10)) < r for z, r in {0: 2, 5: 8, 10: 9}.items()}
    >>> (distances_through(masks, (0, 5)) > 0).sum((1, 2)) > interpolate_between(
    ...     masks[0], masks[5], [0.2, 0.4, 0.6, 0.8]
    ... ).sum((1, 2))
    array([ True,  True,  True,  True])
    """
    first, last = gap
    between = range(first + 1, last)
    mask_a, mask_b = (np.asarray(masks[plane], bool) for plane in gap)
    known = sorted(plane for plane in masks if masks[plane].any() and not masks[plane].all())
    has_edges = first in known and last in known
    if not has_edges or len(known) == 2 or _way(mask_a, mask_b).any():
        fractions = [(plane - first) / (last - first) for plane in between]
        return distances_between(mask_a, mask_b, fractions, spacing)
    at = known.index(first)
    near = known[max(0, at - 1) : at + 3]  # the cubic depends on no others
    distances = np.stack([inside_distance(np.asarray(masks[plane], bool), spacing) for plane in near])
    interpolated: Distances = PchipInterpolator(near, distances)(list(between)).astype(np.float32)
    return interpolated


def inside_distance(mask: Mask, spacing: Sequence[float] = (1.0, 1.0)) -> Distances:
    """The distance of each pixel to the edge of a mask; negative outside it.

    The border of the image is no edge: a structure that reaches it goes on beyond it.

    Parameters
    ----------
    mask
        `(H, W)`, bool.
    spacing
        Of rows and columns.

    Returns
    -------
    ndarray
        `(H, W)`, float32, never 0; the image's diagonal (or its negative) where there is no edge.
    """
    far = float(np.hypot(*(n * s for n, s in zip(mask.shape, spacing, strict=True))))
    distance: Distances = np.clip(-signed_distance(mask, spacing), -far, far).astype(np.float32)
    return distance


def _way(mask_a: Mask, mask_b: Mask) -> NDArray[np.float64]:
    """Rows and columns from a to b, by their centres, where moving makes them overlap more; otherwise 0."""
    way = np.argwhere(mask_b).mean(axis=0) - np.argwhere(mask_a).mean(axis=0)
    moved = ndimage.shift(mask_a.astype(np.uint8), np.rint(way), order=0)
    return way if (moved & mask_b).sum() > (mask_a & mask_b).sum() else np.zeros(2)


def _moved(distance: Distances, way: NDArray[np.float64]) -> Distances:
    moved: Distances = ndimage.shift(distance, way, order=1, mode="nearest")
    return moved
