"""One run of a model on a scan: which plane, which sample, and when it is enough."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.bands import bands_of, resized_bands
from napari_latentseg.inference.drawing import Drawing
from napari_latentseg.inference.ensemble import Ensemble
from napari_latentseg.inference.outcome import segmentation_of
from napari_latentseg.inference.plane import Conditions, tiling_of
from napari_latentseg.inference.request import MOST_SAMPLES, Request, only_members
from napari_latentseg.inference.room import memory_limit
from napari_latentseg.inference.seen import look_at_plane
from napari_latentseg.inference.stopping import Stopping
from napari_latentseg.inference.variation import Variation, variations
from napari_latentseg.planes import Planes
from napari_latentseg.sample_maps import SampleMaps
from napari_latentseg.scan import Scan
from napari_latentseg.segmentation import ClassInfo, Segmentation, inside_of, mask_from

if TYPE_CHECKING:
    from napari_latentseg.inference.predictor import Predictor

__all__ = ["Run", "Step"]


@dataclass(frozen=True)
class Step:
    """Where a run stands, given after every batch of tiles.

    Attributes
    ----------
    done
        Fraction of the whole, in [0, 1]; where samples end early, it leaps.
    plane, sample
        Which plane is worked on, and which of its samples, both from 0.
    finished
        Whether that sample is complete with this step.
    """

    done: float
    plane: int
    sample: int
    finished: bool


class Run:
    """One run of a model on a scan.

    Iterating does the work and yields a `Step` after every batch of tiles; whoever stops iterating cancels.
    `result` may be asked for at any time.

    Parameters
    ----------
    predictor, scan, request
        What runs, on what, and how.

    Attributes
    ----------
    planes
        Of the scan, or a box of them.
    classes
        Those that are looked for.
    ensemble
        What the samples gave so far, of the box alone where there is one.
    chosen
        The planes that are worked on.
    size
        Height and width that these are resized to.
    settled
        For each plane, with how many samples it last had all that it was to have; 0 for never.
    drawing
        Draws the tiles.
    stopping
        What ends the samples early; None where nothing does.
    variations
        How each sample varies the image, as far as they are asked for.
    notes
        What a person should know of the scan, in plain words.
    limit
        Bytes of memory: see `Request`.
    digest
        The hash of the values, see `Scan.hashing`; empty before the run has begun.
    seconds
        That the run has taken.

    Raises
    ------
    BadInput
        Where the scan has no such slices or box, or what is asked for cannot be done on a scan of its size.
    """

    def __init__(self, predictor: Predictor, scan: Scan, request: Request) -> None:
        self.predictor = predictor
        self.scan = scan
        self.request = request
        self.planes = Planes.of(scan)
        if request.box is not None:
            self.planes = self.planes.within(request.box)
        self.card = predictor.model.card
        self.classes = _asked_for(self.card.classes, request.classes)
        self.notes = [*scan.notes, *self.planes.notes]
        self.limit = memory_limit(request.memory_limit)
        self.chosen = _chosen(request, len(self.planes))
        self.size = self._working_size()
        maps = SampleMaps(
            len(self.classes), len(self.planes), self.planes.whole_shape,
            self.limit // 4, leading=scan.spatial_shape[:-2], box=request.box,
        )  # fmt: skip
        self.ensemble = Ensemble(
            len(self.classes), len(self.planes), self.planes.plane_shape, inside_of(self.classes),
            self.limit, maps if request.keep_samples else None,
        )  # fmt: skip
        if request.cleanup.is_active and self.ensemble.is_on_disk:
            raise BadInput(
                "cleanup",
                "the mask would be too large to be cleaned in memory",
                "work on a box, or leave it out",
            )
        picks = [i for i, c in enumerate(self.card.classes) if c.name in {k.name for k in self.classes}]
        self.drawing = Drawing(
            predictor.model, predictor.compute, request, None if request.classes is None else picks
        )
        self.settled = np.zeros(len(self.planes), dtype=np.int64)
        self.seconds = 0.0
        self.digest = ""
        self._wanted = request.samples
        self.stopping = None if request.tolerance is None else Stopping(request.tolerance, self._wanted)
        self._enough: set[int] = set()
        self._drawn = 0
        self._stream = (
            variations(
                self.card.augment,
                request.seed,
                step=predictor.model.method.size_multiple,
                size=self.card.preprocess.size,
            )
            if request.source == "augment"
            else _the_same()
        )
        self.variations: list[Variation] = []

    def _working_size(self) -> tuple[int, int]:
        """Height and width that what is worked on is resized to: of a box in tiles, at the plane's scale."""
        preprocess, (height, width) = self.card.preprocess, self.planes.whole_shape
        whole = preprocess.working_size(height, width, self.planes.spacing)
        if preprocess.mode == "whole" or self.planes.plane_shape == (height, width):
            return whole
        rows, columns = self.planes.plane_shape
        return max(1, round(rows * whole[0] / height)), max(1, round(columns * whole[1] / width))

    def more(self, samples: int) -> None:
        """Ask for further samples; iterate again to draw them. The result is that of a longer run.

        A run whose samples ended early goes on from there, and these are drawn whatever they change.

        Raises
        ------
        BadInput
            Where that makes no sense: none, too many in all, or of a source that gives equal samples.
        """
        if self.request.source == "none":
            raise BadInput(
                "samples",
                f"{self.card.name} gives the same answer every time without a sampling source",
                "choose a source",
            )
        wanted = self.samples_wanted + samples
        if self.request.source == "members" and wanted > self.card.members:
            raise BadInput("samples", only_members(self.card), "choose another source for more")
        if samples < 1 or wanted > MOST_SAMPLES:
            raise BadInput("samples", f"must be 1 or more, and {MOST_SAMPLES} or less in all", "correct it")
        self._wanted = wanted
        self.stopping = None

    @property
    def samples_asked(self) -> int:
        """How many samples were asked for."""
        return self._wanted

    @property
    def samples_settled(self) -> int | None:
        """With how many samples a run that may end early does; None before that is known, and without it."""
        return None if self.stopping is None else self.stopping.number

    @property
    def samples_wanted(self) -> int:
        """How many samples each plane is to have, as far as that is known."""
        return self.samples_settled or self._wanted

    @property
    def box_slices(self) -> tuple[slice, slice]:
        """The rows and columns of the planes that are worked on, where `preview` belongs."""
        return self.planes.place

    def order(self) -> list[int]:
        """The planes in the order they are worked on: outwards from the one asked for."""
        first = min(max(self.request.first_plane, self.chosen[0]), self.chosen[-1])
        return sorted(self.chosen, key=lambda i: (abs(i - first), i))

    def __iter__(self) -> Iterator[Step]:
        begun = time.perf_counter()
        before = self.seconds
        self.variations += islice(self._stream, max(0, self._wanted - len(self.variations)))
        self.predictor.move()
        self._drawn = 0
        try:
            yield from self._look()
            # again, for planes without a find that ended before the number was settled
            while short := [plane for plane in self.order() if self._is_short(plane)]:
                for plane in short:
                    for step in self._plane(plane):
                        self.seconds = before + time.perf_counter() - begun
                        yield step
        finally:
            self.seconds = before + time.perf_counter() - begun

    def _look(self) -> Iterator[Step]:
        """Hash the values part by part, so that a dask array is not loaded whole and a stop is heard.

        The hash is the image's identity, `Scan.content_sha256`. Of a box it is that of the values in the
        box, its place and the shape of the image, so that what lies outside it is never read.
        """
        if self.digest:
            return
        first = self.order()[0]
        for digest in self.scan.hashing(self.request.box):
            self.digest = digest
            if not digest:
                yield Step(0.0, first, int(self.ensemble.counts[first]), False)

    def _is_short(self, plane: int) -> bool:
        """Whether a plane lacks samples, as far as is known."""
        waits = self.stopping is not None and self.stopping.number is None and plane in self._enough
        return bool(self.ensemble.counts[plane] < self.samples_wanted) and not waits

    def _done(self, part: float = 0.0) -> float:
        """How much of the work is done, with a part of the sample that is being drawn."""
        left = sum(max(0, self.samples_wanted - int(self.ensemble.counts[i])) for i in self.chosen)
        return (self._drawn + part) / max(1, self._drawn + left)

    def _plane(self, plane: int) -> Iterator[Step]:
        classes = len(self.classes)
        seen = look_at_plane(self.planes, plane, self.size, classes, self.limit)
        kept: Conditions = []
        while self._is_short(plane):
            sample = int(self.ensemble.counts[plane])
            variation = self.variations[sample]
            view = seen.varied(variation)
            tiling = tiling_of(view, self.card.preprocess)
            total = len(tiling.corners())
            canvas = seen.canvas(tiling)
            for laid in self.drawing.tiles(view, tiling, canvas, sample, kept if seen.may_keep else []):
                if laid < total:
                    yield Step(self._done(laid / total), plane, sample, False)
            found = seen.undone(canvas, variation)
            bands = resized_bands(found, self.size, self.planes.plane_shape, classes)
            native = ((rows, band.clamp(0, 1).numpy()) for rows, band in bands)
            change = self.ensemble.add_bands(
                plane, native, self.request.threshold, compared=self.stopping is not None
            )
            self._drawn += 1
            self._settle(plane, sample + 1, change)
            yield Step(self._done(), plane, sample, True)

    def _settle(self, plane: int, samples: int, change: float | None) -> None:
        """Take note where a plane has what it is to have."""
        if self.stopping is None:
            enough = samples >= self._wanted
        else:
            enough = self.stopping.is_enough(plane, samples, change)
        if enough:
            self.settled[plane] = samples
            self._enough.add(plane)
        if self.stopping is not None and self._enough.issuperset(self.chosen):
            self.stopping.finish(int(self.ensemble.counts.max()))

    def preview(self, plane: int) -> NDArray[np.uint8]:
        """The mask of one plane from the samples so far, `(H, W)`, not cleaned; of a box, that part alone.

        Its place in the plane is `box_slices`.
        """
        height, width = self.planes.plane_shape
        found = np.empty((height, width), dtype=np.uint8)
        for band in bands_of(height, len(self.classes) * width):
            mean = self.ensemble.mean[plane, :, band]
            found[band] = mask_from(mean, self.request.threshold, self.classes)
        return found

    def result(self) -> Segmentation | None:
        """What there is so far, with its true number of samples; None where no sample is complete.

        Of a stack, the planes that were left with only a part of their samples show nothing, so that all
        that show something have as many as the record says. Where a run was stopped while it drew further
        samples, the record has the number that all planes have, and a note tells of planes with more.
        The arrays are the caller's own: a run that goes on does not change them. Beyond the limit of memory
        they are dask arrays of what lies on disk, and a run that goes on does change them. Of a box they are
        zero around it.
        """
        return segmentation_of(self)


def _chosen(request: Request, count: int) -> range:
    """The planes to work on.

    Raises
    ------
    BadInput
        Where the scan has no such planes.
    """
    first, last = request.slices or (0, count - 1)
    if last >= count:
        raise BadInput("slices", f"end at {last + 1}, but the scan has {count}", f"use 1 to {count}")
    return range(first, last + 1)


def _asked_for(classes: tuple[ClassInfo, ...], names: tuple[str, ...] | None) -> tuple[ClassInfo, ...]:
    """The classes with these names; what they include is what is left of it."""
    if names is None:
        return classes
    found = []
    for info, parts in zip(classes, inside_of(classes), strict=True):
        if info.name in names:
            kept = tuple(classes[i].name for i in sorted(parts) if classes[i].name in names)
            found.append(info.model_copy(update={"includes": kept}))
    return tuple(found)


def _the_same() -> Iterator[Variation]:
    while True:
        yield Variation()
