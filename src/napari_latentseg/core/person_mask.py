"""The mask of a result after a person has worked on it: what was changed, what was approved, in words."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.ranges import as_ranges
from napari_latentseg.core.record import MaskState, RunRecord
from napari_latentseg.core.segmented_region import SegmentedRegion

if TYPE_CHECKING:
    from napari_latentseg.core.segmentation import Segmentation

__all__ = ["MaskComparison", "compare_masks", "describe_mask", "predicted_slices", "with_person_mask"]


@dataclass(frozen=True)
class MaskComparison:
    """How a mask differs from the model's, and what of it is approved.

    Attributes
    ----------
    state
        ``"approved"``: every slice with a prediction, and every slice in which the mask holds anything, is
        approved. ``"corrected"``: a voxel differs from the model's mask. ``"model"``: none does.
    edited
        Whether a voxel differs from the model's mask; an approved mask may be edited or not.
    edited_slices
        The slices with such a voxel, counted from 0.
    approved_slices
        The slices whose labels are those that were approved, counted from 0.
    """

    state: MaskState
    edited: bool
    edited_slices: tuple[int, ...]
    approved_slices: tuple[int, ...]


def compare_masks(
    mask: NDArray[Any],
    model_mask: NDArray[Any],
    approved: Mapping[int, NDArray[Any]],
    predicted_slices: Collection[int] | None = None,
) -> MaskComparison:
    """Compare a mask with the model's, and with what was approved, slice by slice.

    A slice counts as approved only while the mask holds the very labels that were approved: a later stroke,
    another threshold or another run makes it unapproved here, although the approval itself is kept.

    Parameters
    ----------
    mask, model_mask
        `(..., rows, columns)`, with the slices as they were segmented.
    approved
        The approved labels of each approved slice, `(rows, columns)`, by its number from 0.
    predicted_slices
        The slices that hold a prediction; None for all.

    Examples
    --------
    >>> model = np.zeros((3, 4, 4), np.uint8)
    >>> mask = model.copy()
    >>> mask[1, 2, 2] = 1
    >>> compare_masks(mask, model, {1: mask[1]}).state
    'corrected'
    >>> compare_masks(mask, model, {1: mask[1]}, predicted_slices=[1]).state
    'approved'
    """
    plane_count = math.prod(mask.shape[:-2])
    planes = mask.reshape(plane_count, *mask.shape[-2:])
    model_planes = model_mask.reshape(planes.shape)
    edited_slices = tuple(n for n in range(plane_count) if not np.array_equal(planes[n], model_planes[n]))
    approved_slices = tuple(
        n for n in sorted(approved) if n < plane_count and np.array_equal(planes[n], approved[n])
    )
    to_approve = set(range(plane_count) if predicted_slices is None else predicted_slices)
    to_approve |= {n for n in set(range(plane_count)) - to_approve if planes[n].any()}
    edited = bool(edited_slices)
    state: MaskState = "corrected" if edited else "model"
    if to_approve and to_approve <= set(approved_slices):
        state = "approved"
    return MaskComparison(state, edited, edited_slices, approved_slices)


def with_person_mask(
    segmentation: Segmentation,
    mask: NDArray[np.uint8],
    comparison: MaskComparison,
    added_classes: Sequence[ClassInfo] = (),
) -> Segmentation:
    """A result with the mask that a person has corrected or approved in place of the model's.

    Mean, variance and the volumes of the samples stay the model's; its mask stays in `model_mask`.

    Parameters
    ----------
    segmentation
        The result of the model.
    mask
        In the axes of the result.
    comparison
        From `compare_masks`.
    added_classes
        Classes that the model does not know and that the mask holds.
    """
    record = segmentation.record.replace(
        mask_edited=comparison.edited,
        mask_state=comparison.state,
        approved_slices=as_ranges(comparison.approved_slices) or None,
        added_classes=tuple(added_classes),
    )
    model_mask = segmentation.mask if comparison.edited else None
    return replace(segmentation, mask=mask, record=record, model_mask=model_mask)


def describe_mask(record: RunRecord) -> str:
    """Whose mask it is, in words: ``corrected by a person, slices 3 to 5 approved``; slices from 1.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> record = SimpleNamespace(
    ...     mask_state="corrected", mask_edited=True, approved_slices=((2, 4),), planes=9)
    >>> describe_mask(record)
    'corrected by a person, slices 3 to 5 approved'
    """
    if record.mask_state == "approved":
        return (
            "corrected and approved by a person" if record.mask_edited else "the model's, approved unchanged"
        )
    words = "corrected by a person" if record.mask_edited else "the model's"
    if record.approved_slices and record.planes > 1:
        ranges = [f"{a + 1}" if a == b else f"{a + 1} to {b + 1}" for a, b in record.approved_slices]
        is_one = len(ranges) == 1 and " " not in ranges[0]
        words += f", slice{'' if is_one else 's'} {', '.join(ranges)} approved"
    return words


def predicted_slices(record: RunRecord) -> tuple[int, ...] | None:
    """The slices that hold a prediction, counted from 0; None for all of them, or where that is not known."""
    region = SegmentedRegion.from_record(record)
    if region.has_all_slices or region.ranges is None:
        return None
    return tuple(n for first, last in region.ranges for n in range(first, last + 1))
