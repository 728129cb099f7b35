"""What the table says of a result: the size of each class, and where to look first."""

from __future__ import annotations

from napari_latentseg.batches.case import ClassSize
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.measure import class_sizes
from napari_latentseg.models.card import ModelCard
from napari_latentseg.review import rank

__all__ = ["doubtful_slice", "lowest_expected_dice", "sizes_of"]


def sizes_of(segmentation: Segmentation, card: ModelCard) -> tuple[ClassSize, ...]:
    """The size of each class with its interval; none for a time series."""
    if "t" in segmentation.axes:
        return ()
    return tuple(
        ClassSize(name=row.name, size=row.value, low=row.low, high=row.high, unit=row.unit)
        for row in class_sizes(segmentation, card)
    )


def lowest_expected_dice(segmentation: Segmentation) -> float | None:
    """The Dice to expect of the class with the lowest; None where that was not calibrated for the run."""
    estimates = segmentation.record.expected_dice.values()
    return min((estimate.expected for estimate in estimates), default=None)


def doubtful_slice(segmentation: Segmentation) -> str:
    """The most uncertain slice, counted from 1 along each leading axis; empty where there is none."""
    if segmentation.mask.ndim < 3:
        return ""
    try:
        findings = rank(segmentation)
    except BadInput:  # probabilities that are all near 0 or 1 say nothing
        return ""
    return "/".join(str(index + 1) for index in findings[0].index) if findings else ""
