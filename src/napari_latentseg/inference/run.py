"""The loop of a run: sample after sample of each plane, until all planes have enough samples."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.given_spacing import GIVEN_SPACING_NOTE, give_spacing
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.record import AUGMENTING_SOURCES
from napari_latentseg.core.reorient import reorient
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.engines.base import Engine
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.banded_resize import resize_in_bands, row_bands
from napari_latentseg.inference.batch_size import tiles_per_batch
from napari_latentseg.inference.job_source import JobSource
from napari_latentseg.inference.result import build_segmentation
from napari_latentseg.inference.run_progress import Phase, RunProgress
from napari_latentseg.inference.run_state import RunState
from napari_latentseg.inference.sample_job import SampleJob
from napari_latentseg.inference.sample_plan import SamplePlan
from napari_latentseg.inference.sampler import Sampler
from napari_latentseg.inference.settings import MAX_SAMPLES, InferenceSettings, members_limit_message
from napari_latentseg.inference.tta import TTATransform, tta_transforms
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["Run", "RunProgress"]


class Run:
    """One run of a model on a scan; made by `Predictor.start`.

    Iterating over it computes, and yields a `RunProgress` after every batch of tiles. Stop iterating to
    cancel; iterate again to continue. `result` can be called at any time.

    Parameters
    ----------
    model
        The model, which further runs may use.
    engines
        What computes each member of the model.
    compute
        Device, precision and engine.
    scan, settings, plane
        As for `Predictor.start`.

    Attributes
    ----------
    model
        The model.
    state
        Everything that has been computed so far.
    engines
        As given.
    sampler
        Draws the samples.

    Raises
    ------
    BadInput
        If the scan has no such plane, slices or crop box, or is too small or too large for the settings.

    Examples
    --------
    >>> from napari_latentseg import start_run
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> run = start_run(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound")
    >>> few = run.finish()
    >>> run.extend(2)
    >>> run.finish().record.samples - few.record.samples
    2
    """

    def __init__(
        self,
        model: Model | LocatedModel,
        engines: Sequence[Engine],
        compute: Compute,
        scan: Scan,
        settings: InferenceSettings,
        plane: str = "acquired",
    ) -> None:
        card = model.card
        self.state = RunState.create(card, compute, scan, settings, plane)
        self.model = model
        names = {c.name for c in self.state.classes}
        class_indices = [i for i, c in enumerate(card.classes) if c.name in names]
        self.engines = engines
        self.sampler = Sampler(
            card.name,
            engines,
            settings.tiles_at_once or tiles_per_batch(card, compute),
            settings,
            None if settings.classes is None else class_indices,
            self.state.notes,
        )
        self._plan = SamplePlan(self.state, self.sampler.tiles_per_batch)
        self._transform_stream = (
            tta_transforms(
                card.augment,
                settings.seed,
                latent_step=engines[0].size_multiple,
                tile_size=card.preprocess.size,
            )
            if settings.source in AUGMENTING_SOURCES
            else _identity_transforms()
        )

    def __repr__(self) -> str:
        card, settings = self.state.card, self.state.settings
        return (
            f"Run({card.name!r}, {settings.samples} samples from {settings.source}, {self.state.original!r})"
        )

    def extend(self, additional: int) -> None:
        """Ask for more samples; iterate again to draw them.

        The result equals that of one run with the larger number of samples, but for rounding. Early stopping
        no longer applies: all of these samples are drawn. A run that was stopped goes on from the samples
        that its result holds, whatever number had been asked for; planes without a result are drawn, too.

        Parameters
        ----------
        additional
            How many samples to add, 1 or more.

        Raises
        ------
        BadInput
            If `additional` is less than 1, if the total exceeds `MAX_SAMPLES` or the number of members, or if
            without a sampling source all samples would be equal.
        """
        state = self.state
        if state.settings.source == "none":
            raise BadInput(
                "samples",
                f"{state.card.name} gives the same answer every time without a sampling source",
                "choose a source",
            )
        total = (state.kept_samples or state.target_samples) + additional
        if state.settings.source == "members" and total > state.card.members:
            raise BadInput("samples", members_limit_message(state.card), "choose another source for more")
        if additional < 1 or total > MAX_SAMPLES:
            raise BadInput(
                "samples", f"must be 1 or more, and {MAX_SAMPLES} at most in total", "ask for another number"
            )
        state.requested_samples = total
        state.stopper = None

    def plane_order(self) -> list[int]:
        """Indices of the planes in the order of segmentation: from `first_plane` outwards."""
        return self._plan.plane_order()

    def __iter__(self) -> Iterator[RunProgress]:
        state = self.state
        start_time = time.perf_counter()
        seconds_before = state.seconds
        self._choose_transforms()
        self._activate_engines()
        self._plan.begin()
        try:
            yield from self._hash_input()
            # With early stopping, an empty plane can stop before the first plane with foreground has fixed
            # the number of samples for all; a further pass then brings it to that number.
            while planned := self._plan.next_samples():
                for progress in self._draw(planned):
                    state.seconds = seconds_before + time.perf_counter() - start_time
                    yield progress
        finally:
            state.seconds = seconds_before + time.perf_counter() - start_time

    def plan(self) -> list[tuple[int, int]]:
        """Index of the plane and of the sample of all samples to draw, in order, of a run that was not begun.

        For runs whose samples are drawn together, see `napari_latentseg.inference.segment_each`: the samples
        of `jobs` are drawn by the `sampler` of one of them, and given to `add_sample`. Early stopping needs
        to see each sample before the next is planned, so such a run is iterated over instead.
        """
        self._choose_transforms()
        self._activate_engines()
        for _ in self._hash_input():
            pass
        return self._plan.next_samples()

    def jobs(self, planned: Sequence[tuple[int, int]]) -> Iterator[SampleJob]:
        """The samples to draw, with their pixels.

        Parameters
        ----------
        planned
            From `plan`.
        """
        return JobSource(self.state, planned, self.engines[0].downsampling_factor).jobs()

    def add_sample(self, job: SampleJob) -> None:
        """Add a complete sample to the ensemble.

        Parameters
        ----------
        job
            From `jobs`, with every tile blended.
        """
        state, plane = self.state, job.plane
        if job.sample == 0 and isinstance(job.image, np.ndarray):
            state.fit_check.add_image(plane, job.image)
        if job.sums is not None:
            state.fit_check.add(plane, job.sums)
        restored = job.working_plane.deaugment(job.blender, job.transform)
        bands = resize_in_bands(restored, state.working_size, state.planes.plane_shape, len(state.classes))
        native_bands = ((rows, band.clip(0, 1)) for rows, band in bands)
        change = state.ensemble.add_sample_bands(
            plane, native_bands, state.settings.sample_threshold, compare_mask=state.stopper is not None
        )
        self._plan.note_drawn(plane, job.sample + 1, change)

    def _activate_engines(self) -> None:
        for engine in self.engines:
            engine.activate()

    def _choose_transforms(self) -> None:
        """Choose the augmentation of each sample."""
        missing = self.state.requested_samples - len(self.state.tta_transforms)
        self.state.tta_transforms += islice(self._transform_stream, max(0, missing))

    def _hash_input(self) -> Iterator[RunProgress]:
        """Hash the voxel values block by block: a dask array is never loaded whole, and cancelling works.

        The hash is the identity of the image, `Scan.content_sha256`. With a crop box it covers the values in
        the box, the box and the shape of the image, so that nothing outside the box is read.
        """
        state = self.state
        if state.input_sha256:
            return
        first = self._plan.plane_order()[0]
        fractions: list[float] = []
        for sha256 in state.scan.iter_sha256(state.settings.box, fractions.append):
            state.input_sha256 = sha256
            if not sha256:
                yield self._phase_progress(first, "hash", fractions[-1])

    def _phase_progress(self, plane: int, phase: Phase, phase_fraction: float = 0.0) -> RunProgress:
        """Progress between two batches."""
        sample = int(self.state.ensemble.samples_per_plane[plane])
        return RunProgress(self._plan.fraction_done(), plane, sample, False, phase, phase_fraction)

    def _draw(self, planned: Sequence[tuple[int, int]]) -> Iterator[RunProgress]:
        """Draw samples and add each to the ensemble.

        For each: augment the plane, cut it into tiles, sample and blend the tiles, undo the augmentation, and
        resize the probabilities to the size of the scan.
        """
        source = JobSource(self.state, planned, self.engines[0].downsampling_factor)
        drawing = self.sampler.draw(source.jobs())
        current = (*planned[0], 0.0)  # plane, sample, and the fraction of it that is drawn
        try:
            for tiles in drawing:
                if tiles is None:
                    yield self._waiting_progress(source, *current)
                    continue
                for job in dict.fromkeys(tile.job for tile in tiles):
                    if job.is_complete and self._plan.needs_samples(job.plane):
                        self.add_sample(job)
                        yield RunProgress(self._plan.fraction_done(), job.plane, job.sample, True)
                    elif not job.is_complete:
                        current = (job.plane, job.sample, job.blended_tiles / job.tile_count)
                        yield RunProgress(self._plan.fraction_done(current[2]), job.plane, job.sample, False)
        finally:
            source.stop()
            drawing.close()

    def _waiting_progress(self, source: JobSource, plane: int, sample: int, partial: float) -> RunProgress:
        """Progress while no batch is ready: a plane is read, or the networks compute."""
        if (reading := source.reading) is not None:
            return self._phase_progress(reading[0], "read", reading[1])
        return RunProgress(self._plan.fraction_done(partial), plane, sample, False)

    def preview(self, plane: int) -> NDArray[np.uint8]:
        """The label map of one plane from the samples so far.

        Parameters
        ----------
        plane
            Index of the plane.

        Returns
        -------
        ndarray
            uint8 `(H, W)`, without post-processing. With a crop box it is the box alone, whose rows and
            columns in the plane are `state.planes.crop_slices`.
        """
        state = self.state
        height, width = state.planes.plane_shape
        mask = np.empty((height, width), dtype=np.uint8)
        for band in row_bands(height, len(state.classes) * width):
            mean = state.settings.temperature.calibrated(state.ensemble.mean[plane, :, band])
            mask[band] = labels_from_probabilities(mean, state.settings.threshold, state.classes)
        return mask

    def result(self) -> Segmentation | None:
        """The segmentation from the samples so far.

        Returns
        -------
        Segmentation or None
            In the axes and the geometry of the scan as it was given; None before the first complete sample.
            Outside the crop box, arrays are 0.

        Notes
        -----
        All planes that show a result have the number of samples in the record: planes that a cancelled run
        left with fewer stay empty, and if some planes have more, a note in the record says so.

        The arrays are copies, and a run that continues does not change them. The exception are results beyond
        the memory limit: these are dask arrays of the temporary files, which a run that continues does
        change.
        """
        return build_segmentation(self.state)

    def give_spacing(self, spacing: Sequence[float]) -> None:
        """Give a spacing to the scan of the run, whose file states none; further results are in mm.

        Parameters
        ----------
        spacing
            In mm, see `napari_latentseg.core.given_spacing.give_spacing`.

        Raises
        ------
        BadInput
            If the scan has a physical size, or the spacing is not possible.
        """
        self.state.original = give_spacing(self.state.original, spacing)
        self.state.scan, _ = reorient(self.state.original, self.state.plane)
        self.state.notes.append(GIVEN_SPACING_NOTE)

    def finish(self, progress: Progress = no_progress) -> Segmentation:
        """Do all the work that is left, and return the result.

        Parameters
        ----------
        progress
            Called with the fraction done, in [0, 1].
        """
        for run_progress in self:
            progress(run_progress.fraction)
        result = self.result()
        assert result is not None  # a run that was not stopped has every sample
        return result


def _identity_transforms() -> Iterator[TTATransform]:
    while True:
        yield TTATransform()
