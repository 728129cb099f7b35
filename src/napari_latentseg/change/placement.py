"""How the mask of the second date comes to lie on the image of the first."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.change.registration import Registration
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.turn import find_turn
from napari_latentseg.core.units import MM_PER_UNIT

__all__ = ["resampled_onto", "turned_onto"]


def turned_onto(
    labels: NDArray[Any], geometry: Geometry, target: Geometry, target_shape: tuple[int, ...]
) -> NDArray[Any] | None:
    """A label map index on index with an image that lies in the same place; None where it lies elsewhere.

    Parameters
    ----------
    labels, geometry
        The label map.
    target, target_shape
        Of the image.
    """
    if not target.frame:  # a photograph or an ultrasound image has a spacing at best, and no place
        return None
    turn = find_turn(geometry, labels.shape, target, target_shape)
    return None if turn is None else np.ascontiguousarray(turn.apply(labels))


def resampled_onto(
    labels: NDArray[Any],
    geometry: Geometry,
    target: Geometry,
    target_shape: tuple[int, ...],
    registration: Registration | None = None,
) -> NDArray[Any]:
    """A label map on the grid of another image, each voxel with the label of the nearest one.

    It is for looking at alone: sizes are measured on the grid on which the mask was made.

    Parameters
    ----------
    labels, geometry
        The label map, with units of length.
    target, target_shape
        Of the image.
    registration
        From the image's world to that of the label map; None where they have one world, such as the frame of
        reference of an examination.
    """
    from scipy.ndimage import affine_transform

    to_second = np.eye(target.ndim + 1) if registration is None else registration.matrix
    index = np.linalg.inv(_in_mm(geometry)) @ to_second @ _in_mm(target)
    placed: NDArray[Any] = affine_transform(
        labels, index[:-1, :-1], index[:-1, -1], output_shape=target_shape, order=0, mode="constant", cval=0
    )
    return placed


def _in_mm(geometry: Geometry) -> NDArray[np.float64]:
    sizes = np.array([*(MM_PER_UNIT[unit] for unit in geometry.units), 1.0])
    return np.asarray(geometry.matrix * sizes[:, None])
