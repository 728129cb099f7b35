"""Overlap and boundary distance of two masks, one image at a time, and their summary over images.

Published codes differ in what they do with empty masks, with the percentile of a distance and with its
unit, and the differences are as large as those between methods. `CONVENTIONS` says what is done here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from napari_latentseg.errors import BadInput

__all__ = [
    "CONVENTIONS",
    "Empty",
    "ImageScores",
    "Spread",
    "Summary",
    "boundary",
    "check_means",
    "dice",
    "hd95",
    "iou",
    "psnr",
    "score",
    "summarise",
    "surface_distances",
]

Mask = NDArray[np.bool_]
Empty = Literal["", "prediction", "truth", "both"]

CONVENTIONS: dict[str, str] = {
    "dsc": (
        "Dice coefficient of binary masks, one value an image; 1 where both masks are empty, "
        "0 where one of them is (the GMS code counts 0 for both)"
    ),
    "iou": (
        "intersection over union of binary masks, one value an image; 1 where both masks are empty, "
        "0 where one of them is (the GMS code counts 0 for both)"
    ),
    "hd95": (
        "95th percentile of the distances from each boundary to the other, both directions pooled, in the "
        "unit of the spacing, or in pixels where none is given; 0 where both masks are empty, the diagonal "
        "of the image where one of them is (the Wave-GMS code counts 0 there, which is the best value)"
    ),
    "psnr": (
        "peak signal-to-noise ratio in dB of images in [0, 1], one value an image; infinite where the image "
        "is equal to its reference"
    ),
    "summary": (
        "mean over images and standard deviation with n - 1; images with an empty mask are kept, and counted"
    ),
}
"""What is used for each metric, in plain words, for reports."""

# A score is a ratio of two integers, so what is left is the rounding of a few operations.
_ROUNDING = 1e-9


def dice(prediction: Mask, truth: Mask) -> float:
    """Dice coefficient (DSC), twice the overlap over the sum of the sizes.

    Parameters
    ----------
    prediction, truth
        Boolean, of one shape, with any number of dimensions.

    Returns
    -------
    float
        In [0, 1]. Where both masks are empty it is 1 (nothing to find, nothing found), where one is, 0.

    Raises
    ------
    BadInput
        If the shapes differ, if an array has no elements or is not boolean.

    Notes
    -----
    The code of GMS [1]_ gives 0 where both masks are empty, so its figures compare with these only on
    images that all hold something to find.

    References
    ----------
    .. [1] Huo et al., "Generative Medical Segmentation", AAAI 2025, arXiv:2403.18198.

    Examples
    --------
    >>> import numpy as np
    >>> dice(np.array([True, True, False]), np.array([False, True, True]))
    0.5
    """
    prediction, truth = _pair(prediction, truth)
    overlap, total = _counts(prediction, truth)
    return 2 * overlap / total if total else 1.0


def iou(prediction: Mask, truth: Mask) -> float:
    """Intersection over union (the Jaccard index).

    Parameters
    ----------
    prediction, truth
        Boolean, of one shape, with any number of dimensions.

    Returns
    -------
    float
        In [0, 1], and equal to D / (2 - D), where D is the Dice coefficient of the same two masks.
        Where both masks are empty it is 1, where one is, 0; the code of GMS gives 0 for both.

    Raises
    ------
    BadInput
        If the shapes differ, if an array has no elements or is not boolean.
    """
    prediction, truth = _pair(prediction, truth)
    overlap, total = _counts(prediction, truth)
    return overlap / (total - overlap) if total else 1.0


def boundary(mask: Mask) -> Mask:
    """Elements of a mask with a neighbour across a face that is not in it.

    Parameters
    ----------
    mask
        Boolean, with any number of dimensions.

    Returns
    -------
    ndarray of bool
        Of the same shape: the mask minus its erosion with the face-connected neighbourhood (4 neighbours
        in a plane, 6 in a volume). What lies beyond the edge of the image counts as outside the mask.

    Raises
    ------
    BadInput
        If the array has no elements or is not boolean.
    """
    mask = _mask("mask", mask)
    faces = ndimage.generate_binary_structure(mask.ndim, 1)
    inside: Mask = ndimage.binary_erosion(mask, faces, border_value=0)
    return mask & ~inside


def surface_distances(
    prediction: Mask, truth: Mask, spacing: Sequence[float] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each element of one boundary to the nearest of the other, in both directions.

    Parameters
    ----------
    prediction, truth
        Boolean, of one shape, with any number of dimensions; neither may be empty.
    spacing
        Distance between neighbours along each axis, in the order of the axes; 1 each if not given.

    Returns
    -------
    to_truth, to_prediction : ndarray of float
        From the boundary of the prediction to that of the truth, and back; in the unit of the spacing.

    Raises
    ------
    BadInput
        If a mask is empty, the shapes differ, an array has no elements or is not boolean, or the spacing
        does not have one positive number an axis.
    """
    prediction, truth = _pair(prediction, truth)
    steps = _steps(spacing, prediction.ndim)
    if empty := _empty(prediction, truth):
        raise BadInput(
            "masks" if empty == "both" else empty, "is empty, and has no boundary", "leave out this image"
        )
    # Nothing outside the box of the union belongs to either boundary or alters it, so this is exact.
    box = ndimage.find_objects((prediction | truth).view(np.uint8))[0]
    edges = boundary(prediction[box]), boundary(truth[box])
    return _distances(edges[0], edges[1], steps), _distances(edges[1], edges[0], steps)


