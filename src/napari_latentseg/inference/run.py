"""One run of a model on a scan: which plane, which sample, and when it is enough."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.banded_resize import resize_in_bands, row_bands
from napari_latentseg.inference.result import build_segmentation
from napari_latentseg.inference.run_state import RunState
from napari_latentseg.inference.sampler import Sampler
from napari_latentseg.inference.settings import MAX_SAMPLES, InferenceSettings, members_limit_message
from napari_latentseg.inference.tile_inference import ConditioningCache, make_tiling
from napari_latentseg.inference.tta import TTATransform, tta_transforms
from napari_latentseg.inference.working_plane import open_plane
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import Compute

__all__ = ["Run", "RunProgress"]


@dataclass(frozen=True)
class RunProgress:
    """Where a run stands, given after every batch of tiles.

    Attributes
    ----------
    fraction
        Fraction of the whole, in [0, 1]; where samples end early, it leaps.
    plane, sample
        Which plane is worked on, and which of its samples, both from 0.
    is_sample_complete
        Whether that sample is complete with this step.
    """

    fraction: float
    plane: int
    sample: int
    is_sample_complete: bool


class Run:
    """One run of a model on a scan.

    Iterating does the work and yields a `Step` after every batch of tiles; whoever stops iterating cancels.
    `result` may be asked for at any time. `Predictor.start` makes it.

    Parameters
    ----------
    model, compute
        What runs, and where.
    scan, settings
        On what, and how.
    plane
        Which planes of a volume are worked on: see `napari_latentseg.core.reorient.reorient`. The result lies as
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
        self, model: Model, compute: Compute, scan: Scan, settings: InferenceSettings, plane: str = "acquired"
    ) -> None:
        card = model.card
        self.state = RunState.of(card, compute, scan, settings, plane)
        self._model = model
        names = {c.name for c in self.state.classes}
        class_indices = [i for i, c in enumerate(card.classes) if c.name in names]
        self._drawing = Sampler(
            model, compute, settings, None if settings.classes is None else class_indices, self.state.notes
        )
        self._completed_planes: set[int] = set()
        self._drawn_count = 0
        self._transform_stream = (
            tta_transforms(
                card.augment,
                settings.seed,
                latent_step=model.method.size_multiple,
                tile_size=card.preprocess.size,
            )
            if settings.source == "augment"
            else _identity_transforms()
        )

    def extend(self, additional: int) -> None:
        """Ask for further samples; iterate again to draw them. The result is that of a longer run.

        A run whose samples ended early goes on from there, and these are drawn whatever they change.

        Raises
        ------
        BadInput
            Where that makes no sense: none, too many in all, or of a source that gives equal samples.
        """
        state = self.state
        if state.settings.source == "none":
            raise BadInput(
                "samples",
                f"{state.card.name} gives the same answer every time without a sampling source",
                "choose a source",
            )
        total = state.target_samples + additional
        if state.settings.source == "members" and total > state.card.members:
            raise BadInput("samples", members_limit_message(state.card), "choose another source for more")
        if additional < 1 or total > MAX_SAMPLES:
            raise BadInput("samples", f"must be 1 or more, and {MAX_SAMPLES} or less in all", "correct it")
        state.requested_samples = total
        state.stopper = None

    def plane_order(self) -> list[int]:
        """The planes in the order they are worked on: outwards from the one asked for."""
        state = self.state
        first = min(max(state.settings.first_plane, state.plane_indices[0]), state.plane_indices[-1])
        return sorted(state.plane_indices, key=lambda i: (abs(i - first), i))

    def __iter__(self) -> Iterator[RunProgress]:
        state = self.state
        start_time = time.perf_counter()
        seconds_before = state.seconds
        state.tta_transforms += islice(
            self._transform_stream, max(0, state.requested_samples - len(state.tta_transforms))
        )
        self._model.to(state.compute)
        self._drawn_count = 0
        try:
            yield from self._hash_input()
            # again, for planes without a find that ended before the number was settled
            while incomplete_planes := [plane for plane in self.plane_order() if self._needs_samples(plane)]:
                for plane in incomplete_planes:
                    for progress in self._sample_plane(plane):
                        state.seconds = seconds_before + time.perf_counter() - start_time
                        yield progress
        finally:
            state.seconds = seconds_before + time.perf_counter() - start_time

    def _hash_input(self) -> Iterator[RunProgress]:
        """Hash the values part by part, so that a dask array is not loaded whole and a stop is heard.

        The hash is the image's identity, `Scan.content_sha256`. Of a box it is that of the values in the
        box, its place and the shape of the image, so that what lies outside it is never read.
        """
        state = self.state
        if state.input_sha256:
            return
        first = self.plane_order()[0]
        for sha256 in state.scan.iter_sha256(state.settings.box):
            state.input_sha256 = sha256
            if not sha256:
                yield RunProgress(0.0, first, int(state.ensemble.samples_per_plane[first]), False)

    def _needs_samples(self, plane: int) -> bool:
        """Whether a plane lacks samples, as far as is known."""
        state = self.state
        is_waiting = (
            state.stopper is not None
            and state.stopper.final_sample_count is None
            and plane in self._completed_planes
        )
        return bool(state.ensemble.samples_per_plane[plane] < state.target_samples) and not is_waiting

    def _fraction_done(self, partial: float = 0.0) -> float:
        """How much of the work is done, with a part of the sample that is being drawn."""
        state = self.state
        remaining = sum(
            max(0, state.target_samples - int(state.ensemble.samples_per_plane[i]))
            for i in state.plane_indices
        )
        return (self._drawn_count + partial) / max(1, self._drawn_count + remaining)

    def _sample_plane(self, plane: int) -> Iterator[RunProgress]:
        state = self.state
        class_count = len(state.classes)
        working_plane = open_plane(state.planes, plane, state.working_size, class_count, state.max_bytes)
        conditioning_cache: ConditioningCache = []
        while self._needs_samples(plane):
            sample = int(state.ensemble.samples_per_plane[plane])
            transform = state.tta_transforms[sample]
            view = working_plane.augment(transform)
            tiling = make_tiling(view, state.card.preprocess)
            tile_count = len(tiling.corners())
            blender = working_plane.new_blender(tiling)
            for done_tiles in self._drawing.sample_tiles(
                view, tiling, blender, sample, conditioning_cache if working_plane.can_cache else []
            ):
                if done_tiles < tile_count:
                    yield RunProgress(self._fraction_done(done_tiles / tile_count), plane, sample, False)
            restored = working_plane.deaugment(blender, transform)
            bands = resize_in_bands(restored, state.working_size, state.planes.plane_shape, class_count)
            native_bands = ((rows, band.clamp(0, 1).numpy()) for rows, band in bands)
            change = state.ensemble.add_sample_bands(
                plane, native_bands, state.settings.threshold, compare_mask=state.stopper is not None
            )
            self._drawn_count += 1
            self._note_completed(plane, sample + 1, change)
            yield RunProgress(self._fraction_done(), plane, sample, True)

    def _note_completed(self, plane: int, sample_count: int, change: float | None) -> None:
        """Take note where a plane has what it is to have."""
        state = self.state
        if state.stopper is None:
            is_complete = sample_count >= state.requested_samples
        else:
            is_complete = state.stopper.update(plane, sample_count, change)
        if is_complete:
            state.completed[plane] = sample_count
            self._completed_planes.add(plane)
        if state.stopper is not None and self._completed_planes.issuperset(state.plane_indices):
            state.stopper.finish(int(state.ensemble.samples_per_plane.max()))

    def preview(self, plane: int) -> NDArray[np.uint8]:
        """The mask of one plane from the samples so far, `(H, W)`, not cleaned; of a box, that part alone.

        Its place in the plane is `state.planes.place`.
        """
        state = self.state
        height, width = state.planes.plane_shape
        mask = np.empty((height, width), dtype=np.uint8)
        for band in row_bands(height, len(state.classes) * width):
            mean = state.ensemble.mean[plane, :, band]
            mask[band] = labels_from_probabilities(mean, state.settings.threshold, state.classes)
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
        return build_segmentation(self.state)


def _identity_transforms() -> Iterator[TTATransform]:
    while True:
        yield TTATransform()
