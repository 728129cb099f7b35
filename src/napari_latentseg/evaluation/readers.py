"""How well the samples of a model agree with the masks of several readers, as sets of masks.

The distance of two masks is 1 - IoU, as in the literature on ambiguous segmentation (Kohl et al., A
Probabilistic U-Net for Segmentation of Ambiguous Images, NeurIPS 2018; Kohl et al., A Hierarchical
Probabilistic U-Net for Modeling Multi-Scale Ambiguities, 2019, for the matching).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput

__all__ = [
    "READER_CONVENTIONS",
    "ImageAgreement",
    "ReaderAgreement",
    "ReaderReport",
    "generalized_energy_distance",
    "hungarian_iou",
    "mean_agreement",
    "pairwise_iou",
    "reader_agreement",
]

READER_CONVENTIONS: dict[str, str] = {
    "ged2": (
        "squared generalized energy distance 2 E d(S, R) - E d(S, S) - E d(R, R) of samples S and readers R "
        "with d = 1 - IoU, one value per image; the means are over all pairs, those of a mask with itself "
        "included, so that the value depends on the number of samples and readers"
    ),
    "reader_iou": (
        "IoU of samples and readers, each as often as the other set is large, matched one to one for the "
        "largest mean (Hungarian algorithm)"
    ),
    "reader_empty": "IoU is 1 if both masks are empty, 0 if one of them is",
}
"""The definition of each figure, for reports and JSON."""

# The matching of n samples with m readers is solved for lcm(n, m) copies of each in O(copies^3).
_MAX_COPIES = 4096


class ReaderAgreement(FrozenModel):
    """The agreement of samples with readers' masks; of an image, or the mean over images.

    Attributes
    ----------
    ged2
        Squared generalized energy distance, from 0 for equal distributions to 2.
    sample_reader_distance
        E d(S, R), the mean distance of a sample and a reader, in [0, 1].
    sample_distance, reader_distance
        E d(S, S) and E d(R, R), the mean distances within each set, in [0, 1]: how much samples, and readers,
        differ among themselves.
    matched_iou
        Mean IoU of samples and readers that were matched one to one, in [0, 1].
    """

    ged2: float = Field(allow_inf_nan=False)
    sample_reader_distance: float = Field(ge=0, le=1)
    sample_distance: float = Field(ge=0, le=1)
    reader_distance: float = Field(ge=0, le=1)
    matched_iou: float = Field(ge=0, le=1)


class ImageAgreement(ReaderAgreement):
    """The agreement of one image, by the name of its file without the suffix; of several classes the mean.

    Attributes
    ----------
    name
        Of the image.
    """

    name: str


class ReaderReport(FrozenModel):
    """The agreement of a model's samples with readers on annotated images.

    Attributes
    ----------
    readers
        The number of readers.
    mean
        Means over the images.
    images
        The figures of each image.
    """

    readers: int = Field(ge=1)
    mean: ReaderAgreement
    images: tuple[ImageAgreement, ...]


def pairwise_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """IoU of each mask of one set with each of another.

    Parameters
    ----------
    a, b
        Boolean masks, `(n, ...)` and `(m, ...)`, of one shape.

    Returns
    -------
    ndarray
        float64 `(n, m)` in [0, 1]; 1 if both masks are empty.

    Raises
    ------
    BadInput
        If a set is empty or not boolean, or the shapes of the masks differ.

    Examples
    --------
    >>> import numpy as np
    >>> masks = np.array([[True, True, False], [False, False, False]])
    >>> pairwise_iou(masks, masks[:, [0, 1, 1]] & [True, False, False])
    array([[0.5, 0. ],
           [0. , 1. ]])
    """
    rows_a, rows_b = _flattened("first masks", a), _flattened("second masks", b)
    if a.shape[1:] != b.shape[1:]:
        raise BadInput(
            "masks", f"have shapes {a.shape[1:]} and {b.shape[1:]}", "give samples and readers the same shape"
        )
    # only voxels of any mask, of which a volume has few; counts in float64, in which BLAS is exact
    is_used = rows_a.any(axis=0) | rows_b.any(axis=0)
    rows_a, rows_b = rows_a[:, is_used], rows_b[:, is_used]
    intersection = rows_a.astype(np.float64) @ rows_b.T.astype(np.float64)
    union = rows_a.sum(axis=1)[:, None] + rows_b.sum(axis=1)[None] - intersection
    iou: NDArray[np.float64] = np.where(union > 0, intersection / np.maximum(union, 1), 1.0)
    return iou


def generalized_energy_distance(samples: NDArray[np.bool_], readers: NDArray[np.bool_]) -> float:
    """Squared generalized energy distance between samples and readers' masks, with the distance 1 - IoU.

    Parameters
    ----------
    samples, readers
        Boolean masks, `(n, ...)` and `(m, ...)`, of one shape.

    Returns
    -------
    float
        2 E d(S, R) - E d(S, S) - E d(R, R), from 0 for equal sets to 2. See `READER_CONVENTIONS`.

    Raises
    ------
    BadInput
        As for `pairwise_iou`.

    Examples
    --------
    >>> import numpy as np
    >>> readers = np.array([[True, True, False, False], [True, False, False, False]])
    >>> generalized_energy_distance(readers, readers)
    0.0
    >>> generalized_energy_distance(readers[:1], readers)
    0.25
    """
    return reader_agreement(samples, readers).ged2


def hungarian_iou(samples: NDArray[np.bool_], readers: NDArray[np.bool_]) -> float:
    """Mean IoU of samples and readers' masks, matched one to one for the largest mean.

    Where the sets differ in size, each mask is repeated so that both have as many as the least common
    multiple.

    Parameters
    ----------
    samples, readers
        Boolean masks, `(n, ...)` and `(m, ...)`, of one shape.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    BadInput
        As for `pairwise_iou`, or if the least common multiple is above 4,096.

    Examples
    --------
    >>> import numpy as np
    >>> readers = np.array([[True, True, False, False], [True, False, False, False]])
    >>> hungarian_iou(readers[::-1], readers), hungarian_iou(readers[:1], readers)
    (1.0, 0.75)
    """
    return _matched_iou(pairwise_iou(samples, readers))


def reader_agreement(samples: NDArray[np.bool_], readers: NDArray[np.bool_]) -> ReaderAgreement:
    """All figures of one image.

    Parameters
    ----------
    samples, readers
        Boolean masks, `(n, ...)` and `(m, ...)`, of one shape.

    Raises
    ------
    BadInput
        As for `hungarian_iou`.
    """
    between = pairwise_iou(samples, readers)
    sample_reader, sample, reader = (
        1 - float(iou.mean())
        for iou in (between, pairwise_iou(samples, samples), pairwise_iou(readers, readers))
    )
    return ReaderAgreement(
        ged2=2 * sample_reader - sample - reader,
        sample_reader_distance=sample_reader,
        sample_distance=sample,
        reader_distance=reader,
        matched_iou=_matched_iou(between),
    )


def mean_agreement(agreements: Sequence[ReaderAgreement]) -> ReaderAgreement:
    """The mean of every figure over images or classes, one or more.

    Raises
    ------
    BadInput
        If there are none.
    """
    if not agreements:
        raise BadInput("readers", "there is no image to summarise", "score at least one")
    names = ReaderAgreement.model_fields
    return ReaderAgreement(**{n: float(np.mean([getattr(a, n) for a in agreements])) for n in names})


def _flattened(name: str, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
    array: NDArray[Any] = np.asarray(masks)
    if array.dtype != np.bool_:
        raise BadInput(
            name, f"have values of type {array.dtype}, which cannot be masks", "give boolean arrays"
        )
    if array.ndim < 2 or array.size == 0:
        raise BadInput(name, f"are empty (shape {array.shape})", "give at least one mask with a voxel")
    return array.reshape(len(array), -1)


def _matched_iou(iou: NDArray[np.float64]) -> float:
    """The largest mean over one-to-one matchings of IoU `(n, m)`, whose rows and columns may be repeated."""
    from scipy.optimize import linear_sum_assignment

    copies = math.lcm(*iou.shape)
    if copies > _MAX_COPIES:
        raise BadInput(
            "samples", f"{iou.shape[0]} cannot be matched with {iou.shape[1]} readers", "draw fewer samples"
        )
    row_copies, column_copies = (copies // count for count in iou.shape)
    repeated = np.repeat(np.repeat(iou, row_copies, axis=0), column_copies, axis=1)
    rows, columns = linear_sum_assignment(repeated, maximize=True)
    return min(float(repeated[rows, columns].mean()), 1.0)
