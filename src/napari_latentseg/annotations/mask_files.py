"""Approved masks as files that never change, and the newest mask that they add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations.case_files import PlaneLayout, write_volume
from napari_latentseg.annotations.records import CaseRecord, MaskBlock
from napari_latentseg.annotations.types import Approval
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import nifti

__all__ = [
    "MergedMask",
    "check_labels",
    "checked_mask",
    "merge_approvals",
    "merge_timepoints",
    "write_mask_blocks",
]


def checked_mask(mask: Any, shape: tuple[int, ...], name: str) -> NDArray[np.uint8]:
    """A mask as uint8, checked against the shape of its image.

    Raises
    ------
    BadInput
        If the shape is another, or the values are no class numbers.
    """
    values = np.asarray(mask)
    if values.shape != shape:
        raise BadInput("mask", f"has shape {values.shape}, and {name} has {shape}", "give one of its size")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "bui" or (values.size and (values.min() < 0 or values.max() > 255)):
        raise BadInput("mask", "holds values that are not class numbers", "use whole numbers from 0 to 255")
    return values.astype(np.uint8)


def check_labels(planes: Iterable[NDArray[np.uint8]], classes: Sequence[ClassInfo]) -> None:
    """Refuse labels that are no class.

    Raises
    ------
    BadInput
        Naming the first.
    """
    is_known_label = np.zeros(256, dtype=bool)
    is_known_label[[0, *(c.label for c in classes)]] = True
    for plane in planes:
        is_valid = is_known_label[plane]
        if not is_valid.all():
            label = int(plane[~is_valid].min())
            names = ", ".join(f"{c.label} {c.name}" for c in classes)
            raise BadInput(
                "mask",
                f"holds label {label}, which is not a class here ({names})",
                "add a class, or repaint it",
            )


def write_mask_blocks(
    mask: NDArray[np.uint8],
    planes: Sequence[int],
    layout: PlaneLayout,
    geometry: Geometry,
    temporary: Callable[[str], Path],
) -> list[tuple[MaskBlock, Path]]:
    """Write approved slices of a mask: of each time point one NIfTI file, with the geometry of these slices.

    A file holds the slices from the first approved one to the last; those that are not approved are 0.

    Raises
    ------
    BadInput
        If a file cannot be written.
    """
    by_time: dict[int | None, list[int]] = {}
    for number in planes:
        time, plane_index = layout.locate(number)
        by_time.setdefault(time, []).append(plane_index)
    blocks = []
    for time, approved_planes in by_time.items():
        first_plane, last_plane = min(approved_planes), max(approved_planes)
        volume = layout.timepoint_volume(mask, time)
        if "z" in layout.axes:
            block_mask = np.zeros((last_plane - first_plane + 1, *volume.shape[1:]), np.uint8)
            plane_indices = np.array(approved_planes)
            block_mask[plane_indices - first_plane] = volume[plane_indices]
        else:
            block_mask = np.array(volume)
        path = temporary(".nii.gz")
        block_geometry = layout.timepoint_geometry(geometry, time, first_plane)
        sha256 = write_volume(path, block_mask, block_geometry, {}, "mask")
        blocks.append(
            (MaskBlock(time=time, first=first_plane, count=last_plane - first_plane + 1, object=sha256), path)
        )
    return blocks


@dataclass
class MergedMask:
    """The newest approved mask of the volume of one time point.

    It stands beside `Case`, whose mask is that of all time points: it remembers which approvals are in it, so
    that the next approval is added to it without reading the files of the earlier ones.

    Attributes
    ----------
    approval_ids
        Of the approvals in it, in their order.
    mask
        uint8 `zyx` or `yx`; 0 where nothing is approved.
    approved
        bool `(N,)`: for each slice, whether it is approved.
    """

    approval_ids: tuple[int, ...]
    mask: NDArray[np.uint8]
    approved: NDArray[np.bool_]

    def with_ignore_label(self, ignore_value: int) -> NDArray[Any]:
        """As nnU-Net wants it: slices that are not approved hold the ignore label."""
        if self.approved.all():
            return self.mask
        labels = self.mask.astype(np.uint8 if ignore_value <= 255 else np.uint16)
        labels[~self.approved if labels.ndim == 3 else ...] = ignore_value
        return labels


def merge_approvals(
    record: CaseRecord,
    time: int | None,
    approvals: Sequence[Approval],
    find_object: Callable[[str], Path],
    previous: MergedMask | None = None,
) -> MergedMask:
    """The mask that approvals add up to; of a slice that was approved twice, the later one counts.

    Parameters
    ----------
    record
        Of their case.
    time
        The time point; None for an image without a time axis.
    approvals
        Those of the case that were not revoked, oldest first.
    find_object
        Gives the path of a mask file by its hash.
    previous
        The mask of the first of them, where it is known; it is changed in place.

    Raises
    ------
    BadInput
        If an object is missing or damaged.
    """
    layout = PlaneLayout(record.spatial_axes, record.spatial_shape)
    approval_ids = tuple(approval.id for approval in approvals)
    shape = tuple(n for a, n in zip(layout.axes, layout.shape, strict=True) if a != "t")
    if previous is not None and previous.approval_ids == approval_ids[: len(previous.approval_ids)]:
        merged = previous
    else:
        depth = shape[0] if len(shape) == 3 else 1
        merged = MergedMask((), np.zeros(shape, np.uint8), np.zeros(depth, dtype=bool))
    for approval in approvals[len(merged.approval_ids) :]:
        for block in approval.blocks:
            if block.time != time:
                continue
            path = find_object(block.object)
            block_mask = np.asarray(nifti.read(path).array)
            if block_mask.size != block.count * shape[-2] * shape[-1]:
                raise BadInput(path, "is not the mask that was approved", "see annotations verify")
            block_mask = block_mask.reshape(block.count, *shape[-2:])
            volume = merged.mask.reshape(-1, *shape[-2:])
            for number in approval.planes:
                timepoint, plane_index = layout.locate(number)
                if timepoint == time:
                    volume[plane_index] = block_mask[plane_index - block.first]
                    merged.approved[plane_index] = True
    merged.approval_ids = approval_ids
    return merged


def merge_timepoints(
    record: CaseRecord, approvals: Sequence[Approval], find_object: Callable[[str], Path]
) -> NDArray[np.uint8]:
    """The newest approved mask of all times of a case, uint8 `(N, H, W)`; 0 in slices that are not approved.

    Parameters
    ----------
    record, approvals, find_object
        As for `merge_approvals`.

    Raises
    ------
    BadInput
        If an object is missing or damaged.
    """
    layout = PlaneLayout(record.spatial_axes, record.spatial_shape)
    mask = np.zeros(record.spatial_shape, np.uint8)
    for time in layout.timepoints:
        merged = merge_approvals(record, time, approvals, find_object)
        layout.timepoint_volume(mask, time)[...] = merged.mask
    return mask.reshape(-1, *mask.shape[-2:])
