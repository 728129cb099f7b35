"""Segmenting many scans: their tiles share batches, and the next scan is read while one is computed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from typing import Generic, TypeVar

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.run import Run
from napari_latentseg.inference.sample_job import SampleJob
from napari_latentseg.inference.settings import InferenceSettings

__all__ = ["segment_each"]

Key = TypeVar("Key")

# Arrays of the scans under way. A batch holds tiles of many small images, or of a part of one volume: that of
# a small computer's memory is enough for either.
_MAX_BYTES = 512 * 2**20


def segment_each(
    predictor: Predictor,
    scans: Iterable[tuple[Key, Scan | BadInput]],
    settings: InferenceSettings,
    on_sample: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Key, Segmentation | BadInput]]:
    """Segment scans; one that cannot be segmented does not stop the others.

    Each result equals that of `Predictor.segment`, but for rounding: tiles of several scans go through the
    networks together, which round differently in batches of another size.

    Parameters
    ----------
    predictor
        The model.
    scans
        Any object that names a scan, such as its case, and the scan; or why it could not be read. Taken in
        another thread, ahead of what is computed, as far as the scans under way fit into half a gigabyte.
    settings
        Of each run.
    on_sample
        Called when a sample of a slice is complete, in the thread of the caller.

    Yields
    ------
    key, result
        In the order of the scans: the segmentation, or why there is none.
    """
    stream = _Stream(predictor, iter(scans), settings, on_sample)
    while stream.has_more():
        yield from stream.segment_group()


@dataclass(eq=False)
class _Item(Generic[Key]):
    """A scan under way.

    Attributes
    ----------
    run
        None where the scan could not be read or the run not be started.
    missing_samples
        How many are still to be drawn; None while they are not counted.
    """

    key: Key
    scan: Scan | BadInput
    run: Run | None = None
    error: BadInput | None = None
    missing_samples: int | None = None
    start_time: float = field(default_factory=time.perf_counter)

    @property
    def is_done(self) -> bool:
        return self.error is not None or self.missing_samples == 0

    @property
    def nbytes(self) -> int:
        """Bytes of the scan and of the sums over its samples."""
        if self.run is None or not isinstance(self.scan, Scan):
            return 0
        state = self.run.state
        sums = 0 if state.ensemble.is_on_disk else 2 * state.ensemble.mean.nbytes
        return int(self.scan.array.nbytes) + sums


class _Stream(Generic[Key]):
    """Scans in groups that fit into memory together; see `segment_each`."""

    def __init__(
        self,
        predictor: Predictor,
        scans: Iterator[tuple[Key, Scan | BadInput]],
        settings: InferenceSettings,
        on_sample: Callable[[], None],
    ) -> None:
        self._on_sample = on_sample
        self._predictor = predictor
        self._scans = scans
        self._settings = settings
        self._start_like_first: Callable[[Scan, InferenceSettings], Run] | None = None
        self._next: _Item[Key] | None = None  # already read; begins the next group
        self._items: deque[_Item[Key]] = deque()  # of the group, until they are yielded
        self._item_of_job: dict[SampleJob, _Item[Key]] = {}

    def has_more(self) -> bool:
        """Whether there is another scan; reads it."""
        if self._next is None:
            self._next = self._read()
        return self._next is not None

    def segment_group(self) -> Iterator[tuple[Key, Segmentation | BadInput]]:
        """Segment as many scans as fit into memory together; call `has_more` before."""
        first, self._next = self._next, None
        assert first is not None
        # with early stopping, how many samples a scan needs is known only while they are drawn
        if first.run is None or self._settings.tolerance is not None:
            yield first.key, self._segment_alone(first)
            return
        self._items.append(first)
        drawing = first.run.sampler.draw(self._jobs(first))
        try:
            for tiles in drawing:
                for job in dict.fromkeys(tile.job for tile in tiles or ()):
                    if job.is_complete:
                        self._add_sample(job)
                yield from self._results()
        except BadInput as error:
            # which of several scans is to blame is found by computing each alone
            if len(self._items) == 1:
                first.error = error
        finally:
            drawing.close()
        self._item_of_job.clear()
        yield from self._results()
        while self._items:
            item = self._items.popleft()
            yield item.key, self._segment_alone(item)

    def _read(self) -> _Item[Key] | None:
        """The next scan with its run."""
        for key, scan in self._scans:
            item = _Item(key, scan, error=scan if isinstance(scan, BadInput) else None)
            if isinstance(scan, Scan):
                try:
                    item.run = self._start(scan)
                except BadInput as error:
                    item.error = error
            return item
        return None

    def _start(self, scan: Scan) -> Run:
        """A run of a scan, with the engines of the first scan: to open an engine reads all weights."""
        if self._start_like_first is not None:
            return self._start_like_first(scan, self._settings)
        run = self._predictor.start(scan, self._settings)
        self._start_like_first = partial(Run, run.model, run.engines, run.state.compute)
        return run

    def _jobs(self, first: _Item[Key]) -> Iterator[SampleJob]:
        """The samples of a group; called in another thread."""
        assert first.run is not None
        batch_size = first.run.sampler.tiles_per_batch
        single: list[Iterator[SampleJob]] = []  # of images that are one tile each
        for item in self._group(first):
            if item.run is None:
                continue
            state = item.run.state
            is_single = len(state.plane_indices) == 1 and state.card.preprocess.mode == "whole"
            jobs = self._jobs_of(item, item.run)
            if is_single:
                single.append(jobs)
            if len(single) == batch_size or not is_single:
                yield from _sample_by_sample(single)
                single.clear()
            if not is_single:
                yield from jobs
        yield from _sample_by_sample(single)

    def _group(self, first: _Item[Key]) -> Iterator[_Item[Key]]:
        """Scans that fit into memory together with those that are not done."""
        yield first
        while (item := self._read()) is not None:
            if sum(other.nbytes for other in self._items.copy()) + item.nbytes > _MAX_BYTES:
                self._next = item
                return
            self._items.append(item)
            yield item

    def _jobs_of(self, item: _Item[Key], run: Run) -> Iterator[SampleJob]:
        planned = run.plan()
        item.missing_samples = len(planned)
        for job in run.jobs(planned):
            self._item_of_job[job] = item
            yield job

    def _add_sample(self, job: SampleJob) -> None:
        item = self._item_of_job.pop(job)
        assert item.run is not None
        assert item.missing_samples is not None
        item.run.add_sample(job)
        item.missing_samples -= 1
        self._on_sample()

    def _results(self) -> Iterator[tuple[Key, Segmentation | BadInput]]:
        """What is done, as far as nothing before it is missing."""
        while self._items and self._items[0].is_done:
            item = self._items.popleft()
            yield item.key, item.error or self._result(item)

    def _result(self, item: _Item[Key]) -> Segmentation | BadInput:
        assert item.run is not None
        item.run.state.seconds = time.perf_counter() - item.start_time
        try:
            result = item.run.result()
        except BadInput as error:
            return error
        assert result is not None
        return result

    def _segment_alone(self, item: _Item[Key]) -> Segmentation | BadInput:
        if item.error is not None:
            return item.error
        assert isinstance(item.scan, Scan)
        try:
            return self._predictor.segment(item.scan, self._settings)
        except BadInput as error:
            return error


def _sample_by_sample(jobs: Iterable[Iterator[SampleJob]]) -> Iterator[SampleJob]:
    """The first sample of each scan, then the second of each, and so on.

    Samples of one number share a batch: those of other members need another network, and the first one, the
    image as it is, is smaller than the augmented ones.
    """
    for samples in zip_longest(*jobs):
        yield from filter(None, samples)
