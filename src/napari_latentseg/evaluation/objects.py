"""Objects of a prediction matched with those of a reference, as for cell nuclei."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.evaluation.arrays import Mask, check_pair

__all__ = [
    "MIN_IOU",
    "OBJECT_CONVENTIONS",
    "ObjectCounts",
    "ObjectScores",
    "match_objects",
    "summarise_objects",
]

MIN_IOU = 0.5
"""Two objects match if their IoU is above this: then neither can match another, so no choice is left."""

OBJECT_CONVENTIONS: dict[str, str] = {
    "objects": (
        "connected components of the masks (voxels that share a face, an edge or a corner); one of the "
        f"prediction and one of the reference match if their IoU is above {MIN_IOU:g}; average precision is "
        "matched / (matched + missed + extra) of each image, and the mean over the images with any object; "
        "precision, recall and F1 are of the objects of all images together"
    )
}


class ObjectCounts(NamedTuple):
    """Objects of one image: in both masks, in the reference alone, in the prediction alone."""

    matched: int
    missed: int
    extra: int


class ObjectScores(FrozenModel):
    """How well the objects of a class are found, over images.

    Attributes
    ----------
    images
        Those with any object, in the reference or in the prediction.
    matched, missed, extra
        Objects in both masks, in the reference alone, in the prediction alone, over all images.
    average_precision
        Mean over the images of matched / (matched + missed + extra), in [0, 1].
    precision, recall, f1
        Over the objects of all images; precision is None where nothing is predicted, recall where the
        reference is empty.
    """

    images: int = Field(ge=1)
    matched: int = Field(ge=0)
    missed: int = Field(ge=0)
    extra: int = Field(ge=0)
    average_precision: float = Field(ge=0, le=1)
    precision: float | None = Field(None, ge=0, le=1)
    recall: float | None = Field(None, ge=0, le=1)
    f1: float = Field(ge=0, le=1)


def match_objects(prediction: Mask, reference: Mask) -> ObjectCounts:
    """Match the objects of two masks at an IoU above 0.5.

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape, with any number of axes.

    Raises
    ------
    BadInput
        If the shapes differ, or a mask has no voxels or is not boolean.

    References
    ----------
    .. [1] Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl",
       Nature Methods 16, 2019, doi 10.1038/s41592-019-0612-7.

    Examples
    --------
    >>> reference, prediction = np.zeros((2, 5, 12), dtype=bool)
    >>> reference[1:4, 1:4] = reference[1:4, 6:9] = True
    >>> prediction[1:4, 1:4] = prediction[0, 11] = True
    >>> match_objects(prediction, reference)
    ObjectCounts(matched=1, missed=1, extra=1)
    """
    from scipy import ndimage

    prediction, reference = check_pair(prediction, reference)
    # as post-processing and measuring count them: across faces, edges and corners
    neighbours = np.ones((3,) * prediction.ndim)
    predicted, predicted_count = ndimage.label(prediction, neighbours)
    referenced, reference_count = ndimage.label(reference, neighbours)
    pair_numbers = predicted.astype(np.int64) * (reference_count + 1) + referenced
    pairs, overlaps = np.unique(pair_numbers[prediction & reference], return_counts=True)
    predicted_sizes = np.bincount(predicted.ravel(), minlength=predicted_count + 1)
    reference_sizes = np.bincount(referenced.ravel(), minlength=reference_count + 1)
    rows, columns = np.divmod(pairs, reference_count + 1)
    unions = predicted_sizes[rows] + reference_sizes[columns] - overlaps
    matched = int((overlaps > MIN_IOU * unions).sum())
    return ObjectCounts(matched, reference_count - matched, predicted_count - matched)


def summarise_objects(counts: Sequence[Mapping[str, ObjectCounts]]) -> dict[str, ObjectScores]:
    """The scores of each class over images.

    Parameters
    ----------
    counts
        Of each annotated class by its name, one mapping for each image.

    Returns
    -------
    dict
        In the order in which the classes first appear. A class without any object is left out.

    Examples
    --------
    >>> scores = summarise_objects([{"nucleus": ObjectCounts(3, 1, 0)}, {"nucleus": ObjectCounts(1, 0, 1)}])
    >>> scores["nucleus"].average_precision, scores["nucleus"].recall
    (0.625, 0.8)
    """
    summary = {}
    for name in dict.fromkeys(name for image in counts for name in image):
        table = np.array([image[name] for image in counts if any(image.get(name, ()))])
        if len(table):
            matched, missed, extra = (int(total) for total in table.sum(axis=0))
            summary[name] = ObjectScores(
                images=len(table),
                matched=matched,
                missed=missed,
                extra=extra,
                average_precision=float((table[:, 0] / table.sum(axis=1)).mean()),
                precision=matched / (matched + extra) if matched + extra else None,
                recall=matched / (matched + missed) if matched + missed else None,
                f1=2 * matched / (2 * matched + missed + extra),
            )
    return summary
