"""What is approved, in words that tell images from slices of volumes."""

from __future__ import annotations

from collections.abc import Iterable

from napari_latentseg.annotations.records import CaseRecord
from napari_latentseg.data.cases import Case

__all__ = ["approved_in_words", "counted"]


def approved_in_words(records: Iterable[CaseRecord], cases: Iterable[Case]) -> str:
    """What is approved: images, and slices of volumes or of series in time; empty for nothing.

    Parameters
    ----------
    records
        Of the images of a store.
    cases
        Those of which something is approved.
    """
    axes = {record.name: record.spatial_axes for record in records}
    slice_counts: dict[str, list[int]] = {"image": [], "volume": [], "series": []}
    for case in cases:
        kind = "image" if len(axes[case.name]) == 2 else "series" if "t" in axes[case.name] else "volume"
        slice_counts[kind].append(len(case.annotated_slices or ()))
    parts = [counted(len(slice_counts["image"]), "image")] if slice_counts["image"] else []
    for kind in ("volume", "series"):
        if slices := sum(slice_counts[kind]):
            parts.append(f"{counted(slices, 'slice')} of {counted(len(slice_counts[kind]), kind)}")
    return ", ".join(parts)


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> counted(1, "image"), counted(3, "volume"), counted(2, "series")
    ('1 image', '3 volumes', '2 series')
    """
    return f"{number} {noun}" if number == 1 or noun == "series" else f"{number} {noun}s"
