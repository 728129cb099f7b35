"""One point in time of a segmentation, part by part, so that nothing large is held twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.classes import descendants
from napari_latentseg.cut import winners
from napari_latentseg.errors import BadInput
from napari_latentseg.scan import CHANNEL, Scan
from napari_latentseg.segmentation import Segmentation

__all__ = ["Moment", "Part", "moments"]

_AT_ONCE = 2**24  # elements of a part

_Index = tuple[Any, ...]


@dataclass(frozen=True)
class Part:
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
    def place(self) -> tuple[int | slice, ...]:
        """Where it lies in an array of the moment."""
        return (*self.index, self.rows)


class Moment:
    """What a segmentation holds at one point in time.

    Parameters
    ----------
    found
        The segmentation.
    mask
        Its mask, or the one in its place, `spatial`.
    image
        The image, or None.
    time
        Which point; None where there is no such axis.
    """

    def __init__(self, found: Segmentation, mask: Any, image: Scan | None, time: int | None) -> None:
        axis = found.axes.find("t")
        at: _Index = () if time is None else (*(slice(None),) * axis, time)
        self.time = time
        self.mask = mask[at]
        self.mean = found.mean[(slice(None), *at)]
        self.image = None if image is None else image.array[at]
        self._has_channels = image is not None and image.axes.endswith(CHANNEL)
        self._maps = found.maps if found.maps is not None and found.maps.is_complete else None
        self._threshold = found.record.threshold
        self._inside = descendants(found.classes)
        self.shape = tuple(int(n) for n in self.mask.shape)
        leading = found.mask.shape[:-2]
        self._numbers = np.arange(int(np.prod(leading, dtype=int))).reshape(leading)[at]

    @property
    def samples(self) -> int:
        """How many samples were kept."""
        return self._maps.samples if self._maps is not None else 0

    def parts(self) -> Iterator[Part]:
        """All of it, plane by plane; planes that are large by bands of rows."""
        height, width = self.shape[-2:]
        rows = max(1, min(height, _AT_ONCE // width))
        for index in np.ndindex(*self.shape[:-2]):
            for start in range(0, height, rows):
                yield Part(tuple(int(i) for i in index), slice(start, min(start + rows, height)))

    def labels(self, part: Part) -> NDArray[np.uint8]:
        """The mask there.

        Raises
        ------
        BadInput
            Where it holds values that are no labels.
        """
        values = np.asarray(self.mask[part.place])
        if values.dtype == np.uint8:
            return values
        if values.dtype.kind not in "bui" or values.min() < 0 or values.max() > 255:
            raise BadInput("mask", "holds values that are no labels", "use whole numbers from 0 to 255")
        return values.astype(np.uint8)

    def brightness(self, part: Part) -> NDArray[np.float64]:
        """The image there; of colours the mean over the channels, without alpha."""
        values = np.asarray(self.image[part.place])  # type: ignore[index]
        if self._has_channels:
            values = values[..., :3].astype(np.float64).mean(axis=-1)
        return values.astype(np.float64, copy=False)

    def classes_of_samples(self, index: tuple[int, ...]) -> Iterator[NDArray[np.intp]]:
        """Of each sample which class each place of a plane belongs to, `(H, W)`; -1 where to none."""
        assert self._maps is not None
        for probabilities in self._maps.plane(int(self._numbers[index])):
            if len(probabilities) == 1:
                yield (probabilities[0] > self._threshold).astype(np.intp) - 1
            else:
                yield winners(probabilities, self._threshold, self._inside)


def moments(found: Segmentation, mask: Any, image: Scan | None) -> Sequence[Moment]:
    """The points in time of a segmentation; one where it has no such axis.

    Parameters
    ----------
    found, mask, image
        As for `Moment`.

    Raises
    ------
    BadInput
        Where the mask or the image has another shape than the segmentation.
    """
    shape = tuple(found.mask.shape)
    if tuple(mask.shape) != shape:
        raise BadInput(
            "mask", f"has shape {tuple(mask.shape)}, the result {shape}", "give the one of this image"
        )
    if image is not None and image.spatial_shape != shape:
        raise BadInput(
            "image", f"has shape {image.spatial_shape}, the result {shape}", "give the one that was segmented"
        )
    axis = found.axes.find("t")
    times: Sequence[int | None] = range(shape[axis]) if axis >= 0 else [None]
    return [Moment(found, mask, image, time) for time in times]
