"""The arrays of a segmentation at one time point, read block by block to bound the memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import class_descendants
from napari_latentseg.core.labels import argmax_classes
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput

__all__ = ["Block", "TimePoint", "timepoints"]

_MAX_BLOCK_VOXELS = 2**24  # 4096 x 4096, so that a usual plane is one block; 128 MB as float64

_Index = tuple[Any, ...]


@dataclass(frozen=True)
class Block:
    """A band of rows of one plane; a whole plane unless it is large.

    Attributes
    ----------
    index
        Index of the plane along the leading axes, without time.
    rows
        Rows of the plane.
    """

    index: tuple[int, ...]
    rows: slice

    @property
    def array_index(self) -> tuple[int | slice, ...]:
        """Index of the block into an array of the time point."""
        return (*self.index, self.rows)


class TimePoint:
    """The arrays of a segmentation at one time point.

    Parameters
    ----------
    segmentation
        The segmentation.
    mask
        Its label map, or an edited one of the same shape.
    image
        The segmented image, or None.
    time
        Index of the time point; None without a time axis.
    """

    def __init__(self, segmentation: Segmentation, mask: Any, image: Scan | None, time: int | None) -> None:
        time_axis = segmentation.axes.find("t")
        time_index: _Index = () if time is None else (*(slice(None),) * time_axis, time)
        self.time = time
        self.mask = mask[time_index]
        self.mean = segmentation.mean[(slice(None), *time_index)]
        self.image = None if image is None else image.array[time_index]
        self._has_channels = image is not None and image.axes.endswith(CHANNEL)
        self._sample_maps = (
            segmentation.sample_maps
            if segmentation.sample_maps is not None and segmentation.sample_maps.is_complete
            else None
        )
        self._threshold = segmentation.record.sample_threshold
        self._classes = segmentation.classes
        self._descendants = class_descendants(segmentation.classes)
        self._merged_class: int | None = None
        self.shape = tuple(int(n) for n in self.mask.shape)
        leading = segmentation.mask.shape[:-2]
        self._plane_numbers = np.arange(int(np.prod(leading, dtype=int))).reshape(leading)[time_index]

    def with_parts_of(self, k: int) -> TimePoint:
        """The same time point with one class alone, which has the voxels of its parts, too.

        Parameters
        ----------
        k
            Index of the class.
        """
        merged = copy.copy(self)
        labels = [self._classes[i].label for i in (k, *self._descendants[k])]
        merged.mask = _MergedMask(self.mask, labels, self._classes[k].label)
        merged._merged_class = k
        return merged

    @property
    def sample_count(self) -> int:
        """Number of samples that were kept; 0 unless they are complete."""
        return self._sample_maps.sample_count if self._sample_maps is not None else 0

    def blocks(self) -> Iterator[Block]:
        """All blocks, plane by plane."""
        height, width = self.shape[-2:]
        rows = max(1, min(height, _MAX_BLOCK_VOXELS // width))
        for index in np.ndindex(*self.shape[:-2]):
            for start in range(0, height, rows):
                yield Block(tuple(int(i) for i in index), slice(start, min(start + rows, height)))

    def labels(self, block: Block) -> NDArray[np.uint8]:
        """Labels of a block, uint8 `(rows, W)`.

        Raises
        ------
        BadInput
            If the mask has values that are not labels.
        """
        values = np.asarray(self.mask[block.array_index])
        if values.dtype == np.uint8:
            return values
        if values.dtype.kind not in "bui" or values.min() < 0 or values.max() > 255:
            raise BadInput("mask", "has values that are not labels", "use integers from 0 to 255")
        return values.astype(np.uint8)

    def label_counts(self) -> NDArray[np.int64]:
        """Voxels of each of the 256 labels."""
        counts = np.zeros(256, dtype=np.int64)
        for block in self.blocks():
            counts += np.bincount(self.labels(block).ravel(), minlength=256)
        return counts

    def intensities(self, block: Block) -> NDArray[np.float64]:
        """Intensities of a block, `(rows, W)`; for RGB the mean of the channels, without alpha."""
        values = np.asarray(self.image[block.array_index])  # type: ignore[index]
        if self._has_channels:
            values = values[..., :3].astype(np.float64).mean(axis=-1)
        return values.astype(np.float64, copy=False)

    def sample_class_maps(self, index: tuple[int, ...]) -> Iterator[NDArray[np.intp]]:
        """Class index of each voxel of a plane in each sample, `(H, W)`; -1 for background."""
        assert self._sample_maps is not None
        for probabilities in self._sample_maps.plane_samples(int(self._plane_numbers[index])):
            if len(probabilities) == 1:
                yield (probabilities[0] > self._threshold).astype(np.intp) - 1
            else:
                class_map = argmax_classes(probabilities, self._threshold, self._descendants)
                k = self._merged_class
                if k is not None:
                    class_map = np.where(np.isin(class_map, [k, *self._descendants[k]]), k, -1)
                yield class_map


class _MergedMask:
    """Where a label map has one of some labels; read in parts, since it may be larger than memory."""

    def __init__(self, mask: Any, labels: Sequence[int], label: int) -> None:
        self.shape = mask.shape
        self._mask, self._labels, self._label = mask, list(labels), np.uint8(label)

    def __getitem__(self, index: _Index) -> NDArray[np.uint8]:
        has_label = np.isin(np.asarray(self._mask[index]), self._labels)
        merged: NDArray[np.uint8] = has_label * self._label
        return merged


def timepoints(segmentation: Segmentation, mask: Any, image: Scan | None) -> Sequence[TimePoint]:
    """The time points of a segmentation; a single one without a time axis.

    Parameters
    ----------
    segmentation, mask, image
        As for `TimePoint`.

    Raises
    ------
    BadInput
        If mask or image have another shape than the segmentation.
    """
    shape = tuple(segmentation.mask.shape)
    if tuple(mask.shape) != shape:
        raise BadInput(
            "mask", f"has shape {tuple(mask.shape)}, the result {shape}", "give a mask of the same image"
        )
    if image is not None and image.spatial_shape != shape:
        raise BadInput(
            "image",
            f"has shape {image.spatial_shape}, the result {shape}",
            "give the image that was segmented",
        )
    time_axis = segmentation.axes.find("t")
    times: Sequence[int | None] = range(shape[time_axis]) if time_axis >= 0 else [None]
    return [TimePoint(segmentation, mask, image, time) for time in times]
