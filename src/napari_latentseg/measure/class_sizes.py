"""Area or volume of each class with its interval, quickly enough to follow a slider."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_latentseg.core.classes import with_parts
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure.interval_basis import CalibratedCard
from napari_latentseg.measure.measure_segmentation import class_names, measure
from napari_latentseg.measure.measurement import Measurement
from napari_latentseg.measure.size_interval import SizeStatistics
from napari_latentseg.measure.timepoint import timepoints

__all__ = ["class_sizes"]


def class_sizes(
    segmentation: Segmentation, card: CalibratedCard | None = None, *, mask: Any = None
) -> tuple[Measurement, ...]:
    """Measure the classes of a segmentation, without their places, diameters and intensities.

    Sizes, intervals and texts are those of `napari_latentseg.measure.measure`.

    Parameters
    ----------
    segmentation, card, mask
        As for `measure`.

    Returns
    -------
    tuple of Measurement
        For every time point, each class of the model, then each further label of the mask.

    Raises
    ------
    BadInput
        If the mask has another shape than the segmentation, or values that are not labels.
    """
    if "t" in segmentation.axes:  # the samples are counted at each time point, which is not quick
        return measure(segmentation, mask=mask, objects=False, card=card)
    shown_mask, model_mask = segmentation.mask if mask is None else mask, segmentation.mask_of_model()
    counts = timepoints(segmentation, shown_mask, None)[0].label_counts()
    model_counts = counts
    if shown_mask is not model_mask:
        model_counts = timepoints(segmentation, model_mask, None)[0].label_counts()
    names = class_names(segmentation, np.flatnonzero(counts).tolist())
    classes = segmentation.classes
    labels = [info.label for info in classes]
    counts[labels] = with_parts(counts[labels], classes)
    if model_counts is not counts:
        model_counts[labels] = with_parts(model_counts[labels], classes)
    volumes = with_parts(segmentation.volumes, classes)
    statistics = SizeStatistics.of(segmentation, card)
    voxel_volume, unit = segmentation.geometry.voxel_volume
    rows = []
    for name, label in names:
        fields = statistics.class_fields(name, label, volumes, int(counts[label]), int(model_counts[label]))
        rows.append(Measurement(name, label, 0, None, int(counts[label]) * voxel_volume, unit, "", **fields))
    return tuple(rows)
