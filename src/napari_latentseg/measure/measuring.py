"""Measuring a segmentation: its classes as a whole, and each of their objects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.measure.diameters import diameters, ends_of_lines
from napari_latentseg.measure.measurement import CALIBRATED, FROM_SAMPLES, LEVEL, Measurement
from napari_latentseg.measure.moment import Moment, moments
from napari_latentseg.measure.regions import Regions
from napari_latentseg.measure.shares import Shares, shares_of
from napari_latentseg.measure.space import Space
from napari_latentseg.measure.sums import Sums, sums_of
from napari_latentseg.progress import Progress, no_progress
from napari_latentseg.segmentation import MINIMUM_FOR_VARIANCE, Segmentation

if TYPE_CHECKING:
    from napari_latentseg.evaluation.calibration import VolumeInterval
    from napari_latentseg.scan import Scan

__all__ = ["measure"]

_NO_SAMPLES = np.zeros(0)


def measure(
    found: Segmentation,
    image: Scan | None = None,
    *,
    mask: Any = None,
    objects: bool = True,
    interval: VolumeInterval | None = None,
    progress: Progress = no_progress,
) -> tuple[Measurement, ...]:
    """Measure every class of a segmentation, and every object of each.

    Objects are what touches at a side, an edge or a corner, in a volume across its slices too, never from one
    point in time to another. A class is what the mask shows as it: without those of its parts that are
    classes of their own.

    Parameters
    ----------
    found
        The segmentation. The spread over its samples is that of `found.volumes` for the classes as a whole;
        of objects, and of points in time, it comes from the samples themselves, where they were kept
        (`found.maps`), as they were drawn: not cleaned, at the threshold of the record.
    image
        The image that was segmented, for the values inside.
    mask
        An edited mask in place of `found.mask`: sizes are then those of the person's mask, and the spread is
        still that of the model's samples. Labels that are no class of the model's are measured without one.
    objects
        Whether objects are told apart.
    interval
        The card's calibrated interval. It is used for the classes as a whole where the samples come from the
        source, at the threshold and in at least the number that it was calibrated with, and were not
        cleaned; never for objects.
    progress
        Called with the fraction done.

    Returns
    -------
    tuple of Measurement
        At every point in time: each class of the model as a whole, whether the mask has it or not, then the
        objects of each, the largest first.

    Raises
    ------
    BadInput
        Where mask or image do not have the shape of the result, or the mask is too large for its objects to
        be told apart.
    """
    space = Space.of(found.geometry, found.axes)
    fits = interval if interval is not None and _fits(interval, found) else None
    each = moments(found, found.mask if mask is None else mask, image)
    steps = sum(_steps(moment) for moment in each)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(min(1.0, done / steps))

    rows: list[Measurement] = []
    for moment in each:
        regions = Regions.of_objects(moment) if objects else Regions.classes(moment)
        sums = sums_of(regions, found.classes, step)
        wanted = objects or moment.time is not None or not len(found.volumes)
        shares = shares_of(regions, found.classes, space, step) if wanted else None
        rows += _Rows(found, moment, regions, sums, shares, space, fits).all()
    progress(1.0)
    return tuple(rows)


def _steps(moment: Moment) -> int:
    planes = int(np.prod(moment.shape[:-2], dtype=int))
    return sum(1 for _ in moment.parts()) + planes * (moment.samples > 0)


def _fits(interval: VolumeInterval, found: Segmentation) -> bool:
    """Whether the samples are such as the interval was calibrated with."""
    record = found.record
    if record.volumes_cleaned:
        return False
    same_cut = math.isclose(record.threshold, interval.threshold, abs_tol=1e-6)
    return record.source == interval.source and same_cut and record.samples >= interval.samples


class _Rows:
    """The rows of one point in time."""

    def __init__(
        self,
        found: Segmentation,
        moment: Moment,
        regions: Regions,
        sums: Sums,
        shares: Shares | None,
        space: Space,
        interval: VolumeInterval | None,
    ) -> None:
        self._found, self._moment, self._regions = found, moment, regions
        self._sums, self._shares, self._space, self._interval = sums, shares, space, interval
        self._ends: dict[int, NDArray[np.int64]] = {}
        if regions.objects:
            for region, box in enumerate(regions.boxes, start=1):
                self._ends[region] = ends_of_lines(regions.inside(region)) + [s.start for s in box]

    def all(self) -> Iterator[Measurement]:
        """Classes as a whole, then objects."""
        known = {info.label for info in self._found.classes}
        others = sorted({int(label) for label in self._regions.label_of[1:]} - known)
        names = [(info.name, info.label) for info in self._found.classes]
        names += [(f"label {label}", label) for label in others]
        for name, label in names:
            yield self._whole(name, label)
        if self._regions.objects:
            for name, label in names:
                yield from self._objects(name, label)

    def _whole(self, name: str, label: int) -> Measurement:
        regions = self._regions.members(label)
        elements = (
            [self._ends[r] for r in regions] if self._regions.objects else self._sums.ends.get(label, [])
        )
        return self._row(name, label, 0, regions, elements, self._whole_samples(self._number(label)))

    def _number(self, label: int) -> int | None:
        """The place of a class among the model's; None for a label that is none of them."""
        labels = [info.label for info in self._found.classes]
        return labels.index(label) if label in labels else None

    def _whole_samples(self, k: int | None) -> NDArray[np.float64]:
        """Of a class in each sample, `(n,)`."""
        if k is None:
            return _NO_SAMPLES
        if self._moment.time is None and len(self._found.volumes):
            return self._found.volumes[:, k]
        if self._shares is None:
            return _NO_SAMPLES
        return np.asarray(self._shares.classes[:, k] * self._space.size, dtype=np.float64)

    def _objects(self, name: str, label: int) -> Iterator[Measurement]:
        sizes = self._sums.count
        ordered = sorted(self._regions.members(label), key=lambda r: (-sizes[r], r))
        is_class = self._number(label) is not None
        for number, region in enumerate(ordered, start=1):
            samples = np.zeros(0)
            if len(ordered) == 1:  # all of every sample is nearest to it
                samples = self._whole_samples(self._number(label))
            elif self._shares is not None and is_class:
                samples = np.asarray(self._shares.regions[:, region] * self._space.size, dtype=np.float64)
            yield self._row(name, label, number, [region], [self._ends[region]], samples)

    def _row(
        self,
        name: str,
        label: int,
        number: int,
        regions: Sequence[int],
        ends: Sequence[NDArray[np.int64]],
        samples: NDArray[np.float64],
    ) -> Measurement:
        sums, space, time = self._sums, self._space, self._moment.time
        chosen = list(regions)
        count = int(sums.count[chosen].sum())
        fields: dict[str, Any] = self._spread(name, number, samples)
        if count:
            centre = sums.place[chosen].sum(axis=0) / count
            size = diameters(np.concatenate(ends), space.linear)
            fields |= {
                "centroid": tuple(float(v) for v in space.places(centre, time)),
                "longest": size.longest,
                "across": size.across,
                "box": self._box(chosen),
                "intensity": sums.intensity(chosen),
            }
            if self._number(label) is not None:
                fields["probability"] = float(sums.probability[chosen].sum() / count)
        return Measurement(
            name=name,
            label=label,
            object=number,
            time=time,
            value=count * space.size,
            unit=space.size_unit,
            length_unit=space.unit,
            **fields,
        )

    def _spread(self, name: str, number: int, samples: NDArray[np.float64]) -> dict[str, Any]:
        """Mean, standard deviation and interval of a row's samples."""
        n = len(samples)
        if n < MINIMUM_FOR_VARIANCE or self._found.record.source == "none":
            return {}
        mean, std = float(samples.mean()), float(samples.std(ddof=1))
        if number == 0 and self._interval is not None and name in self._interval.factors:
            low, high = self._interval.interval(name, samples)
            how = CALIBRATED
        else:
            reach = _student(n) * std * math.sqrt(1 + 1 / n)
            low, high, how = max(0.0, mean - reach), mean + reach, FROM_SAMPLES
        return {"samples": n, "mean": mean, "std": std, "low": low, "high": high, "interval_is": how}

    def _box(self, regions: Sequence[int]) -> tuple[tuple[int, int], ...]:
        boxes = [self._regions.boxes[r - 1] for r in regions]
        found = [
            (min(box[i].start for box in boxes), max(box[i].stop for box in boxes))
            for i in range(len(boxes[0]))
        ]
        if self._moment.time is not None:
            at = self._found.axes.index("t")
            found.insert(at, (self._moment.time, self._moment.time + 1))
        return tuple(found)


def _student(n: int) -> float:
    """How many standard deviations Student's t of n - 1 degrees of freedom reaches at `LEVEL`, both sides."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + LEVEL) / 2))