def hd95(prediction: Mask, truth: Mask, spacing: Sequence[float] | None = None) -> float:
    """95th percentile of the Hausdorff distance between two boundaries.

    Parameters
    ----------
    prediction, truth
        Boolean, of one shape, with any number of dimensions.
    spacing
        Distance between neighbours along each axis, in the order of the axes; 1 each if not given.

    Returns
    -------
    float
        In the unit of the spacing, or in elements of the array without one. Where both masks are empty
        it is 0. Where one is, there is no distance, and it is the diagonal of the image (316.8 for
        224 x 224), the worst that could be; count such images (`ImageScores.empty`).

    Raises
    ------
    BadInput
        If the shapes differ, if an array has no elements or is not boolean, or if the spacing does not
        have one positive number an axis.

    Notes
    -----
    The distances of both directions are pooled before the percentile is taken (with linear interpolation),
    as medpy does, which the code of Wave-GMS [2]_ calls (and which counts 0 where a mask is empty, the best
    value there is). MONAI takes the percentile of each direction and
    then the greater one, so its values differ. See [1]_ for the distance, [3]_ for its pitfalls.

    A value in pixels of a resized image cannot be compared with one in mm, or at another size.

    References
    ----------
    .. [1] Huttenlocher et al., "Comparing images using the Hausdorff distance", IEEE TPAMI 15, 1993.
    .. [2] Ahmed et al., "Wave-GMS: Lightweight Multi-Scale Generative Model for Medical Image
       Segmentation", 2025.
    .. [3] Maier-Hein et al., "Metrics reloaded", Nature Methods 21, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> truth, prediction = np.zeros((2, 9, 9), dtype=bool)
    >>> truth[4, 2] = prediction[4, 5] = True
    >>> hd95(prediction, truth, spacing=(1.0, 0.5))
    1.5
    """
    prediction, truth = _pair(prediction, truth)
    steps = _steps(spacing, prediction.ndim)
    empty = _empty(prediction, truth)
    if empty == "both":
        return 0.0
    if empty:
        return math.hypot(*(steps * prediction.shape))
    pooled = np.concatenate(surface_distances(prediction, truth, spacing))
    return float(np.percentile(pooled, 95))


