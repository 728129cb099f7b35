"""One run of a model on a scan: which plane, which sample, and when it is enough."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.cut import mask_from
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.bands import bands_of, resized_bands
from napari_latentseg.inference.drawing import Drawing
from napari_latentseg.inference.outcome import segmentation_of
from napari_latentseg.inference.plane import Conditions, tiling_of
from napari_latentseg.inference.request import MOST_SAMPLES, Request, only_members
from napari_latentseg.inference.run_state import RunState
from napari_latentseg.inference.seen import look_at_plane
from napari_latentseg.inference.variation import Variation, variations
from napari_latentseg.models.folder import Model
from napari_latentseg.precision import Compute
from napari_latentseg.scan import Scan
from napari_latentseg.segmentation import Segmentation

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
    `result` may be asked for at any time. `Predictor.start` makes it.

    Parameters
    ----------
    model, compute
        What runs, and where.
    scan, request
        On what, and how.
    plane
        Which planes of a volume are worked on: see `napari_latentseg.views.seen_along`. The result lies as
        the scan does.

    Attributes
    ----------
    state
        What the run knows so far.

    Raises
    ------
    BadInput
        Where the scan has no such planes, slices or box, or what is asked for cannot be done on a scan of its
        size.
    """

    def __init__(
        self, model: Model, compute: Compute, scan: Scan, request: Request, plane: str = "acquired"
    ) -> None:
        card = model.card
        self.state = RunState.of(card, compute, scan, request, plane)
        self._model = model
        names = {c.name for c in self.state.classes}
        picks = [i for i, c in enumerate(card.classes) if c.name in names]
        self._drawing = Drawing(
            model, compute, request, None if request.classes is None else picks, self.state.notes
        )
        self._enough: set[int] = set()
        self._drawn = 0
        self._stream = (
            variations(card.augment, request.seed, step=model.method.size_multiple, size=card.preprocess.size)
            if request.source == "augment"
            else _the_same()
        )

    def more(self, samples: int) -> None:
        """Ask for further samples; iterate again to draw them. The result is that of a longer run.

        A run whose samples ended early goes on from there, and these are drawn whatever they change.

        Raises
        ------
        BadInput
            Where that makes no sense: none, too many in all, or of a source that gives equal samples.
        """
        state = self.state
        if state.request.source == "none":
            raise BadInput(
                "samples",
                f"{state.card.name} gives the same answer every time without a sampling source",
                "choose a source",
            )
        wanted = state.samples_wanted + samples
        if state.request.source == "members" and wanted > state.card.members:
            raise BadInput("samples", only_members(state.card), "choose another source for more")
        if samples < 1 or wanted > MOST_SAMPLES:
            raise BadInput("samples", f"must be 1 or more, and {MOST_SAMPLES} or less in all", "correct it")
        state.samples_asked = wanted
        state.stopping = None

    def order(self) -> list[int]:
        """The planes in the order they are worked on: outwards from the one asked for."""
        state = self.state
        first = min(max(state.request.first_plane, state.chosen[0]), state.chosen[-1])
        return sorted(state.chosen, key=lambda i: (abs(i - first), i))

    def __iter__(self) -> Iterator[Step]:
        state = self.state
        begun = time.perf_counter()
        before = state.seconds
        state.variations += islice(self._stream, max(0, state.samples_asked - len(state.variations)))
        self._model.to(state.compute)
        self._drawn = 0
        try:
            yield from self._look()
            # again, for planes without a find that ended before the number was settled
            while short := [plane for plane in self.order() if self._is_short(plane)]:
                for plane in short:
                    for step in self._plane(plane):
                        state.seconds = before + time.perf_counter() - begun
                        yield step
        finally:
            state.seconds = before + time.perf_counter() - begun

    def _look(self) -> Iterator[Step]:
        """Hash the values part by part, so that a dask array is not loaded whole and a stop is heard.

        The hash is the image's identity, `Scan.content_sha256`. Of a box it is that of the values in the
        box, its place and the shape of the image, so that what lies outside it is never read.
        """
        state = self.state
        if state.digest:
            return
        first = self.order()[0]
        for digest in state.scan.hashing(state.request.box):
            state.digest = digest
            if not digest:
                yield Step(0.0, first, int(state.ensemble.counts[first]), False)

    def _is_short(self, plane: int) -> bool:
        """Whether a plane lacks samples, as far as is known."""
        state = self.state
        waits = state.stopping is not None and state.stopping.number is None and plane in self._enough
        return bool(state.ensemble.counts[plane] < state.samples_wanted) and not waits

    def _done(self, part: float = 0.0) -> float:
        """How much of the work is done, with a part of the sample that is being drawn."""
        state = self.state
        left = sum(max(0, state.samples_wanted - int(state.ensemble.counts[i])) for i in state.chosen)
        return (self._drawn + part) / max(1, self._drawn + left)

    def _plane(self, plane: int) -> Iterator[Step]:
        state = self.state
        classes = len(state.classes)
        seen = look_at_plane(state.planes, plane, state.size, classes, state.limit)
        kept: Conditions = []
        while self._is_short(plane):
            sample = int(state.ensemble.counts[plane])
            variation = state.variations[sample]
            view = seen.varied(variation)
            tiling = tiling_of(view, state.card.preprocess)
            total = len(tiling.corners())
            canvas = seen.canvas(tiling)
            for laid in self._drawing.tiles(view, tiling, canvas, sample, kept if seen.may_keep else []):
                if laid < total:
                    yield Step(self._done(laid / total), plane, sample, False)
            restored = seen.undone(canvas, variation)
            bands = resized_bands(restored, state.size, state.planes.plane_shape, classes)
            native = ((rows, band.clamp(0, 1).numpy()) for rows, band in bands)
            change = state.ensemble.add_bands(
                plane, native, state.request.threshold, compared=state.stopping is not None
            )
            self._drawn += 1
            self._settle(plane, sample + 1, change)
            yield Step(self._done(), plane, sample, True)

    def _settle(self, plane: int, samples: int, change: float | None) -> None:
        """Take note where a plane has what it is to have."""
        state = self.state
        if state.stopping is None:
            enough = samples >= state.samples_asked
        else:
            enough = state.stopping.is_enough(plane, samples, change)
        if enough:
            state.settled[plane] = samples
            self._enough.add(plane)
        if state.stopping is not None and self._enough.issuperset(state.chosen):
            state.stopping.finish(int(state.ensemble.counts.max()))

    def preview(self, plane: int) -> NDArray[np.uint8]:
        """The mask of one plane from the samples so far, `(H, W)`, not cleaned; of a box, that part alone.

        Its place in the plane is `state.planes.place`.
        """
        state = self.state
        height, width = state.planes.plane_shape
        mask = np.empty((height, width), dtype=np.uint8)
        for band in bands_of(height, len(state.classes) * width):
            mean = state.ensemble.mean[plane, :, band]
            mask[band] = mask_from(mean, state.request.threshold, state.classes)
        return mask

    def result(self) -> Segmentation | None:
        """What there is so far, with its true number of samples; None where no sample is complete.

        Of a stack, the planes that were left with only a part of their samples show nothing, so that all
        that show something have as many as the record says. Where a run was stopped while it drew further
        samples, the record has the number that all planes have, and a note tells of planes with more.
        The arrays are the caller's own: a run that goes on does not change them. Beyond the limit of memory
        they are dask arrays of what lies on disk, and a run that goes on does change them. Of a box they are
        zero around it. Its axes and geometry are those of the scan, whichever plane was asked for.
        """
        return segmentation_of(self.state)


def _the_same() -> Iterator[Variation]:
    while True:
        yield Variation()
