"""Checks of the masks, images and spacing that the metrics take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput

__all__ = ["Empty", "Mask", "check_images", "check_mask", "check_pair", "check_spacing", "empty_masks"]

Mask = NDArray[np.bool_]
Empty = Literal["", "prediction", "truth", "both"]
"""Which of two masks is empty; ``""`` for neither. ``"truth"``, as in result files, is the reference."""


def empty_masks(prediction: Mask, reference: Mask) -> Empty:
    """Which of two masks is empty."""
    if prediction.any():
        return "" if reference.any() else "truth"
    return "prediction" if reference.any() else "both"


def check_mask(name: str, array: Mask) -> Mask:
    """Check that an array is a boolean mask.

    Parameters
    ----------
    name
        What to call it in an error.
    array
        The mask, with one or more axes.

    Raises
    ------
    BadInput
        If it is not boolean, or has no voxels.
    """
    mask = np.asarray(array)
    # probabilities or labels would be scored without an error, but wrongly
    if mask.dtype != np.bool_:
        raise BadInput(
            name, f"has values of type {mask.dtype}, which cannot be a mask", "give a boolean array"
        )
    _check_not_empty(name, mask)
    return mask


def check_pair(prediction: Mask, reference: Mask) -> tuple[Mask, Mask]:
    """Check that a prediction and its reference are boolean masks of one shape.

    Raises
    ------
    BadInput
        If the shapes differ, or one of them is not boolean or has no voxels.
    """
    prediction, reference = check_mask("prediction", prediction), check_mask("reference", reference)
    _check_same_shape("prediction", prediction, "reference", reference)
    return prediction, reference


def check_images(
    image: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check that two images are floating point in [0, 1] and have one shape; returns them as float64.

    Raises
    ------
    BadInput
        If the shapes differ, or one of them has no pixels, is not floating point or has values outside [0,
        1].
    """
    checked = _check_unit_range("image", image), _check_unit_range("reference", reference)
    _check_same_shape("image", checked[0], "reference", checked[1])
    return checked


def check_spacing(spacing: Sequence[float] | None, ndim: int) -> NDArray[np.float64]:
    """Check a spacing: the distance of neighbouring voxels along each axis, float64 `(ndim,)`; 1 if None.

    Raises
    ------
    BadInput
        If it is not one positive number for each axis.
    """
    if spacing is None:
        return np.ones(ndim)
    steps = np.asarray(spacing, dtype=np.float64)
    if steps.shape != (ndim,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise BadInput("spacing", f"is {spacing} for {ndim} axes", "give one positive number for each axis")
    return steps


def _check_unit_range(name: str, array: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    image = np.asarray(array)
    if image.dtype.kind != "f":
        raise BadInput(name, f"has values of type {image.dtype}", "convert it to floating point in [0, 1]")
    _check_not_empty(name, image)
    # NaN fails both comparisons; 1e-6 is the rounding of float32
    if not (image.min() >= -1e-6 and image.max() <= 1 + 1e-6):
        raise BadInput(name, "has values outside [0, 1]", "scale it first")
    return image.astype(np.float64)


def _check_not_empty(name: str, array: NDArray[Any]) -> None:
    if array.ndim == 0 or array.size == 0:
        raise BadInput(name, f"is empty (shape {array.shape})", "give an array with at least one voxel")


def _check_same_shape(a_name: str, a: NDArray[Any], b_name: str, b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise BadInput(a_name, f"has shape {a.shape}, the {b_name} {b.shape}", "give both the same shape")
