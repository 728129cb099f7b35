"""What the metrics take: masks and images, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput

__all__ = ["Empty", "Mask", "check_images", "check_mask", "check_pair", "empty_masks", "steps_of"]

Mask = NDArray[np.bool_]
Empty = Literal["", "prediction", "truth", "both"]
"""Which of two masks has nothing in it; the empty string where neither."""


def empty_masks(prediction: Mask, truth: Mask) -> Empty:
    """Which of two masks has nothing in it."""
    if prediction.any():
        return "" if truth.any() else "truth"
    return "prediction" if truth.any() else "both"


def check_mask(name: str, array: Mask) -> Mask:
    """An array as a mask.

    Raises
    ------
    BadInput
        If it has no elements or is not boolean.
    """
    mask = np.asarray(array)
    # Probabilities or labels taken for a mask would be scored, and wrongly.
    if mask.dtype != np.bool_:
        raise BadInput(name, f"values of type {mask.dtype} are not a mask", "give it as boolean")
    _check_not_empty(name, mask)
    return mask


def check_pair(prediction: Mask, truth: Mask) -> tuple[Mask, Mask]:
    """Two arrays as masks.

    Raises
    ------
    BadInput
        If the shapes differ, or one of them is no mask.
    """
    prediction, truth = check_mask("prediction", prediction), check_mask("truth", truth)
    _check_same_shape("prediction", prediction, "truth", truth)
    return prediction, truth


def check_images(
    image: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two images in [0, 1], as float64.

    Raises
    ------
    BadInput
        If the shapes differ, or one of them has no elements, is not of floating point or leaves [0, 1].
    """
    checked = _unit("image", image), _unit("reference", reference)
    _check_same_shape("image", checked[0], "reference", checked[1])
    return checked


def steps_of(spacing: Sequence[float] | None, ndim: int) -> NDArray[np.float64]:
    """The distance between neighbours along each axis, 1 each where it is not given.

    Raises
    ------
    BadInput
        If it does not have one positive number an axis.
    """
    if spacing is None:
        return np.ones(ndim)
    steps = np.asarray(spacing, dtype=np.float64)
    if steps.shape != (ndim,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise BadInput("spacing", f"{spacing} for {ndim} axes", "give one positive number an axis")
    return steps


def _unit(name: str, array: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    image = np.asarray(array)
    if image.dtype.kind != "f":
        raise BadInput(name, f"values of type {image.dtype} are not in [0, 1]", "scale it to floating point")
    _check_not_empty(name, image)
    # NaN fails both comparisons.
    if not (image.min() >= -1e-6 and image.max() <= 1 + 1e-6):
        raise BadInput(name, "has values outside [0, 1]", "scale it first")
    return image.astype(np.float64)


def _check_not_empty(name: str, array: NDArray[Any]) -> None:
    if array.ndim == 0 or array.size == 0:
        raise BadInput(name, f"has no elements (shape {array.shape})", "give one with at least one axis")


def _check_same_shape(a_name: str, a: NDArray[Any], b_name: str, b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise BadInput(a_name, f"has shape {a.shape}, the {b_name} {b.shape}", "bring both to one shape")
