"""What one annotated image says about a class: its Dice, and how far the true edge is from the mask's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.signed_distance import signed_distance

__all__ = ["EDGE_TOLERANCE", "CaseFigures", "case_figures", "region_size", "soft_dice"]

EDGE_TOLERANCE = 0.05
"""Fraction of the true region that may lie outside the outer contour, and by which the inner contour may go
beyond it. Without it single voxels would set the bounds: the spurs and steps of a mask drawn by hand."""


@dataclass(frozen=True)
class CaseFigures:
    """Figures of one class in one annotated image.

    Attributes
    ----------
    dice
        Dice of the mask and the reference, in [0, 1].
    soft_dice
        Dice of the mask and the mean probability, see `soft_dice`.
    size
        Square root of the mask's area, or cube root of its volume; 0 for an empty mask.
    outward, inward
        How far the mask's edge must be moved outwards until all but `EDGE_TOLERANCE` of the reference lies
        inside, and inwards until the rest of the mask lies inside the reference but for `EDGE_TOLERANCE` of
        the size of the reference. In the unit of `size`; negative where the edge could be moved the other
        way. Infinite for an empty mask.
    inradius
        Largest distance of a voxel of the mask from its edge.
    is_present
        Whether the reference holds the class.
    """

    dice: float
    soft_dice: float
    size: float
    outward: float
    inward: float
    inradius: float
    is_present: bool


def case_figures(
    mean: NDArray[np.floating[Any]],
    mask: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: Sequence[float],
) -> CaseFigures | None:
    """Figures of one class in one image; None where neither the mask nor the reference holds it.

    Parameters
    ----------
    mean
        Mean probability of the class, in [0, 1].
    mask, reference
        Where the class is, in the same shape.
    spacing
        For each axis.

    Examples
    --------
    >>> mask, reference = np.zeros((2, 20, 20), bool)
    >>> mask[5:15, 5:15] = reference[7:17, 5:15] = True
    >>> figures = case_figures(mask * 0.9, mask, reference, (0.5, 0.5))
    >>> figures.dice, figures.size, figures.outward
    (0.8, 5.0, 1.0)
    """
    mask_count, reference_count = int(mask.sum()), int(reference.sum())
    if not mask_count and not reference_count:
        return None
    overlap = int((mask & reference).sum())
    outward = inward = math.inf
    inradius = 0.0
    if mask_count:
        box = _bounding_box(mask | reference, 1)
        distance = signed_distance(mask[box], spacing)
        allowed = int(EDGE_TOLERANCE * reference_count)
        inradius = float(-distance.min())
        outward = _largest(distance[reference[box]], allowed)
        inward = _largest(-distance[mask[box] & ~reference[box]], allowed)
    return CaseFigures(
        dice=2 * overlap / (mask_count + reference_count),
        soft_dice=soft_dice(mean, mask),
        size=region_size(mask_count, spacing),
        outward=outward,
        inward=inward,
        inradius=inradius,
        is_present=reference_count > 0,
    )


def soft_dice(mean: Any, mask: Any) -> float:
    """Dice of a mask and the mean probability: 1 where the samples agree in every voxel.

    It is the Dice that is expected if every voxel belonged to the class with its mean probability. That is
    too high where all samples share an error, which `ExpectedDice` corrects.

    Parameters
    ----------
    mean
        Mean probability of the class, in [0, 1]; NumPy or dask.
    mask
        Where the class is, in the same shape.

    Returns
    -------
    float
        0 for an empty mask.

    Examples
    --------
    >>> soft_dice(np.array([[0.9, 0.1]]), np.array([[True, False]]))
    0.9
    """
    inside = total = 0.0
    count = 0
    for mean_plane, mask_plane in _planes(mean, mask):
        inside += float(mean_plane[mask_plane].sum(dtype=np.float64))
        total += float(mean_plane.sum(dtype=np.float64))
        count += int(mask_plane.sum())
    return 2 * inside / (total + count) if count else 0.0


def region_size(voxel_count: int, spacing: Sequence[float]) -> float:
    """Square root of an area, or cube root of a volume: the side of a square or cube as large."""
    return float((voxel_count * math.prod(spacing)) ** (1 / len(spacing)))


def _planes(mean: Any, mask: Any) -> Any:
    """Pairs of slices as arrays, so that a mean on disk is never in memory as a whole."""
    for index in np.ndindex(*mask.shape[:-2]):
        yield np.asarray(mean[index]), np.asarray(mask[index])


def _bounding_box(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    bounds = []
    for axis in range(mask.ndim):
        hits = np.flatnonzero(mask.any(axis=tuple(i for i in range(mask.ndim) if i != axis)))
        bounds.append(slice(max(0, int(hits[0]) - margin), min(mask.shape[axis], int(hits[-1]) + 1 + margin)))
    return tuple(bounds)


def _largest(values: NDArray[np.float64], allowed: int) -> float:
    """The largest value but for so many; minus infinity where that leaves none."""
    if len(values) <= allowed:
        return -math.inf
    return float(np.partition(values, len(values) - 1 - allowed)[len(values) - 1 - allowed])
