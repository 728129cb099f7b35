"""The regions of a mask that are measured: its classes, or their connected objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.measure.timepoint import Block, TimePoint

__all__ = ["MAX_LABELLED_VOXELS", "Regions", "bounding_boxes_of"]

MAX_LABELLED_VOXELS = 2**28
"""Largest bounding box of all classes in which objects are labelled, in voxels: 8 bytes each, 2 GiB."""

BoundingBox = tuple[slice, ...]


def bounding_boxes_of(timepoint: TimePoint) -> dict[int, BoundingBox]:
    """Bounding box of each label of a mask, as slices."""
    from scipy import ndimage

    bounding_boxes: dict[int, BoundingBox] = {}
    for block in timepoint.blocks():
        first_row = block.rows.start
        for label, box in enumerate(ndimage.find_objects(timepoint.labels(block)), start=1):
            if box is None:
                continue
            rows = slice(box[0].start + first_row, box[0].stop + first_row)
            box_in_array = (*(slice(i, i + 1) for i in block.index), rows, box[1])
            bounding_boxes[label] = (
                _union_box(bounding_boxes[label], box_in_array) if label in bounding_boxes else box_in_array
            )
    return bounding_boxes


def _union_box(a: BoundingBox, b: BoundingBox) -> BoundingBox:
    """The smallest box that contains both."""
    return tuple(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))


def _relative_box(box: BoundingBox, outer: BoundingBox) -> BoundingBox:
    """A box in the coordinates of a box that contains it."""
    return tuple(slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))


@dataclass
class Regions:
    """Numbered regions of a mask at one time point; 0 is the background.

    Attributes
    ----------
    timepoint
        The time point with the mask.
    label_of_region
        Label of the class of each region, 0 for the background: int64 `(R + 1,)`.
    are_objects
        Whether the regions are connected objects; otherwise they are whole classes.
    bounding_boxes
        Bounding box of each region as slices, from region 1.
    """

    timepoint: TimePoint
    label_of_region: NDArray[np.int64]
    are_objects: bool
    bounding_boxes: list[BoundingBox]
    _union: BoundingBox = ()  # bounding box of all objects
    _region_map: NDArray[np.int32] | None = None  # region of each voxel of `_union`; objects only
    # region of each label; classes only
    _region_of_label: NDArray[np.int32] = field(default_factory=lambda: np.zeros(256, np.int32))

    @classmethod
    def from_classes(cls, timepoint: TimePoint) -> Regions:
        """One region for each class."""
        boxes = bounding_boxes_of(timepoint)
        regions = cls(timepoint, np.array([0, *boxes], dtype=np.int64), False, list(boxes.values()))
        for region, label in enumerate(boxes, start=1):
            regions._region_of_label[label] = region
        return regions

    @classmethod
    def from_objects(cls, timepoint: TimePoint) -> Regions:
        """One region for each connected object: voxels that share a face, an edge or a corner.

        Raises
        ------
        BadInput
            If the bounding box of the mask has more than `MAX_LABELLED_VOXELS` voxels.
        """
        from scipy import ndimage

        boxes = bounding_boxes_of(timepoint)
        if not boxes:
            return cls(timepoint, np.zeros(1, np.int64), True, [])
        union = next(iter(boxes.values()))
        for box in boxes.values():
            union = _union_box(union, box)
        voxel_count = np.prod([s.stop - s.start for s in union], dtype=float)
        if voxel_count > MAX_LABELLED_VOXELS:
            raise BadInput(
                "objects",
                f"cannot be labelled in memory: the mask spans {voxel_count:.2g} voxels",
                "measure the classes as a whole (--no-objects)",
            )
        region_map = np.zeros([s.stop - s.start for s in union], dtype=np.int32)
        label_of_region = [0]
        for label, box in boxes.items():
            class_mask = np.asarray(timepoint.mask[box]) == label
            components, count = ndimage.label(class_mask, np.ones((3,) * class_mask.ndim), output=np.int32)
            components[class_mask] += len(label_of_region) - 1
            region_map[_relative_box(box, union)] += components
            label_of_region += [label] * count
        boxes_in_array = [
            tuple(slice(b.start + u.start, b.stop + u.start) for b, u in zip(box, union, strict=True))
            for box in ndimage.find_objects(region_map, len(label_of_region) - 1)
        ]
        return cls(
            timepoint, np.array(label_of_region, dtype=np.int64), True, boxes_in_array, union, region_map
        )

    def __len__(self) -> int:
        return len(self.bounding_boxes)

    def region_map(self, block: Block) -> NDArray[np.int32]:
        """Region of each voxel of a block, int32 `(rows, W)`."""
        if self._region_map is None:
            return self._region_of_label[self.timepoint.labels(block)]
        block_regions = np.zeros(
            (block.rows.stop - block.rows.start, self.timepoint.shape[-1]), dtype=np.int32
        )
        *leading, rows, columns = self._union
        if all(s.start <= i < s.stop for i, s in zip(block.index, leading, strict=True)):
            top, bottom = max(rows.start, block.rows.start), min(rows.stop, block.rows.stop)
            if top < bottom:
                index = tuple(i - s.start for i, s in zip(block.index, leading, strict=True))
                overlap = self._region_map[(*index, slice(top - rows.start, bottom - rows.start))]
                block_regions[top - block.rows.start : bottom - block.rows.start, columns] = overlap
        return block_regions

    def region_mask(self, region: int) -> NDArray[np.bool_]:
        """The voxels of an object within its bounding box, boolean.

        Raises
        ------
        ValueError
            If the regions are classes, which are only read block by block.
        """
        if self._region_map is None:
            raise ValueError("the regions are classes, whose masks are read block by block only")
        box = self.bounding_boxes[region - 1]
        mask: NDArray[np.bool_] = self._region_map[_relative_box(box, self._union)] == region
        return mask

    def regions_with_label(self, label: int) -> Sequence[int]:
        """The regions of the class with a label."""
        return [int(r) for r in np.flatnonzero(self.label_of_region == label)]

    def boundary_voxels(self, label: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Boundary voxels of the objects of a class: array indices `(M, d)` and regions `(M,)`.

        For a voxel outside the class, the nearest voxel of the class is always one of these.
        """
        from scipy import ndimage

        assert self._region_map is not None
        voxels, regions = [], []
        for region in self.regions_with_label(label):
            mask = self.region_mask(region)
            interior = ndimage.binary_erosion(mask, np.ones((3,) * mask.ndim), border_value=0)
            index = np.argwhere(mask & ~interior)
            voxels.append(index + [s.start for s in self.bounding_boxes[region - 1]])
            regions.append(np.full(len(index), region, dtype=np.int32))
        return np.concatenate(voxels), np.concatenate(regions)
