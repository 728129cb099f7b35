"""Measuring the classes of a segmentation, and each of their connected objects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation
from napari_latentseg.measure.diameters import diameters, run_ends
from napari_latentseg.measure.measurement import CALIBRATED, FROM_SAMPLES, INTERVAL_LEVEL, Measurement
from napari_latentseg.measure.physical_space import PhysicalSpace
from napari_latentseg.measure.region_sums import RegionSums, sum_regions
from napari_latentseg.measure.regions import Regions
from napari_latentseg.measure.sample_assignment import SampleAssignment, assign_samples
from napari_latentseg.measure.timepoint import TimePoint, timepoints
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.evaluation.calibration import VolumeInterval

__all__ = ["measure"]

_NO_SAMPLES = np.zeros(0)


def measure(
    segmentation: Segmentation,
    image: Scan | None = None,
    *,
    mask: Any = None,
    objects: bool = True,
    interval: VolumeInterval | None = None,
    progress: Progress = no_progress,
) -> tuple[Measurement, ...]:
    """Measure every class of a segmentation, and every connected object of each.

    Voxels that share a face, an edge or a corner belong to one object, also across slices, but not across
    time points. A class is measured as the mask shows it, without the classes that are its parts.

    Parameters
    ----------
    segmentation
        The segmentation. The spread of a class comes from `segmentation.volumes`. That of objects, and of
        time points, needs the samples themselves (`segmentation.sample_maps`); they are used without
        post-processing, at the threshold of the record.
    image
        The segmented image, for intensities.
    mask
        Edited label map instead of `segmentation.mask`. Sizes are those of the edited mask, the spread is
        that of the model's samples. A label that is no class of the model has no spread.
    objects
        Whether to measure objects too.
    interval
        Calibrated interval of the model card. It is used for classes, not for objects, if the samples have
        the source and the threshold it was calibrated with, are at least as many, and had no post-processing.
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
    usable_interval = interval if interval is not None and _interval_applies(interval, segmentation) else None
    timepoints_to_measure = timepoints(segmentation, segmentation.mask if mask is None else mask, image)
    step_count = sum(_count_steps(timepoint) for timepoint in timepoints_to_measure)
    steps_done = 0

    def advance() -> None:
        nonlocal steps_done
        steps_done += 1
        progress(min(1.0, steps_done / step_count))

    rows: list[Measurement] = []
    for timepoint in timepoints_to_measure:
        regions = Regions.from_objects(timepoint) if objects else Regions.from_classes(timepoint)
        region_sums = sum_regions(regions, segmentation.classes, advance)
        needs_assignment = objects or timepoint.time is not None or not len(segmentation.volumes)
        assignment = (
            assign_samples(regions, segmentation.classes, physical_space, advance)
            if needs_assignment
            else None
        )
        rows += _MeasurementRows(
            segmentation, timepoint, regions, region_sums, assignment, physical_space, usable_interval
        ).iter_measurements()
    progress(1.0)
    return tuple(replace(row, mask_state=segmentation.record.mask_state) for row in rows)


def _count_steps(timepoint: TimePoint) -> int:
    planes = int(np.prod(timepoint.shape[:-2], dtype=int))
    return sum(1 for _ in timepoint.blocks()) + planes * (timepoint.sample_count > 0)


