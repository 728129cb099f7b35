"""What is summed over the elements of every region, in one pass through a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.classes import ClassInfo
from napari_latentseg.measure.diameters import ends_of_lines
from napari_latentseg.measure.measurement import Intensity
from napari_latentseg.measure.regions import Regions

__all__ = ["Sums", "sums_of"]


class Sums:
    """Running sums of each region; 0 counts what is in none, and is not looked at.

    Parameters
    ----------
    regions
        How many, R.
    dimensions
        Of the array.

    Attributes
    ----------
    count, probability, place
        Elements, the sum of their mean probabilities, and of their indices: `(R + 1,)`, the last with an axis
        of the dimensions.
    ends
        For regions that are classes: the ends of their lines, see `ends_of_lines`.
    """

    def __init__(self, regions: int, dimensions: int) -> None:
        size = regions + 1
        self.count = np.zeros(size, dtype=np.int64)
        self.probability = np.zeros(size)
        self.place = np.zeros((size, dimensions))
        self.ends: dict[int, list[NDArray[np.int64]]] = {}
        self._finite = np.zeros(size, dtype=np.int64)
        self._values = np.zeros((2, size))
        self._least = np.full(size, np.inf)
        self._most = np.full(size, -np.inf)
        self._middle: float | None = None

    def add_values(self, numbers: NDArray[np.int32], values: NDArray[np.float64]) -> None:
        """Take in the image's values at elements of these regions; what is not finite is left out."""
        finite = np.isfinite(values)
        numbers, values = numbers[finite], values[finite]
        if not values.size:
            return
        if self._middle is None:  # so that squares of large values do not drown their differences
            self._middle = float(values.mean())
        away = values - self._middle
        size = len(self.count)
        self._finite += np.bincount(numbers, minlength=size)
        self._values[0] += np.bincount(numbers, away, minlength=size)
        self._values[1] += np.bincount(numbers, away * away, minlength=size)
        np.minimum.at(self._least, numbers, values)
        np.maximum.at(self._most, numbers, values)

    def intensity(self, regions: Sequence[int]) -> Intensity | None:
        """The image's values in some regions together; None where there are none."""
        chosen = list(regions)
        n = int(self._finite[chosen].sum())
        if n == 0 or self._middle is None:
            return None
        first, second = (float(v) for v in self._values[:, chosen].sum(axis=1) / n)
        return Intensity(
            mean=self._middle + first,
            std=float(np.sqrt(max(0.0, second - first * first))),
            least=float(self._least[chosen].min()),
            most=float(self._most[chosen].max()),
        )


def sums_of(regions: Regions, classes: Sequence[ClassInfo], step: Callable[[], None]) -> Sums:
    """Go through a mask once.

    Parameters
    ----------
    regions
        Of the mask.
    classes
        Of the segmentation, in the order of its means.
    step
        Called after every part.
    """
    moment = regions.moment
    found = Sums(len(regions), len(moment.shape))
    size = len(regions) + 1
    number_of = {info.label: k for k, info in enumerate(classes)}
    labels = [int(label) for label in np.unique(regions.label_of[1:])]
    for part in moment.parts():
        numbers = regions.numbers(part)
        rows, columns = np.nonzero(numbers)
        step()
        if not rows.size:
            continue
        flat = numbers[rows, columns]
        counted = np.bincount(flat, minlength=size)
        found.count += counted
        for axis, i in enumerate(part.index):
            found.place[:, axis] += counted * i
        found.place[:, -2] += np.bincount(flat, rows + part.rows.start, minlength=size)
        found.place[:, -1] += np.bincount(flat, columns, minlength=size)
        of_label = regions.label_of[flat]
        for label in labels:
            here = of_label == label
            if label in number_of and here.any():
                mean = np.asarray(moment.mean[(number_of[label], *part.place)])
                found.probability += np.bincount(flat[here], mean[rows[here], columns[here]], minlength=size)
            if not regions.objects and here.any():
                ends = ends_of_lines(numbers == int(flat[here][0]))
                leading = np.broadcast_to(np.array(part.index, dtype=np.int64), (len(ends), len(part.index)))
                place = np.column_stack([leading, ends[:, 0] + part.rows.start, ends[:, 1]])
                found.ends.setdefault(label, []).append(place)
        if moment.image is not None:
            found.add_values(flat, moment.brightness(part)[rows, columns])
    return found