def psnr(image: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]) -> float:
    """Peak signal-to-noise ratio of an image that a codec gave back.

    Parameters
    ----------
    image, reference
        Floating point in [0, 1], of one shape, with any number of dimensions; channels count alike.

    Returns
    -------
    float
        In dB: -10 log10 of the mean squared difference. Infinite where the two are equal.

    Raises
    ------
    BadInput
        If the shapes differ, or if an array has no elements, is not of floating point or leaves [0, 1].

    References
    ----------
    .. [1] Huynh-Thu and Ghanbari, "Scope of validity of PSNR in image/video quality assessment",
       Electronics Letters 44, 2008; used by MedSegLatDiff for its autoencoders.
    """
    image, reference = _unit("image", image), _unit("reference", reference)
    _same_shape("image", image, "reference", reference)
    error = float(np.mean(np.square(image - reference)))
    return -10.0 * math.log10(error) if error else math.inf


class ImageScores(BaseModel):
    """The scores of one image; frozen.

    Attributes
    ----------
    dsc, iou
        In [0, 1].
    hd95
        In the unit of the spacing that was given, or in elements of the array.
    empty
        Which mask had nothing in it; the empty string where neither.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dsc: float = Field(ge=0, le=1)
    iou: float = Field(ge=0, le=1)
    hd95: float = Field(ge=0, allow_inf_nan=False)
    empty: Empty = ""


class Spread(TypedDict):
    """Mean over images, and standard deviation with n - 1 (none for one image)."""

    mean: float
    std: float | None


class Summary(TypedDict):
    """What `summarise` gives: the number of images, a spread for each metric, and the empty cases."""

    images: int
    dsc: Spread
    iou: Spread
    hd95: Spread
    empty: dict[str, int]


def score(prediction: Mask, truth: Mask, spacing: Sequence[float] | None = None) -> ImageScores:
    """All scores of one image.

    Parameters
    ----------
    prediction, truth
        Boolean, of one shape, with any number of dimensions. A stack of slices given whole is scored as a
        volume, which is another figure than the mean over its slices.
    spacing
        Distance between neighbours along each axis, in the order of the axes; 1 each if not given.

    Returns
    -------
    ImageScores
        By the conventions in `CONVENTIONS`.

    Raises
    ------
    BadInput
        If the shapes differ, if an array has no elements or is not boolean, or if the spacing does not
        have one positive number an axis.
    """
    prediction, truth = _pair(prediction, truth)
    return ImageScores(
        dsc=dice(prediction, truth),
        iou=iou(prediction, truth),
        hd95=hd95(prediction, truth, spacing),
        empty=_empty(prediction, truth),
    )


def summarise(scores: Sequence[ImageScores]) -> Summary:
    """Mean and standard deviation over images, and how many had an empty mask.

    Parameters
    ----------
    scores
        One an image, as `score` gave them (not rounded); at least one.

    Returns
    -------
    Summary
        A dictionary that JSON can hold: ``images`` (their number), ``dsc``, ``iou`` and ``hd95`` (each
        with ``mean`` and ``std``), ``empty`` (the number of images by which mask was empty:
        ``prediction``, ``truth``, ``both``). Images with an empty mask are part of the means.

    Raises
    ------
    BadInput
        If there is no image.
    RuntimeError
        If Dice and IoU do not belong to the same masks, which is a fault of this program: for each image
        IoU = D / (2 - D), and their means obey `check_means`.
    """
    if not scores:
        raise BadInput("scores", "there is no image to summarise", "score at least one")
    for i, one in enumerate(scores):
        if abs(one.iou - one.dsc / (2 - one.dsc)) > _ROUNDING:
            raise RuntimeError(f"image {i}: Dice {one.dsc:.6f} and IoU {one.iou:.6f} of different masks")
    dsc, jaccard, distance = (
        _spread([getattr(one, name) for one in scores]) for name in ("dsc", "iou", "hd95")
    )
    check_means(dsc["mean"], jaccard["mean"])
    cases = [one.empty for one in scores]
    return Summary(
        images=len(scores),
        dsc=dsc,
        iou=jaccard,
        hd95=distance,
        empty={which: cases.count(which) for which in ("prediction", "truth", "both")},
    )


def check_means(dsc: float, iou: float, tolerance: float = _ROUNDING) -> None:
    """Check that two means over the same images can be a Dice coefficient and an IoU.

    Parameters
    ----------
    dsc, iou
        Means of one value an image, in [0, 1].
    tolerance
        What rounding may have cost; half a unit of the last digit for printed figures.

    Raises
    ------
    RuntimeError
        Unless D / (2 - D) <= IoU <= D.

    Notes
    -----
    IoU = D / (2 - D) for one image, and that is convex in D, so by Jensen's inequality the mean of the IoU
    is at least D / (2 - D) of the mean Dice. They are equal only where all images have one score, or
    where the pixels of all images were pooled, which is not a mean over images.
    """
    if not dsc / (2 - dsc) - tolerance <= iou <= dsc + tolerance:
        raise RuntimeError(
            f"a mean Dice of {dsc:.6f} cannot go with a mean IoU of {iou:.6f}: "
            f"it must lie between {dsc / (2 - dsc):.6f} and {dsc:.6f}"
        )


def _spread(values: list[float]) -> Spread:
    # One image has no standard deviation; NaN would be the other way to say so, but JSON has none.
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(mean=float(np.mean(values)), std=std)


def _distances(start: Mask, goal: Mask, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    # Only the indices of the nearest goal are asked for: distances of the whole box would be thrown away
    # but for the boundary, and cost more time and memory than the transform.
    nearest: NDArray[np.int32] = ndimage.distance_transform_edt(
        ~goal, sampling=steps, return_distances=False, return_indices=True
    )
    offsets = nearest[:, start] - np.array(np.nonzero(start))
    return np.asarray(np.linalg.norm(offsets * steps[:, None], axis=0), dtype=np.float64)


def _counts(prediction: Mask, truth: Mask) -> tuple[int, int]:
    overlap = np.count_nonzero(prediction & truth)
    return int(overlap), int(np.count_nonzero(prediction)) + int(np.count_nonzero(truth))


def _empty(prediction: Mask, truth: Mask) -> Empty:
    if prediction.any():
        return "" if truth.any() else "truth"
    return "prediction" if truth.any() else "both"


def _pair(prediction: Mask, truth: Mask) -> tuple[Mask, Mask]:
    prediction, truth = _mask("prediction", prediction), _mask("truth", truth)
    _same_shape("prediction", prediction, "truth", truth)
    return prediction, truth


def _mask(name: str, array: Mask) -> Mask:
    mask = np.asarray(array)
    # Probabilities or labels taken for a mask would be scored, and wrongly.
    if mask.dtype != np.bool_:
        raise BadInput(name, f"values of type {mask.dtype} are not a mask", "give it as boolean")
    _has_elements(name, mask)
    return mask


def _unit(name: str, array: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    image = np.asarray(array)
    if image.dtype.kind != "f":
        raise BadInput(name, f"values of type {image.dtype} are not in [0, 1]", "scale it to floating point")
    _has_elements(name, image)
    # NaN fails both comparisons.
    if not (image.min() >= -1e-6 and image.max() <= 1 + 1e-6):
        raise BadInput(name, "has values outside [0, 1]", "scale it first")
    return image.astype(np.float64)


def _has_elements(name: str, array: NDArray[Any]) -> None:
    if array.ndim == 0 or array.size == 0:
        raise BadInput(name, f"has no elements (shape {array.shape})", "give one with at least one axis")


def _same_shape(a_name: str, a: NDArray[Any], b_name: str, b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise BadInput(a_name, f"has shape {a.shape}, the {b_name} {b.shape}", "bring both to one shape")


def _steps(spacing: Sequence[float] | None, ndim: int) -> NDArray[np.float64]:
    if spacing is None:
        return np.ones(ndim)
    steps = np.asarray(spacing, dtype=np.float64)
    if steps.shape != (ndim,) or not (np.isfinite(steps) & (steps > 0)).all():
        raise BadInput("spacing", f"{spacing} for {ndim} axes", "give one positive number an axis")
    return steps
