"""Overlap and boundary distance of two masks, and the error of an image that a codec gave back.

Published codes differ in what they do with empty masks, with the percentile of a distance and with its
unit, and the differences are as large as those between methods. `CONVENTIONS` says what is done here.
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
    empty_masks,
    steps_of,
)

# Not MONAI's metrics: their HD95 is the larger of two directed percentiles, not the one of both
# together, and NaN for empty masks; and loading them takes seconds and torch.
__all__ = ["CONVENTIONS", "boundary", "boundary_scores", "dice", "hd95", "iou", "psnr", "surface_distances"]

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


def dice(prediction: Mask, reference: Mask) -> float:
    """Dice coefficient (DSC), twice the overlap over the sum of the sizes.

    Parameters
    ----------
    prediction, reference
        Boolean, of one shape, with any number of dimensions.

    Returns
    -------
    float
        In [0, 1]. Where both masks are empty it is 1 (nothing to find, nothing found), where one is, 0. The
        code of GMS [1]_ gives 0 for both, so its figures compare only on images that all hold something.

    Raises
    ------
    BadInput
        If the shapes differ, if an array has no elements or is not boolean.

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
    """Intersection over union (the Jaccard index).

    Parameters
    ----------
    prediction, reference
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
    prediction, reference = check_pair(prediction, reference)
    overlap, total = _overlap_and_total(prediction, reference)
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
    mask = check_mask("mask", mask)
    face_neighbours = ndimage.generate_binary_structure(mask.ndim, 1)
    interior: Mask = ndimage.binary_erosion(mask, face_neighbours, border_value=0)
    return mask & ~interior


def surface_distances(
    prediction: Mask, reference: Mask, spacing: Sequence[float] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of each element of one boundary to the nearest of the other, in both directions.

    Parameters
    ----------
    prediction, reference
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
    prediction, reference = check_pair(prediction, reference)
    steps = steps_of(spacing, prediction.ndim)
    if empty := empty_masks(prediction, reference):
        raise BadInput(
            "masks" if empty == "both" else empty, "is empty, and has no boundary", "leave out this image"
        )
    # Nothing outside the box of the union belongs to either boundary or alters it, so this is exact.
    box = ndimage.find_objects((prediction | reference).view(np.uint8))[0]
    boundaries = boundary(prediction[box]), boundary(reference[box])
    return _boundary_distances(boundaries[0], boundaries[1], steps), _boundary_distances(
        boundaries[1], boundaries[0], steps
    )


def hd95(prediction: Mask, reference: Mask, spacing: Sequence[float] | None = None) -> float:
    """95th percentile of the Hausdorff distance between two boundaries.

    Parameters
    ----------
    prediction, reference
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
    value there is). MONAI takes the percentile of each direction and then the greater one, so its values
    differ. See [1]_ for the distance, [3]_ for its pitfalls.

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
    prediction, reference = check_pair(prediction, reference)
    diagonal = math.hypot(*(steps_of(spacing, prediction.ndim) * prediction.shape))

    def distances(a: Mask, b: Mask) -> NDArray[np.float64]:
        return np.concatenate(surface_distances(a, b, spacing))

    return boundary_scores(prediction, reference, distances, diagonal)[0]


def boundary_scores(
    prediction: Mask,
    truth: Mask,
    distances: Callable[[Mask, Mask], NDArray[np.float64]],
    diagonal: float,
) -> tuple[float, float]:
    """HD95 and average symmetric surface distance (ASSD), by the one convention for empty masks.

    Both are 0 where both masks are empty, and the diagonal of the image, the worst that could be, where one
    of them is.

    Parameters
    ----------
    prediction, truth
        Boolean, of one shape.
    distances
        Gives the distances of two boundaries, neither of them empty, both directions pooled.
    diagonal
        Of the image, in the unit of the distances.

    Returns
    -------
    hd95, assd : float
        In that unit.
    """
    if empty := empty_masks(prediction, truth):
        value = 0.0 if empty == "both" else diagonal
        return value, value
    pooled = distances(prediction, truth)
    return float(np.percentile(pooled, 95)), float(pooled.mean())


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
    error = float(np.mean(np.square(np.subtract(*check_images(image, reference)))))
    return -10.0 * math.log10(error) if error else math.inf


def _boundary_distances(
    from_boundary: Mask, to_boundary: Mask, steps: NDArray[np.float64]
) -> NDArray[np.float64]:
    # Only the indices of the nearest goal are asked for: distances of the whole box would be thrown away
    # but for the boundary, and cost more time and memory than the transform.
    nearest: NDArray[np.int32] = ndimage.distance_transform_edt(
        ~to_boundary, sampling=steps, return_distances=False, return_indices=True
    )
    offsets = nearest[:, from_boundary] - np.array(np.nonzero(from_boundary))
    return np.asarray(np.linalg.norm(offsets * steps[:, None], axis=0), dtype=np.float64)


def _overlap_and_total(prediction: Mask, reference: Mask) -> tuple[int, int]:
    overlap = np.count_nonzero(prediction & reference)
    return int(overlap), int(np.count_nonzero(prediction)) + int(np.count_nonzero(reference))
