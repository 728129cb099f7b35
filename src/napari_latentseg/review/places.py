"""The slices and the objects of a segmentation, each with how unsure it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.measure.moment import Moment, Part, moments
from napari_latentseg.measure.regions import MOST_ELEMENTS, Regions
from napari_latentseg.progress import Progress
from napari_latentseg.review.measures import UncertaintyMeasure, View, band_of
from napari_latentseg.segmentation import Segmentation

__all__ = ["Place", "objects_of", "slices_of"]

_REACH = 2  # elements about an object that belong to it, and about a boundary that are near it
_SURE = 0.8
_DOUBT = 0.1  # min(p, 1 - p) above which an element is worth showing
_MAYBE = 0.5  # share of the threshold above which something may have been left out

_Range = tuple[int, int]


@dataclass(frozen=True)
class Place:
    """A slice or object; the fields are those of a `Finding`, `k` is the place of the class."""

    index: tuple[int, ...]
    box: tuple[_Range, ...]
    k: int
    number: int
    uncertainty: float
    is_in_or_out: bool


@dataclass
class _Tally:
    """What is summed over the views of one class in one region."""

    measure: UncertaintyMeasure
    sums: NDArray[np.float64] | None = None
    peak: float = 0.0
    has_mask: bool = False
    doubt: float = 0.0
    doubt_near: float = 0.0
    rows: list[_Range] = field(default_factory=list)
    columns: list[_Range] = field(default_factory=list)
    least_sure: tuple[float, tuple[int, ...]] = (-1.0, ())

    def add(self, view: View, index: tuple[int, ...] = (), top: int = 0, left: int = 0) -> None:
        """Take in a view of a plane, whose first row and column are these."""
        found = self.measure.sums(view)
        self.sums = found if self.sums is None else self.sums + found
        error = np.minimum(view.mean, 1 - view.mean)
        total = float(error.sum(dtype=np.float64))
        doubtful = error > _DOUBT
        error = error * doubtful  # a little doubt everywhere says nothing of where it is
        self.peak = max(self.peak, float(view.mean[view.mask].max(initial=0.0)))
        self.has_mask |= bool(view.mask.any())
        self.doubt += float(error.sum(dtype=np.float64))
        self.doubt_near += float(error[band_of(view.mask, _REACH)].sum(dtype=np.float64))
        if total > self.least_sure[0]:
            self.least_sure = (total, index)
        shown = doubtful if doubtful.any() else view.mask
        for axis, ranges, start in ((1, self.rows, top), (0, self.columns, left)):
            there = np.flatnonzero(shown.any(axis=axis))
            if there.size:
                ranges.append((int(there[0]) + start, int(there[-1]) + 1 + start))

    @property
    def value(self) -> float:
        return 0.0 if self.sums is None else max(0.0, self.measure.value(self.sums))

    @property
    def is_in_or_out(self) -> bool:
        return not self.has_mask or self.peak <= _SURE or self.doubt_near < self.doubt / 2

    def box(self, shape: tuple[int, ...]) -> tuple[_Range, _Range]:
        """Rows and columns that are worth showing; the whole plane where none stand out."""
        found = [
            (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else (0, length)
            for ranges, length in zip((self.rows, self.columns), shape[-2:], strict=True)
        ]
        return found[0], found[1]


class _Reader:
    """Reads one plane after another of a moment, and gives views of it."""

    def __init__(
        self, found: Segmentation, moment: Moment, variance: Any, measure: UncertaintyMeasure
    ) -> None:
        self._classes = found.classes
        self._moment, self._variance, self._needs = moment, variance, measure.needs

    def read(self, part: Part) -> None:
        """Bring a part to memory."""
        everything = (slice(None), *part.place)
        self.labels = self._moment.labels(part)
        start, stop = part.rows.start, part.rows.stop
        beyond = slice(max(0, start - 1), min(self._moment.shape[-2], stop + 1))
        self._inner = slice(start - beyond.start, stop - beyond.start)
        is_whole = beyond == part.rows
        self._around = None if is_whole else self._moment.labels(Part(part.index, beyond))
        self._mean = np.asarray(self._moment.mean[everything])
        self._doubts = np.asarray(self._variance[everything]) if self._needs == "variance" else None
        self._samples: NDArray[np.int16] | None = None
        if self._needs == "samples":
            each = [one[part.rows].astype(np.int16) for one in self._moment.classes_of_samples(part.index)]
            self._samples = np.stack(each)

    def whole(self, k: int) -> View:
        """All of the part."""
        edge = None
        if self._around is not None:  # a band of rows, whose boundaries may lie at its ends
            edge = band_of(self._around == self._classes[k].label)[self._inner]
        return View(
            self._mean[k],
            self.labels == self._classes[k].label,
            self.labels.size,
            None if self._doubts is None else self._doubts[k],
            None if self._samples is None else self._samples == k,
            edge,
        )

    def near(
        self, k: int, place: tuple[slice, slice], mask: NDArray[np.bool_], where: NDArray[np.bool_]
    ) -> View:
        """What counts of a piece of it."""
        doubts, samples = self._doubts, self._samples
        return View(
            np.where(where, self._mean[k][place], np.float32(0)),
            mask,
            int(np.count_nonzero(where)),
            None if doubts is None else np.where(where, doubts[k][place], np.float32(0)),
            None if samples is None else (samples[(slice(None), *place)] == k) & where,
        )


def slices_of(
    found: Segmentation, mask: Any, measure: UncertaintyMeasure, progress: Progress
) -> Iterator[Place]:
    """Every plane.

    Parameters
    ----------
    found, mask
        The result, and the mask in place of its own.
    measure
        How unsure.
    progress
        Called with the fraction done.

    Raises
    ------
    BadInput
        Where the mask has another shape.
    """
    each = moments(found, mask, None)
    for number, moment in enumerate(each):
        reader = _Reader(found, moment, _at(found.variance, found, moment), measure)
        planes = list(np.ndindex(*moment.shape[:-2]))
        tallies: dict[tuple[int, ...], list[_Tally]] = {}
        for part in moment.parts():
            mine = tallies.setdefault(part.index, [_Tally(measure) for _ in found.classes])
            reader.read(part)
            for k, tally in enumerate(mine):
                tally.add(reader.whole(k), top=part.rows.start)
            if part.rows.stop == moment.shape[-2]:
                yield _slice(found, moment, part.index, tallies.pop(part.index))
                done = (planes.index(part.index) + 1) / len(planes)
                progress((number + done) / len(each))


def _slice(found: Segmentation, moment: Moment, index: tuple[int, ...], tallies: list[_Tally]) -> Place:
    measure = tallies[0].measure
    values = [tally.value for tally in tallies]
    counted = [k for k, tally in enumerate(tallies) if tally.has_mask] if measure.shown_alone else []
    counted = counted or list(range(len(tallies)))
    k = max(counted, key=values.__getitem__)
    of_them = [values[k] for k in counted]
    total = float(np.mean(of_them) if measure.mean_of_classes else np.sum(of_them))
    full = _full(found, moment, index)
    box = (*((i, i + 1) for i in full), *tallies[k].box(moment.shape))
    return Place(full, box, k, 0, total, tallies[k].is_in_or_out)


@dataclass
class _Object:
    """An object of the mask, or a component of what may have been left out, which is of no region."""

    k: int
    number: int
    box: tuple[slice, ...]
    region: int
    tally: _Tally


def objects_of(
    found: Segmentation, mask: Any, measure: UncertaintyMeasure, progress: Progress
) -> Iterator[Place]:
    """Every object of the mask, and what it may have left out; the parameters are those of `slices_of`.

    Raises
    ------
    BadInput
        Where the mask has another shape, or is too large for its objects to be told apart.
    """
    each = moments(found, mask, None)
    for turn, moment in enumerate(each):
        if np.prod(moment.shape, dtype=float) > 2 * MOST_ELEMENTS:
            raise BadInput("objects", "the image is too large to tell them apart", "rank its slices")
        regions = Regions.of_objects(moment)
        objects = [*_objects(found, regions, measure), *_missed(found, moment, measure)]
        reader = _Reader(found, moment, _at(found.variance, found, moment), measure)
        parts = list(moment.parts())
        for done, part in enumerate(parts, start=1):
            here = [one for one in objects if _meets(one.box, part)]
            if here:
                reader.read(part)
                numbers = regions.numbers(part)
                for one in here:
                    _add(one, reader, regions, numbers, part, found.classes)
            progress((turn + done / len(parts)) / len(each))
        for one in objects:
            index = one.tally.least_sure[1]
            box = [(s.start, s.stop) for s in one.box]
            if moment.time is not None:
                box.insert(found.axes.index("t"), (moment.time, moment.time + 1))
            yield Place(
                _full(found, moment, index), tuple(box), one.k, one.number, one.tally.value,
                one.tally.is_in_or_out,
            )  # fmt: skip


def _objects(found: Segmentation, regions: Regions, measure: UncertaintyMeasure) -> Iterator[_Object]:
    for k, info in enumerate(found.classes):
        sizes = {r: int(np.count_nonzero(regions.inside(r))) for r in regions.members(info.label)}
        ordered = sorted(sizes, key=lambda r: (-sizes[r], r))
        for number, region in enumerate(ordered, start=1):
            yield _Object(k, number, regions.boxes[region - 1], region, _Tally(measure))


def _missed(found: Segmentation, moment: Moment, measure: UncertaintyMeasure) -> Iterator[_Object]:
    """The components of what is probable enough to be looked at, and touches nothing in the mask."""
    from scipy import ndimage

    low = found.record.threshold * _MAYBE
    for k, info in enumerate(found.classes):
        maybe = np.zeros(moment.shape, dtype=np.bool_)
        for part in moment.parts():
            maybe[part.place] = np.asarray(moment.mean[(k, *part.place)]) > low
        boxes = ndimage.find_objects(maybe.view(np.uint8))
        if not boxes:
            continue
        whole = boxes[0]
        components, count = ndimage.label(maybe[whole], np.ones((3,) * maybe.ndim), output=np.int32)
        there = np.unique(components[np.asarray(moment.mask[whole]) == info.label])
        for number, box in enumerate(ndimage.find_objects(components, count), start=1):
            if number not in there:
                placed = tuple(
                    slice(b.start + w.start, b.stop + w.start) for b, w in zip(box, whole, strict=True)
                )
                yield _Object(k, 0, placed, 0, _Tally(measure))


def _meets(box: tuple[slice, ...], part: Part) -> bool:
    leading, rows = box[:-2], box[-2]
    if not all(s.start <= i < s.stop for i, s in zip(part.index, leading, strict=True)):
        return False
    return bool(rows.start - _REACH < part.rows.stop and rows.stop + _REACH > part.rows.start)


def _add(
    one: _Object,
    reader: _Reader,
    regions: Regions,
    numbers: NDArray[np.int32],
    part: Part,
    classes: tuple[ClassInfo, ...],
) -> None:
    """Take a plane of an object into its tally."""
    height, width = numbers.shape
    top = part.rows.start
    rows = slice(
        max(0, one.box[-2].start - _REACH - top), max(0, min(height, one.box[-2].stop + _REACH - top))
    )
    columns = slice(max(0, one.box[-1].start - _REACH), min(width, one.box[-1].stop + _REACH))
    if rows.start >= rows.stop:
        return
    here = numbers[rows, columns]
    of_class = regions.label_of[here] == classes[one.k].label
    mask = of_class & (here == one.region)
    view = reader.near(one.k, (rows, columns), mask, ~of_class | mask)
    one.tally.add(view, part.index, rows.start + top, columns.start)


def _full(found: Segmentation, moment: Moment, index: tuple[int, ...]) -> tuple[int, ...]:
    """The index of a plane along all leading axes of the scan."""
    if moment.time is None:
        return index
    at = found.axes.index("t")
    return (*index[:at], moment.time, *index[at:])


def _at(array: Any, found: Segmentation, moment: Moment) -> Any:
    """An array `(K, *spatial)` at a point in time."""
    if array is None or moment.time is None:
        return array
    return array[(slice(None), *(slice(None),) * found.axes.index("t"), moment.time)]