def _interval_applies(interval: VolumeInterval, segmentation: Segmentation) -> bool:
    """Whether the samples were drawn as those that the interval was calibrated with."""
    record = segmentation.record
    if record.volumes_cleaned:
        return False
    same_threshold = math.isclose(record.threshold, interval.threshold, abs_tol=1e-6)
    return record.source == interval.source and same_threshold and record.samples >= interval.samples


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
        interval: VolumeInterval | None,
    ) -> None:
        self._segmentation, self._timepoint, self._regions = segmentation, timepoint, regions
        self._sums, self._assignment, self._space, self._interval = sums, assignment, space, interval
        self._run_ends: dict[int, NDArray[np.int64]] = {}
        if regions.are_objects:
            for region, box in enumerate(regions.bounding_boxes, start=1):
                self._run_ends[region] = run_ends(regions.region_mask(region)) + [s.start for s in box]

    def iter_measurements(self) -> Iterator[Measurement]:
        """All classes, then all objects."""
        class_labels = {info.label for info in self._segmentation.classes}
        other_labels = sorted({int(label) for label in self._regions.label_of_region[1:]} - class_labels)
        names = [(info.name, info.label) for info in self._segmentation.classes]
        names += [(f"label {label}", label) for label in other_labels]
        for name, label in names:
            yield self._measure_class(name, label)
        if self._regions.are_objects:
            for name, label in names:
                yield from self._measure_objects(name, label)

    def _measure_class(self, name: str, label: int) -> Measurement:
        regions = self._regions.regions_with_label(label)
        region_ends = (
            [self._run_ends[r] for r in regions]
            if self._regions.are_objects
            else self._sums.run_ends_by_label.get(label, [])
        )
        return self._measurement(
            name, label, 0, regions, region_ends, self._class_samples(self._class_index(label))
        )

    def _class_index(self, label: int) -> int | None:
        """Index of a class in the model; None for a label that is no class of it."""
        labels = [info.label for info in self._segmentation.classes]
        return labels.index(label) if label in labels else None

    def _class_samples(self, class_index: int | None) -> NDArray[np.float64]:
        """Area or volume of a class in each sample, `(n,)`."""
        if class_index is None:
            return _NO_SAMPLES
        if self._timepoint.time is None and len(self._segmentation.volumes):
            return self._segmentation.volumes[:, class_index]
        if self._assignment is None:
            return _NO_SAMPLES
        return np.asarray(
            self._assignment.class_counts[:, class_index] * self._space.voxel_volume, dtype=np.float64
        )

    def _measure_objects(self, name: str, label: int) -> Iterator[Measurement]:
        voxel_counts = self._sums.voxel_counts
        largest_first = sorted(self._regions.regions_with_label(label), key=lambda r: (-voxel_counts[r], r))
        is_class = self._class_index(label) is not None
        for number, region in enumerate(largest_first, start=1):
            samples = np.zeros(0)
            if len(largest_first) == 1:  # a single object gets all voxels of its class
                samples = self._class_samples(self._class_index(label))
            elif self._assignment is not None and is_class:
                samples = np.asarray(
                    self._assignment.region_counts[:, region] * self._space.voxel_volume, dtype=np.float64
                )
            yield self._measurement(name, label, number, [region], [self._run_ends[region]], samples)

    def _measurement(
        self,
        name: str,
        label: int,
        number: int,
        regions: Sequence[int],
        region_ends: Sequence[NDArray[np.int64]],
        samples: NDArray[np.float64],
    ) -> Measurement:
        sums, space, time = self._sums, self._space, self._timepoint.time
        region_ids = list(regions)
        voxel_count = int(sums.voxel_counts[region_ids].sum())
        fields: dict[str, Any] = self._sample_statistics(name, number, samples)
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

    def _sample_statistics(
        self, name: str, object_number: int, samples: NDArray[np.float64]
    ) -> dict[str, Any]:
        """Mean, standard deviation and interval of the samples of one row; empty with too few samples."""
        n = len(samples)
        if n < MIN_SAMPLES_FOR_VARIANCE or self._segmentation.record.source == "none":
            return {}
        mean, std = float(samples.mean()), float(samples.std(ddof=1))
        if object_number == 0 and self._interval is not None and name in self._interval.factors:
            low, high = self._interval.interval(name, samples)
            origin = CALIBRATED
        else:
            # prediction interval for one further sample of a normal distribution with unknown mean and
            # variance
            half_width = _student_quantile(n) * std * math.sqrt(1 + 1 / n)
            low, high, origin = max(0.0, mean - half_width), mean + half_width, FROM_SAMPLES
        return {"samples": n, "mean": mean, "std": std, "low": low, "high": high, "interval_source": origin}

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


def _student_quantile(n: int) -> float:
    """Two-sided quantile of Student's t with n - 1 degrees of freedom at `INTERVAL_LEVEL`."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + INTERVAL_LEVEL) / 2))
