"""Contours between which the true edge lies in nine of ten images, from the calibration in a model card."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.contours import ClassContours, Contours
from napari_latentseg.core.labels import class_region, labels_from_probabilities
from napari_latentseg.core.postprocess import MAX_IN_MEMORY_VOXELS
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.core.signed_distance import signed_distance
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.case_figures import region_size, soft_dice
from napari_latentseg.evaluation.contour_band import ContourBand
from napari_latentseg.measure.interval_basis import RunCard, calibration_differences

__all__ = ["ContourCard", "contours", "contours_unavailable_reason"]


class ContourCard(RunCard, Protocol):
    """A card with the calibration of the contours."""

    @property
    def contour_band(self) -> ContourBand | None:
        """The calibrated contours; None where the model was not calibrated."""


def contours_unavailable_reason(segmentation: Segmentation, card: ContourCard | None) -> str:
    """Why a result has no contours that enclose the true edge; empty where it has.

    Parameters
    ----------
    segmentation
        The result.
    card
        Card of its model; None where it is not known.
    """
    if card is None:
        return "the model is not on this machine"
    if card.contour_band is None:
        return "the model was not calibrated with the 20 images that contours need"
    if "t" in segmentation.axes:
        return "the image is a series in time"
    if segmentation.mask.size > MAX_IN_MEMORY_VOXELS:
        return "the image is too large for distances to be computed in memory"
    return "; ".join(calibration_differences(segmentation, card, card.contour_band))


def contours(segmentation: Segmentation, card: ContourCard) -> Contours:
    """The inner and outer contours between which the true edge lies in nine of ten images.

    They belong to the model's mask at the threshold of the calibration, not to an edited mask, and follow
    neither the threshold of the result nor its post-processing.

    Parameters
    ----------
    segmentation
        The result.
    card
        Card of its model.

    Returns
    -------
    Contours
        Their regions, for each class.

    Raises
    ------
    BadInput
        If they cannot be promised for this result.
    """
    reason = contours_unavailable_reason(segmentation, card)
    band = card.contour_band
    if reason or band is None:
        raise BadInput("contours", reason, "write the result without them")
    mask = labels_from_probabilities(np.asarray(segmentation.mean), band.threshold, segmentation.classes)
    spacing = tuple(float(s) for s in segmentation.geometry.spacing)
    classes = []
    for k, info in enumerate(segmentation.classes):
        region = class_region(mask, k, segmentation.classes)
        if info.name not in band.classes or not region.any():
            continue
        soft = soft_dice(segmentation.mean[k], region)
        reach = band.classes[info.name].reach(region_size(int(region.sum()), spacing), soft)
        classes.append(ClassContours(k, *_moved_edges(region, reach, spacing), reach))
    return Contours(band.level, band.promise, tuple(classes))


def _moved_edges(
    region: NDArray[np.bool_], reach: float, spacing: Sequence[float]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The region with its edge moved inwards, and outwards."""
    box = []
    for axis in range(region.ndim):
        hits = np.flatnonzero(region.any(axis=tuple(i for i in range(region.ndim) if i != axis)))
        margin = math.ceil(reach / spacing[axis]) + 1
        box.append(slice(max(0, int(hits[0]) - margin), int(hits[-1]) + 1 + margin))
    part = tuple(box)
    distance = signed_distance(region[part], spacing)
    inner, outer = np.zeros_like(region), np.zeros_like(region)
    inner[part], outer[part] = -distance > reach, distance <= reach
    return inner, outer
