"""The regions of a mask that are measured: its classes, or each of their objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.measure.moment import Moment, Part

__all__ = ["MOST_ELEMENTS", "Regions", "boxes_of"]

MOST_ELEMENTS = 2**28
"""How large the box of all classes may be for objects to be told apart: eight bytes an element."""

Box = tuple[slice, ...]


def boxes_of(moment: Moment) -> dict[int, Box]:
    """The box of each label in a mask."""
    from scipy import ndimage

    found: dict[int, Box] = {}
    for part in moment.parts():
        top = part.rows.start
        for label, box in enumerate(ndimage.find_objects(moment.labels(part)), start=1):
            if box is None:
                continue
            rows = slice(box[0].start + top, box[0].stop + top)
            here = (*(slice(i, i + 1) for i in part.index), rows, box[1])
            found[label] = _around(found[label], here) if label in found else here
    return found


def _around(a: Box, b: Box) -> Box:
    return tuple(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))


def _within(box: Box, whole: Box) -> Box:
    return tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, whole, strict=True))


@dataclass
class Regions:
    """Numbered regions of a mask at one point in time; 0 is none.

    Attributes
    ----------
    moment
        Whose mask it is.
    label_of
        For each region the label of its class, 0 for none: `(R + 1,)`.
    objects
        Whether the regions are objects rather than classes.
    boxes
        Of each region, from 1.
    """

    moment: Moment
    label_of: NDArray[np.int64]
    objects: bool
    boxes: list[Box]
    _box: Box = ()
    _numbers: NDArray[np.int32] | None = None
    _of_label: NDArray[np.int32] = field(default_factory=lambda: np.zeros(256, np.int32))

    @classmethod
    def classes(cls, moment: Moment) -> Regions:
        """Each class is one region."""
        boxes = boxes_of(moment)
        made = cls(moment, np.array([0, *boxes], dtype=np.int64), False, list(boxes.values()))
        for region, label in enumerate(boxes, start=1):
            made._of_label[label] = region
        return made

    @classmethod
    def of_objects(cls, moment: Moment) -> Regions:
        """Each object is one: what touches at a side, an edge or a corner.

        Raises
        ------
        BadInput
            Where there is too much of the mask to tell them apart in memory.
        """
        from scipy import ndimage

        boxes = boxes_of(moment)
        if not boxes:
            return cls(moment, np.zeros(1, np.int64), True, [])
        whole = next(iter(boxes.values()))
        for box in boxes.values():
            whole = _around(whole, box)
        size = np.prod([s.stop - s.start for s in whole], dtype=float)
        if size > MOST_ELEMENTS:
            raise BadInput(
                "objects",
                f"are too many elements ({size:.2g}) to be told apart in memory",
                "measure the classes as a whole (--no-objects)",
            )
        numbers = np.zeros([s.stop - s.start for s in whole], dtype=np.int32)
        label_of = [0]
        for label, box in boxes.items():
            of_class = np.asarray(moment.mask[box]) == label
            found, count = ndimage.label(of_class, np.ones((3,) * of_class.ndim), output=np.int32)
            found[of_class] += len(label_of) - 1
            numbers[_within(box, whole)] += found
            label_of += [label] * count
        placed = [
            tuple(slice(b.start + w.start, b.stop + w.start) for b, w in zip(box, whole, strict=True))
            for box in ndimage.find_objects(numbers, len(label_of) - 1)
        ]
        return cls(moment, np.array(label_of, dtype=np.int64), True, placed, whole, numbers)

    def __len__(self) -> int:
        return len(self.boxes)

    def numbers(self, part: Part) -> NDArray[np.int32]:
        """The regions of a part, `(rows, W)`."""
        if self._numbers is None:
            return self._of_label[self.moment.labels(part)]
        found = np.zeros((part.rows.stop - part.rows.start, self.moment.shape[-1]), dtype=np.int32)
        *leading, rows, columns = self._box
        if all(s.start <= i < s.stop for i, s in zip(part.index, leading, strict=True)):
            top, bottom = max(rows.start, part.rows.start), min(rows.stop, part.rows.stop)
            if top < bottom:
                index = tuple(i - s.start for i, s in zip(part.index, leading, strict=True))
                taken = self._numbers[(*index, slice(top - rows.start, bottom - rows.start))]
                found[top - part.rows.start : bottom - part.rows.start, columns] = taken
        return found

    def inside(self, region: int) -> NDArray[np.bool_]:
        """The elements of an object within its box.

        Raises
        ------
        ValueError
            Where the regions are classes, of which no such array is made.
        """
        if self._numbers is None:
            raise ValueError("classes are looked at part by part")
        box = self.boxes[region - 1]
        found: NDArray[np.bool_] = self._numbers[_within(box, self._box)] == region
        return found

    def members(self, label: int) -> Sequence[int]:
        """The regions of a class."""
        return [int(r) for r in np.flatnonzero(self.label_of == label)]

    def outline(self, label: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The elements of a class that touch what is not of it: their indices `(M, d)` and regions `(M,)`.

        What lies nearest to a place outside is one of them.
        """
        from scipy import ndimage

        assert self._numbers is not None
        places, regions = [], []
        for region in self.members(label):
            inside = self.inside(region)
            core = ndimage.binary_erosion(inside, np.ones((3,) * inside.ndim), border_value=0)
            index = np.argwhere(inside & ~core)
            places.append(index + [s.start for s in self.boxes[region - 1]])
            regions.append(np.full(len(index), region, dtype=np.int32))
        return np.concatenate(places), np.concatenate(regions)
