"""The scores of images, one image at a time, and their summary over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.arrays import Empty, Mask, empty_masks
from napari_latentseg.evaluation.metrics import dice, hd95, iou

__all__ = ["ImageScores", "MeanStd", "Summary", "check_mean_dice_iou", "score", "summarise"]

# A score is a ratio of two integers, so what is left is the rounding of a few operations.
_ROUNDING_TOLERANCE = 1e-9


class ImageScores(FrozenModel):
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

    dsc: float = Field(ge=0, le=1)
    iou: float = Field(ge=0, le=1)
    hd95: float = Field(ge=0, allow_inf_nan=False)
    empty: Empty = ""


class MeanStd(TypedDict):
    """Mean over images, and standard deviation with n - 1 (none for one image)."""

    mean: float
    std: float | None


class Summary(TypedDict):
    """What `summarise` gives: the number of images, a spread for each metric, and the empty cases."""

    images: int
    dsc: MeanStd
    iou: MeanStd
    hd95: MeanStd
    empty: dict[str, int]


def score(prediction: Mask, reference: Mask, spacing: Sequence[float] | None = None) -> ImageScores:
    """All scores of one image.

    Parameters
    ----------
    prediction, reference
        Boolean, of one shape, with any number of dimensions. A stack of slices given whole is scored as a
        volume, which is another figure than the mean over its slices.
    spacing
        Distance between neighbours along each axis, in the order of the axes; 1 each if not given.

    Returns
    -------
    ImageScores
        By the conventions in `napari_latentseg.evaluation.metrics.CONVENTIONS`.

    Raises
    ------
    BadInput
        If the shapes differ, if an array has no elements or is not boolean, or if the spacing does not
        have one positive number an axis.
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
        IoU = D / (2 - D), and their means obey `check_mean_dice_iou`.
    """
    if not scores:
        raise BadInput("scores", "there is no image to summarise", "score at least one")
    for i, image in enumerate(scores):
        if abs(image.iou - image.dsc / (2 - image.dsc)) > _ROUNDING_TOLERANCE:
            raise RuntimeError(f"image {i}: Dice {image.dsc:.6f} and IoU {image.iou:.6f} of different masks")
    dsc_summary, iou_summary, hd95_summary = (
        _spread([getattr(image, name) for image in scores]) for name in ("dsc", "iou", "hd95")
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


def check_mean_dice_iou(dsc: float, iou: float, tolerance: float = _ROUNDING_TOLERANCE) -> None:
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


def _spread(values: list[float]) -> MeanStd:
    # One image has no standard deviation; NaN would be the other way to say so, but JSON has none.
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return MeanStd(mean=float(np.mean(values)), std=std)
