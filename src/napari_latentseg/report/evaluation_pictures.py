"""Pictures of a scored image: the image, the reference, the prediction and the uncertainty, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_latentseg.core.doubt import MAX_DOUBT, doubt_of
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.cases import UNKNOWN_CLASS
from napari_latentseg.evaluation.report import ImageResult
from napari_latentseg.report.pictures import (
    Panels,
    background_of,
    side_by_side,
    with_heatmap,
    with_outlines,
)
from napari_latentseg.report.slice_parts import slice_part

__all__ = ["CasePicture", "draw_case"]

_MAX_DEVIATION = 0.5  # of numbers in [0, 1]


@dataclass(frozen=True)
class CasePicture:
    """Four pictures of an image side by side.

    Attributes
    ----------
    title
        Which image it is: the best, the median, the worst.
    name, dsc
        Of the image.
    panels
        The pictures.
    slice_text
        Which slice of a volume is shown, such as ``"slice 12 of 35"``; empty for a single image.
    has_variance
        Whether the last picture is the standard deviation of the samples; otherwise it is min(p, 1 - p).
    """

    title: str
    name: str
    dsc: float
    panels: Panels
    slice_text: str
    has_variance: bool


def draw_case(
    title: str, scores: ImageResult, scan: Scan, reference: NDArray[np.uint8], result: Segmentation
) -> CasePicture:
    """Draw a scored image.

    Of a volume it is the slice with the largest part of the reference and the prediction.

    Parameters
    ----------
    title
        See `CasePicture`.
    scores
        Of the image.
    scan
        The image as it was scored.
    reference
        Class numbers in the shape of the mask.
    result
        Its segmentation; the uncertainty shown is the largest over the classes.
    """
    is_reference = (reference > 0) & (reference != UNKNOWN_CLASS)
    index = _shown_slice(is_reference | (np.asarray(result.mask) > 0))
    height, width = reference.shape[-2:]
    part = slice_part(index, slice(0, height), slice(0, width), result.geometry)
    plane = part.plane
    mean = np.asarray(result.mean[(slice(None), *plane)], dtype=np.float64)
    background = background_of(scan, plane, mean.max(axis=0)).resize(part.size, Image.Resampling.BICUBIC)
    colours = [(info.label, info.color) for info in result.classes]
    labels = np.zeros(256, np.uint8)  # of class numbers; unknown voxels have none
    labels[1 : len(colours) + 1] = [label for label, _ in colours]
    panels = [
        background,
        with_outlines(background, labels[reference[plane]], colours),
        with_outlines(background, np.asarray(result.mask[plane]), colours),
        with_heatmap(background, _uncertainty(result, plane, mean)),
    ]
    places = [
        f"{_AXES.get(axis, axis)} {i + 1} of {n}"
        for axis, i, n in zip(result.axes, index, reference.shape, strict=False)  # not the plane's axes
    ]
    return CasePicture(
        title, scores.name, scores.dsc, side_by_side(panels), ", ".join(places), result.variance is not None
    )


_AXES = {"t": "time", "z": "slice"}


def _shown_slice(is_used: NDArray[np.bool_]) -> tuple[int, ...]:
    """The slice with the most voxels; the middle one where there are none."""
    areas = is_used.sum(axis=(-2, -1))
    if not areas.any():
        return tuple(n // 2 for n in areas.shape)
    return tuple(int(i) for i in np.unravel_index(int(areas.argmax()), areas.shape))


def _uncertainty(
    result: Segmentation, plane: tuple[Any, ...], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Relative to the largest that is possible: the standard deviation, or the doubt without samples."""
    if result.variance is None:
        doubt: NDArray[np.float64] = (doubt_of(mean) / MAX_DOUBT).max(axis=0)
        return doubt
    variance = np.asarray(result.variance[(slice(None), *plane)], dtype=np.float64)
    deviation: NDArray[np.float64] = np.sqrt(variance).max(axis=0) / _MAX_DEVIATION
    return deviation
