"""The scores of single images, and their summary over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.arrays import Empty, Mask, empty_masks
from napari_latentseg.evaluation.metrics import dice, hd95, iou

__all__ = [
    "ClassMean",
    "ImageScores",
    "MeanStd",
    "Summary",
    "check_mean_dice_iou",
    "class_means",
    "mean_of_classes",
    "score",
    "summarise",
]

# scores are ratios of integers, so only the rounding of a few operations is left
_ROUNDING_TOLERANCE = 1e-9


class ImageScores(FrozenModel):
    """The scores of one image.

    Attributes
    ----------
    dsc, iou
        In [0, 1].
    hd95
        In the unit of the spacing, or in voxels without one.
    empty
        Which mask is empty: ``"prediction"``, ``"truth"`` (the reference), ``"both"``, or ``""``.
    """

    dsc: float = Field(ge=0, le=1)
    iou: float = Field(ge=0, le=1)
    hd95: float = Field(ge=0, allow_inf_nan=False)
    empty: Empty = ""


class ClassMean(FrozenModel):
    """The mean scores of one class over images or volumes.

    Attributes
    ----------
    images
        How many count: the class is annotated in them, and in the reference or in the prediction.
    dsc, iou, hd95
        Means over these, in the units of `ImageScores`.
    """

    images: int = Field(ge=1)
    dsc: float = Field(ge=0, le=1)
    iou: float = Field(ge=0, le=1)
    hd95: float = Field(ge=0, allow_inf_nan=False)


class MeanStd(TypedDict):
    """Mean over images, and standard deviation with n - 1 (None for a single image)."""

    mean: float
    std: float | None


class Summary(TypedDict):
    """Return value of `summarise`: number of images, mean and spread of each metric, empty masks."""

    images: int
    dsc: MeanStd
    iou: MeanStd
    hd95: MeanStd
    empty: dict[str, int]


def score(prediction: Mask, reference: Mask, spacing: Sequence[float] | None = None) -> ImageScores:
    """All scores of one image, by `napari_latentseg.evaluation.metrics.CONVENTIONS`.

    Parameters
    ----------
    prediction, reference
        Boolean masks of one shape, with any number of axes. A volume is scored as a whole, which differs from
        the mean over its slices.
    spacing
        Distance of neighbouring voxels along each axis, in array order; 1 for each by default.

    Returns
    -------
    ImageScores
        Dice, IoU and HD95, not rounded.

    Raises
    ------
    BadInput
        If the shapes differ, a mask has no voxels or is not boolean, or the spacing is not one positive
        number for each axis.

    Examples
    --------
    >>> reference, prediction = np.zeros((2, 9, 9), dtype=bool)
    >>> reference[2:6, 2:6] = prediction[2:6, 3:7] = True
    >>> score(prediction, reference, spacing=(1.0, 0.5)).model_dump()
    {'dsc': 0.75, 'iou': 0.6, 'hd95': 0.5, 'empty': ''}
    """
    return ImageScores(
        dsc=dice(prediction, reference),
        iou=iou(prediction, reference),
        hd95=hd95(prediction, reference, spacing),
        empty=empty_masks(np.asarray(prediction), np.asarray(reference)),
    )


def summarise(scores: Sequence[ImageScores]) -> Summary:
    """Mean and standard deviation over images, and how many had an empty mask.

    Parameters
    ----------
    scores
        From `score`, not rounded, one for each image; at least one.

    Returns
    -------
    Summary
        A dictionary for JSON: ``images`` (their number); ``dsc``, ``iou`` and ``hd95`` (each with ``mean``
        and ``std``); ``empty`` (the number of images by which mask is empty: ``prediction``, ``truth``,
        ``both``). Images with an empty mask are included in the means.

    Raises
    ------
    BadInput
        If there is no image.
    RuntimeError
        If Dice and IoU are not from the same masks, which is a bug: for each image IoU = D / (2 - D), and the
        means fulfil `check_mean_dice_iou`.
    """
    if not scores:
        raise BadInput("scores", "there is no image to summarise", "score at least one")
    for i, image in enumerate(scores):
        if abs(image.iou - image.dsc / (2 - image.dsc)) > _ROUNDING_TOLERANCE:
            raise RuntimeError(
                f"image {i}: Dice {image.dsc:.6f} and IoU {image.iou:.6f} are of different masks"
            )
    dsc_summary, iou_summary, hd95_summary = (
        _mean_std([getattr(image, name) for image in scores]) for name in ("dsc", "iou", "hd95")
    )
    check_mean_dice_iou(dsc_summary["mean"], iou_summary["mean"])
    empty_masks = [image.empty for image in scores]
    return Summary(
        images=len(scores),
        dsc=dsc_summary,
        iou=iou_summary,
        hd95=hd95_summary,
        empty={which: empty_masks.count(which) for which in ("prediction", "truth", "both")},
    )


def mean_of_classes(scores: Mapping[str, ImageScores]) -> ImageScores:
    """The mean over the classes of an image that are in the reference or in the prediction.

    Parameters
    ----------
    scores
        Of each annotated class of one image, by its name; at least one.

    Returns
    -------
    ImageScores
        Over all classes where none of them is in the reference or in the prediction.
    """
    present = [s for s in scores.values() if s.empty != "both"] or list(scores.values())
    dsc, iou, hd95 = np.mean([[s.dsc, s.iou, s.hd95] for s in present], axis=0).tolist()
    return ImageScores(dsc=dsc, iou=iou, hd95=hd95, empty="")


def class_means(scores: Sequence[Mapping[str, ImageScores]]) -> dict[str, ClassMean]:
    """The mean scores of each class, as the papers on several organs report them.

    Parameters
    ----------
    scores
        Of each annotated class by its name, one mapping for each image or volume.

    Returns
    -------
    dict
        In the order in which the classes first appear. An image with the class neither in the reference nor
        in the prediction does not count for that class; a class without any image is left out.

    Examples
    --------
    >>> liver, missed = (ImageScores(dsc=d, iou=d / (2 - d), hd95=1.0) for d in (0.8, 0.0))
    >>> absent = ImageScores(dsc=1.0, iou=1.0, hd95=0.0, empty="both")
    >>> means = class_means([{"liver": liver, "spleen": absent}, {"liver": missed, "spleen": absent}])
    >>> means["liver"].dsc, means["liver"].images, "spleen" in means
    (0.4, 2, False)
    """
    names = dict.fromkeys(name for image in scores for name in image)
    means = {}
    for name in names:
        rows = [[s.dsc, s.iou, s.hd95] for image in scores if (s := image.get(name)) and s.empty != "both"]
        if rows:
            dsc, iou, hd95 = np.mean(rows, axis=0).tolist()
            means[name] = ClassMean(images=len(rows), dsc=dsc, iou=iou, hd95=hd95)
    return means


def check_mean_dice_iou(dsc: float, iou: float, tolerance: float = _ROUNDING_TOLERANCE) -> None:
    """Check that a mean Dice coefficient and a mean IoU can be from the same images.

    Parameters
    ----------
    dsc, iou
        Means over images, in [0, 1].
    tolerance
        Allowed rounding error; half a unit of the last digit for printed figures.

    Raises
    ------
    RuntimeError
        Unless D / (2 - D) <= IoU <= D.

    Notes
    -----
    IoU = D / (2 - D) for one image, and that is convex in D, so by Jensen's inequality the mean IoU is at
    least D / (2 - D) of the mean Dice. The two are equal only if all images have one score, or if the pixels
    of all images were pooled, which is not a mean over images.
    """
    if not dsc / (2 - dsc) - tolerance <= iou <= dsc + tolerance:
        raise RuntimeError(
            f"a mean Dice of {dsc:.6f} cannot go with a mean IoU of {iou:.6f}: "
            f"it must lie between {dsc / (2 - dsc):.6f} and {dsc:.6f}"
        )


def _mean_std(values: list[float]) -> MeanStd:
    # undefined for one image; None, since JSON has no NaN
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return MeanStd(mean=float(np.mean(values)), std=std)
