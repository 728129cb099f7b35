"""Two masks of one image, class by class: overlap, boundary distances and surface Dice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.units import conversion
from napari_latentseg.evaluation.arrays import Mask, empty_masks
from napari_latentseg.evaluation.label_maps import at_each_time, class_mask_of
from napari_latentseg.evaluation.metrics import boundary_scores, dice, iou
from napari_latentseg.evaluation.physical_distance import PhysicalDistance
from napari_latentseg.evaluation.surface_dice import check_tolerance, share_within

__all__ = ["ReaderPair", "Tolerance", "iter_pairs"]

_EMPTY: dict[str, Literal["", "first", "second", "both"]] = {
    "": "", "prediction": "first", "truth": "second", "both": "both",
}  # fmt: skip


@dataclass(frozen=True)
class Tolerance:
    """The tolerance of surface Dice, in the unit of the masks.

    Attributes
    ----------
    value
        In `unit`.
    unit
        ``"mm"``, another unit of length, or ``"pixel"``.
    """

    value: float
    unit: str

    @classmethod
    def of(cls, geometry: Geometry, millimetres: float | None) -> Tolerance:
        """The tolerance for masks of a geometry.

        Parameters
        ----------
        geometry
            Of the masks.
        millimetres
            In mm, or in pixels where the masks have no unit of length. None for one pixel, the larger of the
            two sides: the smallest difference that two people who trace the same edge can have. Thick slices
            do not make it larger.

        Raises
        ------
        BadInput
            If it is negative, or not finite.
        """
        physical = PhysicalDistance.of(geometry)
        if millimetres is None:
            return cls(float(physical.steps[-2:].max()), physical.unit)
        check_tolerance(millimetres)
        factor = 1.0 if physical.unit == "pixel" else conversion("mm", physical.unit)
        assert factor is not None  # all units of length can be converted
        return cls(float(millimetres) * factor, physical.unit)

    def describe(self) -> str:
        """As ``"0.5 mm"`` or ``"1 pixel"``."""
        if self.unit == "pixel":
            return f"{self.value:g} pixel{'' if self.value == 1 else 's'}"
        return f"{self.value:.4g} {self.unit}"


@dataclass(frozen=True)
class ReaderPair:
    """Scores of two masks of one class, by the conventions of `ReaderComparison.conventions`.

    Attributes
    ----------
    first, second
        Names of the two: readers, ``"consensus"`` or ``"model"``. The scores are symmetric.
    name, label
        Name of the class, and its value in the label maps.
    time
        Index of the time point, from 0; None without a time axis.
    dsc, iou
        In [0, 1].
    hd95, assd
        95th percentile of the boundary distances, and average symmetric surface distance, in `unit`.
    surface_dice
        At `ReaderComparison.tolerance`, in [0, 1].
    unit
        ``"mm"``, another unit of length, or ``"pixel"``.
    empty
        Which of the two lacks the class: ``"first"``, ``"second"``, ``"both"``, or ``""``.

    Examples
    --------
    >>> from napari_latentseg import ReaderPair
    >>> ReaderPair("reader 1", "reader 2", "lesion", 1, None, 0.8, 0.667, 2.5, 0.9, 0.95, "mm", "").dsc
    0.8
    """

    first: str
    second: str
    name: str
    label: int
    time: int | None
    dsc: float
    iou: float
    hd95: float
    assd: float
    surface_dice: float
    unit: str
    empty: Literal["", "first", "second", "both"]


def iter_pairs(
    label_maps: dict[str, NDArray[Any]],
    pairs: Sequence[tuple[str, str]],
    geometry: Geometry,
    classes: Sequence[ClassInfo],
    tolerance: Tolerance,
) -> Iterator[ReaderPair]:
    """The scores of pairs of label maps that lie index on index, time point by time point, class by class.

    Parameters
    ----------
    label_maps
        By name.
    pairs
        Names of the two label maps of each pair.
    geometry
        Of the label maps.
    classes
        With a single one, every nonzero value is the class.
    tolerance
        Of surface Dice.
    """
    physical = PhysicalDistance.of(geometry)
    for time, maps in at_each_time(geometry, list(label_maps.values())):
        at_time = dict(zip(label_maps, maps, strict=True))
        for info in classes:
            masks = {name: class_mask_of(labels, info, classes) for name, labels in at_time.items()}
            for first, second in pairs:
                yield _score(first, second, masks[first], masks[second], info, time, physical, tolerance)


def _score(
    first_name: str,
    second_name: str,
    first: Mask,
    second: Mask,
    info: ClassInfo,
    time: int | None,
    physical: PhysicalDistance,
    tolerance: Tolerance,
) -> ReaderPair:
    empty = empty_masks(first, second)
    distances = np.zeros(0) if empty else physical.distances(first, second)
    hd95, assd = boundary_scores(first, second, lambda a, b: distances, physical.diagonal(first.shape))
    return ReaderPair(
        first=first_name, second=second_name, name=info.name, label=info.label, time=time,
        dsc=dice(first, second), iou=iou(first, second), hd95=hd95, assd=assd,
        surface_dice=float(empty == "both") if empty else share_within(distances, tolerance.value),
        unit=physical.unit, empty=_EMPTY[empty],
    )  # fmt: skip
