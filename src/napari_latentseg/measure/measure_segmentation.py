"""Measuring the classes of a segmentation, and each of their connected objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import class_descendants, with_parts
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure.diameters import diameters, run_ends
from napari_latentseg.measure.interval_basis import CalibratedCard
from napari_latentseg.measure.measurement import Measurement
from napari_latentseg.measure.physical_space import PhysicalSpace
from napari_latentseg.measure.region_sums import RegionSums, sum_regions
from napari_latentseg.measure.regions import Regions
from napari_latentseg.measure.sample_assignment import SampleAssignment, assign_samples
from napari_latentseg.measure.size_interval import SizeStatistics
from napari_latentseg.measure.timepoint import TimePoint, timepoints
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.core.scan import Scan

__all__ = ["class_names", "measure"]


def measure(
    segmentation: Segmentation,
    image: Scan | None = None,
    *,
    mask: Any = None,
    objects: bool = True,
    card: CalibratedCard | None = None,
    progress: Progress = no_progress,
) -> tuple[Measurement, ...]:
    """Measure every class of a segmentation, and every connected object of each.

    Voxels that share a face, an edge or a corner belong to one object, also across slices, but not across
    time points. A class is measured with the classes that are its parts, as its outline encloses them: an
    organ with its tumours (`Measurement.includes`). A part has its own rows, too.

    Parameters
    ----------
    segmentation
        The segmentation. The spread of a class comes from `segmentation.volumes`. That of objects, and of
        time points, needs the samples themselves (`segmentation.sample_maps`); they are used without
        post-processing, at the threshold of the record.
    image
        The segmented image, for intensities.
    mask
        Edited label map instead of `segmentation.mask`. Sizes are those of the edited mask; the spread is
        that of the model's samples, and an interval holds the size in the model's mask. A label that is no
        class of the model has no spread.
    objects
        Whether to measure objects too.
    card
        Card of the model, whose calibrated interval is used for classes where
        `napari_latentseg.measure.interval_basis.interval_basis` finds it valid.
    progress
        Called with the fraction that is done, in [0, 1].

    Returns
    -------
    tuple of Measurement
        For every time point: each class of the model, even if the mask lacks it, then the objects of each
        class, the largest first.

    Raises
    ------
    BadInput
        If mask or image have another shape than the segmentation, or the mask is too large to label its
        objects.
    """
    physical_space = PhysicalSpace.from_geometry(segmentation.geometry, segmentation.axes)
    statistics = SizeStatistics.of(segmentation, card)
    measured_mask, model_mask = segmentation.mask if mask is None else mask, segmentation.mask_of_model()
    timepoints_to_measure = timepoints(segmentation, measured_mask, image)
    model_timepoints = None if measured_mask is model_mask else timepoints(segmentation, model_mask, None)
    with_parts_of = [k for k, parts in enumerate(class_descendants(segmentation.classes)) if parts]
    passes = 1 + len(with_parts_of)
    step_count = passes * sum(_count_steps(timepoint) for timepoint in timepoints_to_measure)
    steps_done = 0

    def advance() -> None:
        nonlocal steps_done
        steps_done += 1
        progress(min(1.0, steps_done / step_count))

    def rows_of(timepoint: TimePoint, model_timepoint: TimePoint | None) -> _MeasurementRows:
        return _rows_of(
            segmentation, timepoint, model_timepoint, physical_space, statistics, advance, objects=objects
        )

    rows: list[Measurement] = []
    for number, timepoint in enumerate(timepoints_to_measure):
        of_model = None if model_timepoints is None else model_timepoints[number]
        rows_of_labels = rows_of(timepoint, of_model)
        names = rows_of_labels.names()
        rows_of_label = {label: rows_of_labels for _, label in names}
        for k in with_parts_of:
            rows_of_label[segmentation.classes[k].label] = rows_of(
                timepoint.with_parts_of(k), None if of_model is None else of_model.with_parts_of(k)
            )
        rows += [rows_of_label[label].measure_class(name, label) for name, label in names]
        if objects:
            for name, label in names:
                rows += rows_of_label[label].measure_objects(name, label)
    progress(1.0)
    return tuple(replace(row, mask_state=segmentation.record.mask_state) for row in rows)


def _rows_of(
    segmentation: Segmentation,
    timepoint: TimePoint,
    model_timepoint: TimePoint | None,
    space: PhysicalSpace,
    statistics: SizeStatistics,
    advance: Callable[[], None],
    *,
    objects: bool,
) -> _MeasurementRows:
    """Sum up the regions of a time point; `advance` is called after each step of `_count_steps`."""
    regions = Regions.from_objects(timepoint) if objects else Regions.from_classes(timepoint)
    sums = sum_regions(regions, segmentation.classes, advance)
    assignment = None
    if objects or timepoint.time is not None or not len(segmentation.volumes):
        assignment = assign_samples(regions, segmentation.classes, space, advance)
    model_counts = None if model_timepoint is None else model_timepoint.label_counts()
    return _MeasurementRows(
        segmentation, timepoint, regions, sums, assignment, space, statistics, model_counts
    )


def _count_steps(timepoint: TimePoint) -> int:
    planes = int(np.prod(timepoint.shape[:-2], dtype=int))
    return sum(1 for _ in timepoint.blocks()) + planes * (timepoint.sample_count > 0)


def class_names(segmentation: Segmentation, labels: Iterable[int]) -> list[tuple[str, int]]:
    """Name and label of each class of the model, then of each other label of a mask, without 0."""
    class_labels = {info.label for info in segmentation.classes}
    added = {info.label: info.name for info in segmentation.record.added_classes}
    other_labels = sorted(set(labels) - class_labels - {0})
    names = [(info.name, info.label) for info in segmentation.classes]
    return names + [(added.get(label, f"label {label}"), label) for label in other_labels]


class _MeasurementRows:
    """Makes the rows of one time point from its sums."""

    def __init__(
        self,
        segmentation: Segmentation,
        timepoint: TimePoint,
        regions: Regions,
        sums: RegionSums,
        assignment: SampleAssignment | None,
        space: PhysicalSpace,
        statistics: SizeStatistics,
        model_counts: NDArray[np.int64] | None,
    ) -> None:
        self._segmentation, self._timepoint, self._regions = segmentation, timepoint, regions
        self._sums, self._assignment, self._space, self._statistics = sums, assignment, space, statistics
        self._model_counts = model_counts  # voxels of each label in the model's mask, None if it is measured
        self._run_ends: dict[int, NDArray[np.int64]] = {}
        if regions.are_objects:
            for region, box in enumerate(regions.bounding_boxes, start=1):
                self._run_ends[region] = run_ends(regions.region_mask(region)) + [s.start for s in box]

    def names(self) -> list[tuple[str, int]]:
        """See `class_names`."""
        return class_names(self._segmentation, (int(label) for label in self._regions.label_of_region))

    def measure_class(self, name: str, label: int) -> Measurement:
        """The row of a class as a whole."""
        regions = self._regions.regions_with_label(label)
        region_ends = (
            [self._run_ends[r] for r in regions]
            if self._regions.are_objects
            else self._sums.run_ends_by_label.get(label, [])
        )
        voxel_count = int(self._sums.voxel_counts[list(regions)].sum())
        fields = self._statistics.class_fields(
            name, label, self._class_volumes, voxel_count,
            voxel_count if self._model_counts is None else int(self._model_counts[label]),
            has_time=self._timepoint.time is not None,
        )  # fmt: skip
        return self._measurement(name, label, 0, regions, region_ends, fields)

    def _class_index(self, label: int) -> int | None:
        """Index of a class in the model; None for a label that is not a class of it."""
        labels = [info.label for info in self._segmentation.classes]
        return labels.index(label) if label in labels else None

    @property
    def _class_volumes(self) -> NDArray[np.float64]:
        """Area or volume of each class with its parts in each sample, `(n, K)`; n = 0 without samples.

        Right for the classes that the regions are of.
        """
        if self._timepoint.time is None and len(self._segmentation.volumes):
            return with_parts(self._segmentation.volumes, self._segmentation.classes)
        if self._assignment is None:
            return np.zeros((0, len(self._segmentation.classes)))
        return np.asarray(self._assignment.class_counts * self._space.voxel_volume, dtype=np.float64)

    def measure_objects(self, name: str, label: int) -> Iterator[Measurement]:
        """The rows of the objects of a class, the largest first."""
        voxel_counts = self._sums.voxel_counts
        largest_first = sorted(self._regions.regions_with_label(label), key=lambda r: (-voxel_counts[r], r))
        class_index = self._class_index(label)
        for number, region in enumerate(largest_first, start=1):
            samples = np.zeros(0)
            if class_index is not None and len(largest_first) == 1:
                samples = self._class_volumes[:, class_index]  # it gets all voxels of its class
            elif class_index is not None and self._assignment is not None:
                samples = np.asarray(
                    self._assignment.region_counts[:, region] * self._space.voxel_volume, dtype=np.float64
                )
            value = float(voxel_counts[region] * self._space.voxel_volume)
            fields = self._statistics.object_fields(name, samples, value) if class_index is not None else {}
            fields["includes"] = self._statistics.parts_of(label)
            yield self._measurement(name, label, number, [region], [self._run_ends[region]], fields)

    def _measurement(
        self,
        name: str,
        label: int,
        number: int,
        regions: Sequence[int],
        region_ends: Sequence[NDArray[np.int64]],
        fields: dict[str, Any],
    ) -> Measurement:
        sums, space, time = self._sums, self._space, self._timepoint.time
        region_ids = list(regions)
        voxel_count = int(sums.voxel_counts[region_ids].sum())
        if voxel_count:
            centre = sums.index_sums[region_ids].sum(axis=0) / voxel_count
            object_diameters = diameters(np.concatenate(region_ends), space.linear)
            fields |= {
                "centroid": tuple(float(v) for v in space.to_world(centre, time)),
                "long_axis": object_diameters.long_axis,
                "short_axis": object_diameters.short_axis,
                "box": self._bounding_box(region_ids),
                "intensity": sums.intensity(region_ids),
            }
            if self._class_index(label) is not None:
                fields["probability"] = float(sums.probability_sums[region_ids].sum() / voxel_count)
        return Measurement(
            name=name,
            label=label,
            object_number=number,
            time=time,
            value=voxel_count * space.voxel_volume,
            unit=space.volume_unit,
            length_unit=space.unit,
            **fields,
        )

    def _bounding_box(self, regions: Sequence[int]) -> tuple[tuple[int, int], ...]:
        boxes = [self._regions.bounding_boxes[r - 1] for r in regions]
        bounds = [
            (min(box[i].start for box in boxes), max(box[i].stop for box in boxes))
            for i in range(len(boxes[0]))
        ]
        if self._timepoint.time is not None:
            time_axis = self._segmentation.axes.index("t")
            bounds.insert(time_axis, (self._timepoint.time, self._timepoint.time + 1))
        return tuple(bounds)
