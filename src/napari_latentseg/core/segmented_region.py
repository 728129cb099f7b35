"""The part of a scan that has a prediction: some slices may be left out, or a run cancelled before them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.plane_axes import plane_axis_order
from napari_latentseg.core.record import RunRecord
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text

__all__ = ["SegmentedRegion", "segmented_voxels"]


@dataclass(frozen=True)
class SegmentedRegion:
    """The slices of a scan that have a prediction, and the box in them.

    The mask is 0 everywhere else, which does not mean that nothing is there.

    Attributes
    ----------
    slice_count
        Number of slices of the scan, along the axis that it was segmented along.
    segmented_count
        Number of slices with a prediction.
    ranges
        First and last of each range of slices with a prediction, counted from 0; None if the record of an
        earlier version does not say which slices they are.
    box
        Rows and columns of each slice that were segmented: top, left, bottom, right, half-open; None for
        all.
    requested_count
        Number of slices that were requested.
    is_cancelled
        Whether the run was cancelled before everything that was requested was computed.

    Examples
    --------
    >>> region = SegmentedRegion(40, 29, ((0, 28),), requested_count=40, is_cancelled=True)
    >>> region.describe(), 28 in region, 29 in region
    ('29 of 40 slices', True, False)
    """

    slice_count: int
    segmented_count: int
    ranges: tuple[tuple[int, int], ...] | None
    box: tuple[int, int, int, int] | None = None
    requested_count: int = 0
    is_cancelled: bool = False

    @classmethod
    def from_record(cls, record: RunRecord) -> SegmentedRegion:
        """The region of a run.

        Records of earlier versions have no `RunRecord.segmented_slices`: which slices were segmented then
        follows from `slices` if the run was complete, and is not known if it was cancelled.
        """
        requested = record.slices or (0, record.planes - 1)
        requested_count = requested[1] - requested[0] + 1
        ranges = record.segmented_slices
        if ranges is None:
            ranges = (requested,) if record.planes_done >= requested_count else None
            if record.planes_done == 0:
                ranges = ()
        return cls(
            record.planes, record.planes_done, ranges, record.box, requested_count, not record.complete
        )

    @property
    def is_whole(self) -> bool:
        """Whether every voxel of the scan has a prediction."""
        return self.has_all_slices and self.box is None

    @property
    def has_all_slices(self) -> bool:
        """Whether every slice has a prediction, at least within the box."""
        return self.segmented_count >= self.slice_count

    @property
    def has_requested_slices(self) -> bool:
        """Whether every slice that was requested has a prediction."""
        return self.segmented_count >= self.requested_count

    @property
    def missing_count(self) -> int:
        """Number of slices without a prediction."""
        return max(0, self.slice_count - self.segmented_count)

    def __contains__(self, number: object) -> bool:
        """Whether a slice is known to have a prediction; slices are counted from 0."""
        if self.has_all_slices:
            return isinstance(number, int) and 0 <= number < self.slice_count
        return isinstance(number, int) and any(first <= number <= last for first, last in self.ranges or ())

    def missing(self, numbers: Iterable[int]) -> list[int]:
        """The slices, of those given, that are not known to have a prediction, in their order."""
        return [number for number in numbers if number not in self]

    def slice_flags(self) -> NDArray[np.bool_]:
        """Whether each slice is known to have a prediction, `(slice_count,)`."""
        return np.array([number in self for number in range(self.slice_count)], dtype=np.bool_)

    def describe(self) -> str:
        """What was segmented, for people: ``29 of 40 slices``, ``a box in 3 of 40 slices``; empty for all."""
        slices = "" if self.has_all_slices else f"{self.segmented_count} of {self.slice_count} slices"
        if self.box is None:
            return slices
        return f"a box in {slices}" if slices else "a box"

    def describe_kept(self, samples: int, samples_asked: int) -> str:
        """What a cancelled run has kept, for people.

        Parameters
        ----------
        samples, samples_asked
            Number of samples of each slice, and how many were requested.
        """
        if self.has_requested_slices:
            return f"{samples} of {count_text(samples_asked, 'sample')} are kept."
        slices = f"{self.segmented_count} of {count_text(self.requested_count, 'slice')} are kept"
        return f"{slices}, with {count_text(samples, 'sample')} each."

    def describe_missing(self) -> str:
        """``11 of 40 slices were not segmented``; empty if every slice was."""
        if self.has_all_slices:
            return ""
        verb = "was" if self.missing_count == 1 else "were"
        return f"{self.missing_count} of {self.slice_count} slices {verb} not segmented"


def segmented_voxels(
    record: RunRecord, mask: NDArray[np.generic], geometry: Geometry
) -> NDArray[np.bool_] | None:
    """The voxels of a mask that say something: 0 is background there, and elsewhere not known.

    Parameters
    ----------
    record
        Of the run that made the mask.
    mask
        Its labels. A slice without a prediction counts where a person has painted in it.
    geometry
        Geometry of the mask.

    Returns
    -------
    ndarray or None
        `mask.shape`; None for all voxels.

    Raises
    ------
    BadInput
        If the record does not say which slices were segmented, or is of another shape.
    """
    region = SegmentedRegion.from_record(record)
    if region.is_whole:
        return None
    if region.ranges is None:
        why = "is of a cancelled run, and its record does not say which slices were segmented"
        raise BadInput("mask", why, "segment the image again")
    # a file may have dropped the axis of a single slice
    order = plane_axis_order(geometry, mask.ndim, record.plane if mask.ndim > 2 else "acquired")
    turned = mask.transpose(order)
    planes = turned.reshape(-1, *turned.shape[-2:])
    if len(planes) != region.slice_count:
        raise BadInput(
            "mask",
            f"has {len(planes)} slices, and its record {region.slice_count}",
            "give the mask as it was written",
        )
    has_labels = region.slice_flags() | planes.any(axis=(1, 2))
    top, left, bottom, right = region.box or (0, 0, *planes.shape[1:])
    voxels = np.zeros(planes.shape, dtype=np.bool_)
    voxels[has_labels, top:bottom, left:right] = True
    return voxels.reshape(turned.shape).transpose(np.argsort(order))
