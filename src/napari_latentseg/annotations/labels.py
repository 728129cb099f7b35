"""Masks: the approved planes as files that never change, and what they come to together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.annotations.images import Layout, write_volume
from napari_latentseg.annotations.records import Approval, CaseRecord, Part
from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.formats import nifti
from napari_latentseg.scan import Geometry

__all__ = ["Merged", "as_mask", "check_labels", "merge", "write_parts"]


def as_mask(mask: Any, shape: tuple[int, ...], name: str) -> NDArray[np.uint8]:
    """A mask as uint8, once it is sure that it fits its image.

    Raises
    ------
    BadInput
        Where the shape is another, or the values are no class numbers.
    """
    values = np.asarray(mask)
    if values.shape != shape:
        raise BadInput("mask", f"has shape {values.shape}, and {name} has {shape}", "give one of its size")
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "bui" or (values.size and (values.min() < 0 or values.max() > 255)):
        raise BadInput("mask", "holds what is no class number", "use whole numbers from 0 to 255")
    return values.astype(np.uint8)


def check_labels(planes: Iterable[NDArray[np.uint8]], classes: Sequence[ClassInfo]) -> None:
    """Refuse labels that are no class's.

    Raises
    ------
    BadInput
        Naming the first.
    """
    known = np.zeros(256, dtype=bool)
    known[[0, *(c.label for c in classes)]] = True
    for plane in planes:
        fine = known[plane]
        if not fine.all():
            label = int(plane[~fine].min())
            names = ", ".join(f"{c.label} {c.name}" for c in classes)
            raise BadInput(
                "mask", f"holds label {label}, which is no class here ({names})", "add a class, or repaint it"
            )


def write_parts(
    mask: NDArray[np.uint8],
    planes: Sequence[int],
    layout: Layout,
    geometry: Geometry,
    temporary: Callable[[str], Path],
) -> list[tuple[Part, Path]]:
    """Write planes of a mask, those of each time as one piece that lies where they lie.

    A piece goes from the first approved plane to the last; what is not approved between them is 0.

    Raises
    ------
    BadInput
        Where the disk refuses.
    """
    by_time: dict[int | None, list[int]] = {}
    for number in planes:
        time, z = layout.where(number)
        by_time.setdefault(time, []).append(z)
    written = []
    for time, chosen in by_time.items():
        first, last = min(chosen), max(chosen)
        volume = layout.volume(mask, time)
        if "z" in layout.axes:
            piece = np.zeros((last - first + 1, *volume.shape[1:]), np.uint8)
            at = np.array(chosen)
            piece[at - first] = volume[at]
        else:
            piece = np.array(volume)
        path = temporary(".nii.gz")
        place = layout.geometry(geometry, time, first)
        found = write_volume(path, piece, place, {}, "mask")
        written.append((Part(time=time, first=first, count=last - first + 1, object=found), path))
    return written


@dataclass
class Merged:
    """The newest approved planes of the volume of one time.

    Attributes
    ----------
    numbers
        Of the approvals that it was made from, in their order.
    mask
        uint8 `zyx` or `yx`; 0 where nothing is approved.
    approved
        For each plane.
    """

    numbers: tuple[int, ...]
    mask: NDArray[np.uint8]
    approved: NDArray[np.bool_]

    def labelled(self, ignore: int) -> NDArray[Any]:
        """As nnU-Net wants it: planes that are not approved hold the number that it passes over."""
        if self.approved.all():
            return self.mask
        found = self.mask.astype(np.uint8 if ignore <= 255 else np.uint16)
        found[~self.approved if found.ndim == 3 else ...] = ignore
        return found


def merge(
    record: CaseRecord,
    time: int | None,
    approvals: Sequence[tuple[int, Approval]],
    find: Callable[[str], Path],
    begun: Merged | None = None,
) -> Merged:
    """What approvals come to, a later one going before an earlier one.

    Parameters
    ----------
    record
        Of their case.
    time
        Which volume.
    approvals
        With their numbers, oldest first.
    find
        Where the object of a hash lies.
    begun
        What the first of them came to, where that is known; it is gone on with.

    Raises
    ------
    BadInput
        Where an object is missing or damaged.
    """
    layout = Layout(record.spatial_axes, record.spatial_shape)
    numbers = tuple(number for number, _ in approvals)
    shape = tuple(n for a, n in zip(layout.axes, layout.shape, strict=True) if a != "t")
    if begun is not None and begun.numbers == numbers[: len(begun.numbers)]:
        merged = begun
    else:
        depth = shape[0] if len(shape) == 3 else 1
        merged = Merged((), np.zeros(shape, np.uint8), np.zeros(depth, dtype=bool))
    for _, approval in approvals[len(merged.numbers) :]:
        for part in approval.parts:
            if part.time != time:
                continue
            path = find(part.object)
            piece = np.asarray(nifti.read(path).array)
            if piece.size != part.count * shape[-2] * shape[-1]:
                raise BadInput(path, "is not the mask that was approved", "see annotations verify")
            piece = piece.reshape(part.count, *shape[-2:])
            volume = merged.mask.reshape(-1, *shape[-2:])
            for number in approval.numbers:
                when, z = layout.where(number)
                if when == time:
                    volume[z] = piece[z - part.first]
                    merged.approved[z] = True
    merged.numbers = numbers
    return merged
