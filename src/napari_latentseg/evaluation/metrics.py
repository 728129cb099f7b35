"""Overlap and boundary distance of two masks, and the error of an image that a codec reconstructed.

Published codes differ in the value for empty masks, in the percentile of the distances and in the unit, and
these differences are as large as those between methods. `CONVENTIONS` states what is done here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.arrays import (
    Mask,
    check_images,
    check_mask,
    check_pair,
    check_spacing,
    empty_masks,
)

# MONAI's metrics are not used: their HD95 is the larger of two directed percentiles, not the percentile of
# both directions together, and is NaN for empty masks; and importing them takes seconds and loads torch.
__all__ = ["CONVENTIONS", "boundary", "boundary_scores", "dice", "hd95", "iou", "psnr", "surface_distances"]

CONVENTIONS: dict[str, str] = {
    "dsc": (
        "Dice coefficient of binary masks, one value per image; 1 if both masks are empty, "
        "0 if one of them is (the GMS code gives 0 for both)"
    ),
    "iou": (
        "intersection over union of binary masks, one value per image; 1 if both masks are empty, "
        "0 if one of them is (the GMS code gives 0 for both)"
    ),
    "hd95": (
        "95th percentile of the distances from each boundary to the other, both directions pooled, in the "
        "unit of the spacing, or in pixels without one; 0 if both masks are empty, the diagonal of the "
        "image if one of them is (the Wave-GMS code gives 0 there, which is the best value)"
    ),
    "psnr": (
        "peak signal-to-noise ratio in dB of images in [0, 1], one value per image; infinite if the image "
        "equals its reference"
    ),
    "summary": (
        "mean over images and standard deviation with n - 1; images with an empty mask are included, "
        "and counted"
    ),
}
"""The definition of each metric, for reports, model cards and JSON."""


def dice(prediction: Mask, reference: Mask) -> float:
    """Dice coefficient: twice the overlap over the sum of the sizes.

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape, with any number of axes.

    Returns
    -------
    float
        In [0, 1]; for empty masks see `CONVENTIONS`. The code of GMS [1]_ gives 0 if both are empty, so its
        figures are comparable only on images that all have foreground.

    Raises
    ------
    BadInput
        If the shapes differ, or a mask has no voxels or is not boolean.

    References
    ----------
    .. [1] Huo et al., "Generative Medical Segmentation", AAAI 2025, arXiv:2403.18198.

    Examples
    --------
    >>> import numpy as np
    >>> dice(np.array([True, True, False]), np.array([False, True, True]))
    0.5
    """
    prediction, reference = check_pair(prediction, reference)
    overlap, total = _overlap_and_total(prediction, reference)
    return 2 * overlap / total if total else 1.0


def iou(prediction: Mask, reference: Mask) -> float:
    """Intersection over union (IoU, the Jaccard index).

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape, with any number of axes.

    Returns
    -------
    float
        In [0, 1]; equal to D / (2 - D), where D is the Dice coefficient of the same masks. For empty masks
        see `CONVENTIONS`.

    Raises
    ------
    BadInput
        If the shapes differ, or a mask has no voxels or is not boolean.

    Examples
    --------
    >>> import numpy as np
    >>> iou(np.array([True, True, False, False]), np.array([False, True, True, True]))
    0.25
    """
    prediction, reference = check_pair(prediction, reference)
    overlap, total = _overlap_and_total(prediction, reference)
    return overlap / (total - overlap) if total else 1.0


def boundary(mask: Mask) -> Mask:
    """Voxels of a mask that share a face with a voxel outside it.

    Parameters
    ----------
    mask
        Boolean, with any number of axes.

    Returns
    -------
    ndarray of bool
        In the shape of the mask: the mask minus its erosion by face neighbours (4 in a plane, 6 in a volume).
        Outside the image counts as outside the mask.

    Raises
    ------
    BadInput
        If the mask has no voxels or is not boolean.
    """
    mask = check_mask("mask", mask)
    face_neighbours = ndimage.generate_binary_structure(mask.ndim, 1)
    interior: Mask = ndimage.binary_erosion(mask, face_neighbours, border_value=0)
    return mask & ~interior


def surface_distances(
    prediction: Mask, reference: Mask, spacing: Sequence[float] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each boundary voxel of one mask to the nearest of the other, in both directions.

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape, with any number of axes; neither may be empty.
    spacing
        Distance of neighbouring voxels along each axis, in array order; 1 for each by default.

    Returns
    -------
    to_reference, to_prediction : ndarray of float64
        From the boundary of the prediction to that of the reference, and back, in the unit of the spacing.

    Raises
    ------
    BadInput
        If a mask is empty or not boolean, the shapes differ, or the spacing is not one positive number for
        each axis.
    """
    prediction, reference = check_pair(prediction, reference)
    axis_spacing = check_spacing(spacing, prediction.ndim)
    if empty := empty_masks(prediction, reference):
        name, verb = ("masks", "are") if empty == "both" else (empty.replace("truth", "reference"), "is")
        raise BadInput(name, f"{verb} empty, so there is no boundary", "leave out this image")
    # only the bounding box of both masks, for speed: no voxel outside it belongs to a boundary or changes it
    box = ndimage.find_objects((prediction | reference).view(np.uint8))[0]
    predicted_boundary, reference_boundary = boundary(prediction[box]), boundary(reference[box])
    return (
        _boundary_distances(predicted_boundary, reference_boundary, axis_spacing),
        _boundary_distances(reference_boundary, predicted_boundary, axis_spacing),
    )


