"""The status of the regions in the review queue, from what was looked at, changed and approved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari_latentseg.core.person_mask import MaskComparison
    from napari_latentseg.review import Finding

__all__ = ["marks_text", "region_marks"]


def region_marks(
    findings: Iterable[Finding],
    seen: Iterable[Any],
    comparison: MaskComparison | None,
    slice_shape: tuple[int, ...] | None,
) -> dict[Any, str]:
    """The status of each region: ``"approved"``, ``"corrected"``, ``"seen"``, or none.

    A region is approved or corrected with its slice: an object with the one in which it is most uncertain.

    Parameters
    ----------
    findings
        The regions of the queue.
    seen
        Identities of those that were looked at.
    comparison
        How the mask differs from the model's and what of it is approved; None where that is not known.
    slice_shape
        Shape of the axes in front of rows and columns; empty for a 2D image. None where the image was
        segmented along another axis than the one that the regions are counted along: their slices can then
        only be approved together.

    Returns
    -------
    dict
        By `Finding.identity`.
    """
    looked_at = set(seen)
    approved = set(comparison.approved_slices) if comparison is not None else set()
    corrected = set(comparison.edited_slices) if comparison is not None else set()
    marks = {}
    for finding in findings:
        number = 0 if finding.index == () else None
        if finding.index and slice_shape:
            number = int(np.ravel_multi_index(finding.index, slice_shape))
        if number in approved or (comparison is not None and comparison.state == "approved"):
            marks[finding.identity] = "approved"
        elif number in corrected:
            marks[finding.identity] = "corrected"
        elif finding.identity in looked_at:
            marks[finding.identity] = "seen"
    return marks


def marks_text(marks: Sequence[str]) -> str:
    """How many regions have each status, as text for the user.

    Parameters
    ----------
    marks
        The status of each region: ``"approved"``, ``"corrected"``, ``"seen"``, or empty.
    """
    counts = {mark: marks.count(mark) for mark in ("corrected", "approved")}
    parts = [f"{count} {mark}" for mark, count in counts.items() if count]
    return ", ".join([f"{sum(map(bool, marks))} of {len(marks)} seen", *parts])
