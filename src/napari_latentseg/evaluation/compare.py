"""Compare a label map with a reference, class by class: overlap, and boundary distances in mm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.arrays import Empty, empty_masks
from napari_latentseg.evaluation.label_maps import at_each_time, check_labels, class_mask_of, placed_on
from napari_latentseg.evaluation.metrics import boundary_scores, dice, iou
from napari_latentseg.evaluation.physical_distance import PhysicalDistance

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Scores of one class against the reference, by `napari_latentseg.evaluation.metrics.CONVENTIONS`.

    Attributes
    ----------
    name, label
        Name of the class, and its value in the label maps.
    time
        Index of the time point, from 0; None without a time axis.
    dsc, iou
        In [0, 1].
    hd95
        95th percentile of the boundary distances, in `unit`.
    assd
        Average symmetric surface distance, in `unit`; None unless requested.
    unit
        ``"mm"``, another unit of length, or ``"pixel"``.
    empty
        Which of the two lacks the class: ``"prediction"``, ``"truth"`` (the reference), ``"both"``, or
        ``""``.
    segmented
        What was compared where that is not everything, such as ``"29 of 40 slices"``; empty for all.

    Examples
    --------
    >>> from napari_latentseg import Comparison
    >>> Comparison("lesion", 1, None, 0.8, 0.667, 2.5, None, "mm", "").dsc
    0.8
    """

    name: str
    label: int
    time: int | None
    dsc: float
    iou: float
    hd95: float
    assd: float | None
    unit: str
    empty: Empty
    segmented: str = ""

    def describe(self) -> str:
        """One line for the user."""
        name = self.name if self.time is None else f"{self.name}, time {self.time + 1}"
        name += f" in {self.segmented}" if self.segmented else ""
        if self.empty:
            empty_text = {
                "prediction": "not in the mask",
                "truth": "not in the reference",
                "both": "in neither",
            }
            return f"{name}: Dice {self.dsc:.3f} ({empty_text[self.empty]})"
        unit = "pixels" if self.unit == "pixel" else self.unit
        line = f"{name}: Dice {self.dsc:.3f}, IoU {self.iou:.3f}, HD95 {self.hd95:.2f} {unit}"
        return line if self.assd is None else f"{line}, ASSD {self.assd:.2f} {unit}"


def compare(
    mask: Any,
    reference: Any,
    geometry: Geometry,
    classes: Sequence[ClassInfo],
    *,
    reference_geometry: Geometry | None = None,
    assd: bool = False,
    segmented: NDArray[np.bool_] | None = None,
    segmented_text: str = "",
) -> tuple[Comparison, ...]:
    """Compare a label map with a reference, class by class and time point by time point.

    Parameters
    ----------
    mask, reference
        Label maps of one shape: integers or booleans, without a channel axis. With a single class, every
        nonzero value is the class. A reference that lies where the mask does but is stored in another
        orientation is turned exactly.
    geometry
        Geometry of the mask. Distances are exact for anisotropic, oblique and sheared grids.
    classes
        The classes, and their values in the label maps.
    reference_geometry
        Geometry of the reference, to check that it agrees with `geometry`; not checked if None.
    assd
        Whether to return the average symmetric surface distance too.
    segmented
        The voxels to compare, of the shape of the masks, where a run left some out (see
        `napari_latentseg.core.segmented_region.segmented_voxels`); None for all. What either mask holds
        elsewhere is passed over.
    segmented_text
        What they are, in words: `Comparison.segmented`.

    Returns
    -------
    tuple of Comparison
        One for each class, time point after time point.

    Raises
    ------
    BadInput
        If shapes or geometries differ, or an array is not a label map.

    Examples
    --------
    >>> from napari_latentseg import ClassInfo, Geometry, compare
    >>> mask, reference = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    >>> mask[5:15, 5:15], reference[5:15, 5:10] = 1, 1
    >>> classes = (ClassInfo(label=1, name="lesion", color="#ff0000"),)
    >>> (row,) = compare(mask, reference, Geometry.from_spacing("yx", (0.5, 0.5), "mm"), classes)
    >>> round(row.dsc, 3), row.unit
    (0.667, 'mm')
    """
    mask_labels, reference_labels = check_labels("mask", mask), check_labels("reference", reference)
    reference_labels = placed_on(
        "reference", reference_labels, reference_geometry, geometry, mask_labels.shape
    )
    if mask_labels.ndim != geometry.ndim:
        raise BadInput(
            "geometry",
            f"has {geometry.ndim} axes, the mask {mask_labels.ndim}",
            "give the geometry of the mask",
        )
    if segmented is not None:
        if not segmented.any():
            raise BadInput("mask", "has no slice that was segmented", "segment the image again")
        mask_labels, reference_labels = mask_labels * segmented, reference_labels * segmented
    if not classes:
        raise BadInput("classes", "are empty", "give masks with at least one label")
    physical_distance = PhysicalDistance.of(geometry)
    comparisons: list[Comparison] = []
    for time, (mask_at_time, reference_at_time) in at_each_time(geometry, (mask_labels, reference_labels)):
        comparisons += _compare_timepoint(
            mask_at_time, reference_at_time, classes, time, physical_distance, assd
        )
    return tuple(replace(comparison, segmented=segmented_text) for comparison in comparisons)


def _compare_timepoint(
    mask: NDArray[Any],
    reference: NDArray[Any],
    classes: Sequence[ClassInfo],
    time: int | None,
    physical_distance: PhysicalDistance,
    assd: bool,
) -> Iterator[Comparison]:
    diagonal = physical_distance.diagonal(mask.shape)
    for info in classes:
        class_mask, class_reference = (class_mask_of(labels, info, classes) for labels in (mask, reference))
        hd95, mean_distance = boundary_scores(
            class_mask, class_reference, physical_distance.distances, diagonal
        )
        yield Comparison(
            name=info.name,
            label=info.label,
            time=time,
            dsc=dice(class_mask, class_reference),
            iou=iou(class_mask, class_reference),
            hd95=hd95,
            assd=mean_distance if assd else None,
            unit=physical_distance.unit,
            empty=empty_masks(class_mask, class_reference),
        )