def hd95(prediction: Mask, reference: Mask, spacing: Sequence[float] | None = None) -> float:
    """95th percentile of the Hausdorff distance [1]_ between the boundaries of two masks.

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape, with any number of axes.
    spacing
        Distance of neighbouring voxels along each axis, in array order; 1 for each by default.

    Returns
    -------
    float
        In the unit of the spacing, or in voxels without one. For empty masks see `CONVENTIONS`: if one is
        empty, it is the diagonal of the image (316.8 pixels for 224 x 224); count such images
        (`ImageScores.empty`).

    Raises
    ------
    BadInput
        If the shapes differ, a mask has no voxels or is not boolean, or the spacing is not one positive
        number for each axis.

    Notes
    -----
    The distances of both directions are pooled before the percentile is taken (with linear interpolation),
    as in medpy, which the code of Wave-GMS [2]_ uses. MONAI takes the percentile of each direction and then
    the larger one, so its values differ. See [3]_ for pitfalls.

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
    >>> reference, prediction = np.zeros((2, 9, 9), dtype=bool)
    >>> reference[4, 2] = prediction[4, 5] = True
    >>> hd95(prediction, reference, spacing=(1.0, 0.5))
    1.5
    """
    prediction, reference = check_pair(prediction, reference)
    diagonal = math.hypot(*(check_spacing(spacing, prediction.ndim) * prediction.shape))

    def distances(a: Mask, b: Mask) -> NDArray[np.float64]:
        return np.concatenate(surface_distances(a, b, spacing))

    return boundary_scores(prediction, reference, distances, diagonal)[0]


def boundary_scores(
    prediction: Mask,
    reference: Mask,
    distances: Callable[[Mask, Mask], NDArray[np.float64]],
    diagonal: float,
) -> tuple[float, float]:
    """HD95 and average symmetric surface distance (ASSD), with `CONVENTIONS` for empty masks.

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape.
    distances
        Computes the distances between the boundaries of two masks that are not empty, both directions pooled.
    diagonal
        Diagonal of the image, in the unit of the distances.

    Returns
    -------
    hd95, assd : float
        In the unit of the distances. Both are 0 if both masks are empty, and the diagonal of the image, the
        largest distance possible, if one is.
    """
    if empty := empty_masks(prediction, reference):
        value = 0.0 if empty == "both" else diagonal
        return value, value
    pooled = distances(prediction, reference)
    return float(np.percentile(pooled, 95)), float(pooled.mean())


def psnr(image: NDArray[np.floating[Any]], reference: NDArray[np.floating[Any]]) -> float:
    """Peak signal-to-noise ratio of an image that a codec reconstructed.

    Parameters
    ----------
    image, reference
        Floating point in [0, 1], of one shape, with any number of axes.

    Returns
    -------
    float
        In dB: -10 log10 of the mean squared difference; infinite if the two are equal.

    Raises
    ------
    BadInput
        If the shapes differ, or an image has no pixels, is not floating point or has values outside [0, 1].

    References
    ----------
    .. [1] Huynh-Thu and Ghanbari, "Scope of validity of PSNR in image/video quality assessment",
       Electronics Letters 44, 2008; used by MedSegLatDiff for its autoencoders.

    Examples
    --------
    >>> import numpy as np
    >>> round(psnr(np.full((8, 8), 0.5), np.full((8, 8), 0.4)), 6)
    20.0
    """
    error = float(np.mean(np.square(np.subtract(*check_images(image, reference)))))
    return -10.0 * math.log10(error) if error else math.inf


def _boundary_distances(
    from_boundary: Mask, to_boundary: Mask, spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of each voxel of one boundary to the nearest of the other, `(M,)`, in the spacing's unit."""
    # The transform returns indices, not distances: those would be computed for all voxels of the box, though
    # only the boundary needs them, which takes more time and memory than the transform itself.
    nearest: NDArray[np.int32] = ndimage.distance_transform_edt(
        ~to_boundary, sampling=spacing, return_distances=False, return_indices=True
    )
    offsets = nearest[:, from_boundary] - np.array(np.nonzero(from_boundary))
    return np.asarray(np.linalg.norm(offsets * spacing[:, None], axis=0), dtype=np.float64)


def _overlap_and_total(prediction: Mask, reference: Mask) -> tuple[int, int]:
    overlap = np.count_nonzero(prediction & reference)
    return int(overlap), int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference))
