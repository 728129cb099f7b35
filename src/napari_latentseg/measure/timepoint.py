"""One point in time of a segmentation, part by part, so that nothing large is held twice."""

from __future__ import annotations

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

_MAX_BLOCK_VOXELS = 2**24  # elements of a part

_Index = tuple[Any, ...]


@dataclass(frozen=True)
class Block:
    """Some rows of one plane.

    Attributes
    ----------
    index
        Of the plane, along the leading axes without time.
    rows
        Which of its rows.
    """

    index: tuple[int, ...]
    rows: slice

    @property
    def array_index(self) -> tuple[int | slice, ...]:
        """Where it lies in an array of the moment."""
        return (*self.index, self.rows)


class TimePoint:
    """What a segmentation holds at one point in time.

    Parameters
    ----------
    segmentation
        The segmentation.
    mask
        Its mask, or the one in its place, `spatial`.
    image
        The image, or None.
    time
        Which point; None where there is no such axis.
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
        self._threshold = segmentation.record.threshold
        self._descendants = class_descendants(segmentation.classes)
        self.shape = tuple(int(n) for n in self.mask.shape)
        leading = segmentation.mask.shape[:-2]
        self._plane_numbers = np.arange(int(np.prod(leading, dtype=int))).reshape(leading)[time_index]

    @property
    def sample_count(self) -> int:
        """How many samples were kept."""
        return self._sample_maps.sample_count if self._sample_maps is not None else 0

    def blocks(self) -> Iterator[Block]:
        """All of it, plane by plane; planes that are large by bands of rows."""
        height, width = self.shape[-2:]
        rows = max(1, min(height, _MAX_BLOCK_VOXELS // width))
        for index in np.ndindex(*self.shape[:-2]):
            for start in range(0, height, rows):
                yield Block(tuple(int(i) for i in index), slice(start, min(start + rows, height)))

    def labels(self, block: Block) -> NDArray[np.uint8]:
        """The mask there.

        Raises
        ------
        BadInput
            Where it holds values that are no labels.
        """
        values = np.asarray(self.mask[block.array_index])
        if values.dtype == np.uint8:
            return values
        if values.dtype.kind not in "bui" or values.min() < 0 or values.max() > 255:
            raise BadInput("mask", "holds values that are no labels", "use whole numbers from 0 to 255")
        return values.astype(np.uint8)

    def intensities(self, block: Block) -> NDArray[np.float64]:
        """The image there; of colours the mean over the channels, without alpha."""
        values = np.asarray(self.image[block.array_index])  # type: ignore[index]
        if self._has_channels:
            values = values[..., :3].astype(np.float64).mean(axis=-1)
        return values.astype(np.float64, copy=False)

    def sample_class_maps(self, index: tuple[int, ...]) -> Iterator[NDArray[np.intp]]:
        """Of each sample which class each place of a plane belongs to, `(H, W)`; -1 where to none."""
        assert self._sample_maps is not None
        for probabilities in self._sample_maps.plane_samples(int(self._plane_numbers[index])):
            if len(probabilities) == 1:
                yield (probabilities[0] > self._threshold).astype(np.intp) - 1
            else:
                yield argmax_classes(probabilities, self._threshold, self._descendants)


def timepoints(segmentation: Segmentation, mask: Any, image: Scan | None) -> Sequence[TimePoint]:
    """The points in time of a segmentation; one where it has no such axis.

    Parameters
    ----------
    segmentation, mask, image
        As for `TimePoint`.

    Raises
    ------
    BadInput
        Where the mask or the image has another shape than the segmentation.
    """
    shape = tuple(segmentation.mask.shape)
    if tuple(mask.shape) != shape:
        raise BadInput(
            "mask", f"has shape {tuple(mask.shape)}, the result {shape}", "give the one of this image"
        )
    if image is not None and image.spatial_shape != shape:
        raise BadInput(
            "image", f"has shape {image.spatial_shape}, the result {shape}", "give the one that was segmented"
        )
    time_axis = segmentation.axes.find("t")
    times: Sequence[int | None] = range(shape[time_axis]) if time_axis >= 0 else [None]
    return [TimePoint(segmentation, mask, image, time) for time in times]
