"""Uncertainty scores of every slice or every object of a segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo, class_descendants
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.measure.regions import MAX_LABELLED_VOXELS, Regions
from napari_latentseg.measure.timepoint import Block, TimePoint, timepoints
from napari_latentseg.review.uncertainty import RegionView, UncertaintyMeasure, boundary_band
from napari_latentseg.utils.progress import Progress

__all__ = ["ScoredRegion", "score_objects", "score_slices"]

# Chosen by hand. Only the radius affects the order of objects; the others decide which rows and columns are
# shown, and the reason that is given. The order of slices depends on none of them.
_NEIGHBOURHOOD_RADIUS = 2  # voxels around an object that count for it, and around a boundary that are near it
_CONFIDENT_PROBABILITY = 0.8  # a structure above it somewhere is present
_MIN_VOXEL_ERROR = 0.1  # min(p, 1 - p) above which a voxel is worth showing
_MISSED_FRACTION = 0.5  # of the threshold; a mean probability above it may be a missed structure

# first index and one past the last
_Range = tuple[int, int]


@dataclass(frozen=True)
class ScoredRegion:
    """A slice or an object with its score; the fields are those of `Finding`, with the index of the class."""

    index: tuple[int, ...]
    box: tuple[_Range, ...]
    class_index: int
    object_number: int
    uncertainty: float
    is_presence_uncertain: bool


@dataclass
class _RegionScore:
    """Sums over the blocks of one class in one slice or object."""

    measure: UncertaintyMeasure
    sums: NDArray[np.float64] | None = None
    max_probability: float = 0.0
    has_mask: bool = False
    error_sum: float = 0.0
    boundary_error_sum: float = 0.0
    row_ranges: list[_Range] = field(default_factory=list)
    column_ranges: list[_Range] = field(default_factory=list)
    most_uncertain_plane: tuple[float, tuple[int, ...]] = (-1.0, ())

    def add_view(self, view: RegionView, index: tuple[int, ...] = (), top: int = 0, left: int = 0) -> None:
        """Add a block of plane `index` whose first row is `top` and first column `left`."""
        view_sums = self.measure.accumulate(view)
        self.sums = view_sums if self.sums is None else self.sums + view_sums
        error = np.minimum(view.mean, 1 - view.mean)
        view_error = float(error.sum(dtype=np.float64))
        is_uncertain = error > _MIN_VOXEL_ERROR
        error = error * is_uncertain  # little uncertainty everywhere says nothing about its location
        self.max_probability = max(self.max_probability, float(view.mean[view.mask].max(initial=0.0)))
        self.has_mask |= bool(view.mask.any())
        self.error_sum += float(error.sum(dtype=np.float64))
        self.boundary_error_sum += float(
            error[boundary_band(view.mask, _NEIGHBOURHOOD_RADIUS)].sum(dtype=np.float64)
        )
        if view_error > self.most_uncertain_plane[0]:
            self.most_uncertain_plane = (view_error, index)
        display_mask = is_uncertain if is_uncertain.any() else view.mask
        for axis, ranges, start in ((1, self.row_ranges, top), (0, self.column_ranges, left)):
            indices = np.flatnonzero(display_mask.any(axis=axis))
            if indices.size:
                ranges.append((int(indices[0]) + start, int(indices[-1]) + 1 + start))

    @property
    def value(self) -> float:
        """The uncertainty by the measure; 0 if nothing is uncertain."""
        return 0.0 if self.sums is None else max(0.0, self.measure.evaluate(self.sums))

    @property
    def is_presence_uncertain(self) -> bool:
        """Whether the presence is in question rather than the boundary; see `Finding.reason`."""
        return (
            not self.has_mask
            or self.max_probability <= _CONFIDENT_PROBABILITY
            or self.boundary_error_sum < self.error_sum / 2
        )

    def display_box(self, shape: tuple[int, ...]) -> tuple[_Range, _Range]:
        """Rows and columns with uncertain voxels; the whole plane if there are none."""
        ranges_to_show = [
            (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else (0, length)
            for ranges, length in zip((self.row_ranges, self.column_ranges), shape[-2:], strict=True)
        ]
        return ranges_to_show[0], ranges_to_show[1]


class _BlockReader:
    """Reads the blocks of a time point, and gives the `RegionView` of each class and object in them."""

    def __init__(
        self, segmentation: Segmentation, timepoint: TimePoint, variance: Any, measure: UncertaintyMeasure
    ) -> None:
        descendants = class_descendants(segmentation.classes)
        self._members = [[k, *parts] for k, parts in enumerate(descendants)]
        self._labels = [[segmentation.classes[i].label for i in members] for members in self._members]
        self._timepoint, self._variance, self._required = timepoint, variance, measure.required

    def read(self, block: Block) -> None:
        """Load a block."""
        class_block = (slice(None), *block.array_index)
        self.labels = self._timepoint.labels(block)
        start, stop = block.rows.start, block.rows.stop
        padded_rows = slice(max(0, start - 1), min(self._timepoint.shape[-2], stop + 1))
        self._inner_rows = slice(start - padded_rows.start, stop - padded_rows.start)
        is_whole = padded_rows == block.rows
        self._padded_labels = None if is_whole else self._timepoint.labels(Block(block.index, padded_rows))
        self._mean = np.asarray(self._timepoint.mean[class_block])
        self._block_variance = (
            np.asarray(self._variance[class_block]) if self._required == "variance" else None
        )
        self._samples: NDArray[np.int16] | None = None
        if self._required == "samples":
            class_maps = [
                class_map[block.rows].astype(np.int16)
                for class_map in self._timepoint.sample_class_maps(block.index)
            ]
            self._samples = np.stack(class_maps)

    def full_view(self, class_index: int) -> RegionView:
        """The view of a class, with the voxels of its parts, in the whole block."""
        labels = self._labels[class_index]
        band = None
        # in a part of a plane, the boundary at the first and the last row depends on the row beyond
        if self._padded_labels is not None:
            band = boundary_band(np.isin(self._padded_labels, labels))[self._inner_rows]
        return RegionView(
            self._mean[class_index],
            np.isin(self.labels, labels),
            self.labels.size,
            None if self._block_variance is None else self._block_variance[class_index],
            None if self._samples is None else np.isin(self._samples, self._members[class_index]),
            band,
        )

    def masked_view(
        self, class_index: int, crop: tuple[slice, slice], mask: NDArray[np.bool_], counts: NDArray[np.bool_]
    ) -> RegionView:
        """The view of an object: a crop of the block, in which only the voxels in `counts` count."""
        block_variance, samples = self._block_variance, self._samples
        return RegionView(
            np.where(counts, self._mean[class_index][crop], np.float32(0)),
            mask,
            int(np.count_nonzero(counts)),
            None
            if block_variance is None
            else np.where(counts, block_variance[class_index][crop], np.float32(0)),
            None if samples is None else (samples[(slice(None), *crop)] == class_index) & counts,
        )


def score_slices(
    segmentation: Segmentation, mask: Any, measure: UncertaintyMeasure, progress: Progress
) -> Iterator[ScoredRegion]:
    """Score every slice.

    As in `napari_latentseg.measure.measure`, a class has the voxels of its parts.

    Parameters
    ----------
    segmentation
        The segmentation.
    mask
        Its label map, or an edited one.
    measure
        Measure of uncertainty.
    progress
        Called with the fraction that is done, in [0, 1].

    Yields
    ------
    ScoredRegion
        In array order.

    Raises
    ------
    BadInput
        If the mask has another shape.
    """
    timepoints_to_score = timepoints(segmentation, mask, None)
    for number, timepoint in enumerate(timepoints_to_score):
        reader = _BlockReader(
            segmentation, timepoint, _at_timepoint(segmentation.variance, segmentation, timepoint), measure
        )
        planes = list(np.ndindex(*timepoint.shape[:-2]))
        scores_of_plane: dict[tuple[int, ...], list[_RegionScore]] = {}
        for block in timepoint.blocks():
            class_scores = scores_of_plane.setdefault(
                block.index, [_RegionScore(measure) for _ in segmentation.classes]
            )
            reader.read(block)
            for k, class_score in enumerate(class_scores):
                class_score.add_view(reader.full_view(k), top=block.rows.start)
            if block.rows.stop == timepoint.shape[-2]:
                yield _score_slice(segmentation, timepoint, block.index, scores_of_plane.pop(block.index))
                fraction = (planes.index(block.index) + 1) / len(planes)
                progress((number + fraction) / len(timepoints_to_score))


def _score_slice(
    segmentation: Segmentation, timepoint: TimePoint, index: tuple[int, ...], class_scores: list[_RegionScore]
) -> ScoredRegion:
    measure = class_scores[0].measure
    values = [class_score.value for class_score in class_scores]
    counted_classes = (
        [k for k, class_score in enumerate(class_scores) if class_score.has_mask]
        if measure.only_predicted_classes
        else []
    )
    counted_classes = counted_classes or list(range(len(class_scores)))
    k = max(counted_classes, key=values.__getitem__)
    counted_values = [values[k] for k in counted_classes]
    total = float(np.mean(counted_values) if measure.averages_classes else np.sum(counted_values))
    scan_index = _scan_index(segmentation, timepoint, index)
    box = (*((i, i + 1) for i in scan_index), *class_scores[k].display_box(timepoint.shape))
    return ScoredRegion(scan_index, box, k, 0, total, class_scores[k].is_presence_uncertain)


@dataclass
class _ObjectScore:
    """An object of the mask, or a missed structure, whose `object_number` and `region` are 0."""

    class_index: int
    object_number: int
    box: tuple[slice, ...]
    region: int
    region_score: _RegionScore


def score_objects(
    segmentation: Segmentation, mask: Any, measure: UncertaintyMeasure, progress: Progress
) -> Iterator[ScoredRegion]:
    """Score every object of the mask, and every structure that it may have missed.

    As in `napari_latentseg.measure.measure`, an object of a class has the voxels of the parts of the class.

    Parameters
    ----------
    segmentation, mask, measure, progress
        As for `score_slices`.

    Yields
    ------
    ScoredRegion
        In no particular order.

    Raises
    ------
    BadInput
        If the mask has another shape, or is too large to label its objects.
    """
    has_parts = [bool(parts) for parts in class_descendants(segmentation.classes)]
    views: list[tuple[TimePoint, list[int]]] = []
    for timepoint in timepoints(segmentation, mask, None):
        views.append((timepoint, [k for k, has in enumerate(has_parts) if not has]))
        views += [(timepoint.with_parts_of(k), [k]) for k, has in enumerate(has_parts) if has]
    for view_number, (timepoint, class_indices) in enumerate(views):
        # twice the limit of the mask: the candidates for missed structures are one byte a voxel
        if np.prod(timepoint.shape, dtype=float) > 2 * MAX_LABELLED_VOXELS:
            raise BadInput("objects", "cannot be labelled: the image is too large", "rank its slices")
        regions = Regions.from_objects(timepoint)
        objects = [
            *_mask_objects(segmentation, regions, class_indices, measure),
            *_missed_components(segmentation, timepoint, class_indices, measure),
        ]
        reader = _BlockReader(
            segmentation, timepoint, _at_timepoint(segmentation.variance, segmentation, timepoint), measure
        )
        blocks = list(timepoint.blocks())
        for blocks_done, block in enumerate(blocks, start=1):
            block_objects = [
                scored_object for scored_object in objects if _overlaps_block(scored_object.box, block)
            ]
            if block_objects:
                reader.read(block)
                region_map = regions.region_map(block)
                for scored_object in block_objects:
                    _add_block(scored_object, reader, regions, region_map, block, segmentation.classes)
            progress((view_number + blocks_done / len(blocks)) / len(views))
        for scored_object in objects:
            index = scored_object.region_score.most_uncertain_plane[1]
            box = [(s.start, s.stop) for s in scored_object.box]
            if timepoint.time is not None:
                box.insert(segmentation.axes.index("t"), (timepoint.time, timepoint.time + 1))
            yield ScoredRegion(
                _scan_index(segmentation, timepoint, index), tuple(box), scored_object.class_index,
                scored_object.object_number, scored_object.region_score.value,
                scored_object.region_score.is_presence_uncertain,
            )  # fmt: skip


def _mask_objects(
    segmentation: Segmentation, regions: Regions, class_indices: Sequence[int], measure: UncertaintyMeasure
) -> Iterator[_ObjectScore]:
    for k in class_indices:
        label = segmentation.classes[k].label
        sizes = {r: int(np.count_nonzero(regions.region_mask(r))) for r in regions.regions_with_label(label)}
        largest_first = sorted(sizes, key=lambda r: (-sizes[r], r))
        for number, region in enumerate(largest_first, start=1):
            yield _ObjectScore(k, number, regions.bounding_boxes[region - 1], region, _RegionScore(measure))


def _missed_components(
    segmentation: Segmentation,
    timepoint: TimePoint,
    class_indices: Sequence[int],
    measure: UncertaintyMeasure,
) -> Iterator[_ObjectScore]:
    """Connected regions above half the threshold that touch no voxel of the mask."""
    from scipy import ndimage

    candidate_threshold = segmentation.record.threshold * _MISSED_FRACTION
    for k in class_indices:
        candidates = np.zeros(timepoint.shape, dtype=np.bool_)
        for block in timepoint.blocks():
            candidates[block.array_index] = (
                np.asarray(timepoint.mean[(k, *block.array_index)]) > candidate_threshold
            )
        boxes = ndimage.find_objects(candidates.view(np.uint8))
        if not boxes:
            continue
        candidates_box = boxes[0]
        components, count = ndimage.label(
            candidates[candidates_box], np.ones((3,) * candidates.ndim), output=np.int32
        )
        touching = np.unique(
            components[np.asarray(timepoint.mask[candidates_box]) == segmentation.classes[k].label]
        )
        for number, box in enumerate(ndimage.find_objects(components, count), start=1):
            if number not in touching:
                box_in_array = tuple(
                    slice(b.start + w.start, b.stop + w.start)
                    for b, w in zip(box, candidates_box, strict=True)
                )
                yield _ObjectScore(k, 0, box_in_array, 0, _RegionScore(measure))


def _overlaps_block(box: tuple[slice, ...], block: Block) -> bool:
    leading, rows = box[:-2], box[-2]
    if not all(s.start <= i < s.stop for i, s in zip(block.index, leading, strict=True)):
        return False
    return bool(
        rows.start - _NEIGHBOURHOOD_RADIUS < block.rows.stop
        and rows.stop + _NEIGHBOURHOOD_RADIUS > block.rows.start
    )


def _add_block(
    scored_object: _ObjectScore,
    reader: _BlockReader,
    regions: Regions,
    region_map: NDArray[np.int32],
    block: Block,
    classes: tuple[ClassInfo, ...],
) -> None:
    """Add a block of an object to its score."""
    height, width = region_map.shape
    top = block.rows.start
    rows = slice(
        max(0, scored_object.box[-2].start - _NEIGHBOURHOOD_RADIUS - top),
        max(0, min(height, scored_object.box[-2].stop + _NEIGHBOURHOOD_RADIUS - top)),
    )
    columns = slice(
        max(0, scored_object.box[-1].start - _NEIGHBOURHOOD_RADIUS),
        min(width, scored_object.box[-1].stop + _NEIGHBOURHOOD_RADIUS),
    )
    if rows.start >= rows.stop:
        return
    region_crop = region_map[rows, columns]
    is_class = regions.label_of_region[region_crop] == classes[scored_object.class_index].label
    mask = is_class & (region_crop == scored_object.region)
    view = reader.masked_view(scored_object.class_index, (rows, columns), mask, ~is_class | mask)
    scored_object.region_score.add_view(view, block.index, rows.start + top, columns.start)


def _scan_index(segmentation: Segmentation, timepoint: TimePoint, index: tuple[int, ...]) -> tuple[int, ...]:
    """Index of a plane along all leading axes of the scan, with time."""
    if timepoint.time is None:
        return index
    time_axis = segmentation.axes.index("t")
    return (*index[:time_axis], timepoint.time, *index[time_axis:])


def _at_timepoint(array: Any, segmentation: Segmentation, timepoint: TimePoint) -> Any:
    """An array `(K, *spatial)` at a time point."""
    if array is None or timepoint.time is None:
        return array
    return array[(slice(None), *(slice(None),) * segmentation.axes.index("t"), timepoint.time)]
