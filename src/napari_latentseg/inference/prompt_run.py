"""A run of a model on what a person points at: one slice, or from there through a volume."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import replace

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.carry_on import CarriedOn, Start, carry_on, doubt_inside
from napari_latentseg.inference.prompt_session import PromptAnswer
from napari_latentseg.inference.result import build_segmentation
from napari_latentseg.inference.run_progress import RunProgress
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.slice_run import SliceRun
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import Compute

__all__ = ["PromptRun"]

# Voxels of a slice whose samples are held at full size; a larger image is segmented in a box around the
# structure.
_MAX_SLICE_VOXELS = 2**25


class PromptRun(SliceRun):
    """Segments what prompts point at. Iterate over it to compute; `result` gives the segmentation.

    Parameters
    ----------
    model
        One that takes prompts; its weights are moved to the device.
    compute
        Device and precision.
    scan
        An image or a volume.
    prompts
        In voxels of the scan; of a volume all on one acquired slice.
    settings
        Number of samples, threshold, crop box.
    through
        Whether the answer is carried on to the neighbouring slices of a volume, outwards from the slice of
        the prompts, until it ends or is much less sure.

    Attributes
    ----------
    model
        As given.
    state
        Everything that has been computed so far.
    carried_on
        How far the answer was carried on; None before that is known, and where it was not asked for.

    Raises
    ------
    BadInput
        If the model takes no prompts, they do not fit the scan, or the scan is a time series.

    Examples
    --------
    >>> from napari_latentseg import Prompts, start_prompt_run
    >>> from napari_latentseg.sample_data import ultrasound_sweep
    >>> scan = ultrasound_sweep().scan
    >>> middle = tuple(length // 2 for length in scan.spatial_shape)
    >>> run = start_prompt_run(scan, "any-structure", Prompts(positive=[middle]), through=True)
    >>> result = run.finish()
    >>> run.carried_on.first < middle[0] < run.carried_on.last
    True
    """

    def __init__(
        self,
        model: Model,
        compute: Compute,
        scan: Scan,
        prompts: Prompts,
        settings: InferenceSettings,
        *,
        through: bool = False,
    ) -> None:
        if len(scan.spatial_axes) > 3 or scan.spatial_axes.startswith("t"):
            raise BadInput("prompts", "point at one image, and this is a time series", "extract a time point")
        super().__init__(model, compute, scan, settings)
        self.carried_on: CarriedOn | None = None
        self._given, self._through = prompts, through
        self._most = len(self.state.planes) if through else 1
        flat = prompts.on_plane(scan.spatial_shape)
        self._first = prompts.plane or 0
        if through and len(self.state.planes) == 1:
            raise BadInput("through", "needs a volume, and this is a single image", "leave it out")
        height, width = self.state.planes.plane_shape
        if height * width > _MAX_SLICE_VOXELS:
            remedy = "give a box of a few thousand pixels around the structure (--roi)"
            why = f"has {height} x {width} pixels, too many for samples at full size"
            raise BadInput("image", why, remedy)
        rows, columns = self.state.planes.crop_slices
        self._prompts = flat.moved(-rows.start, -columns.start).on_plane((height, width))
        self.state.plane_indices = range(self._first, self._first + 1)

    def __iter__(self) -> Iterator[RunProgress]:
        state = self.state
        if state.completed_samples.any():  # a second pass would add the same samples again
            return
        started = time.perf_counter()
        try:
            *_, state.input_sha256 = state.scan.iter_sha256(state.settings.box)
            answer = self._answer(self._first, self._prompts, None)
            yield self._add(self._first, answer.samples, self._most)
            if self._through:
                yield from self._carry_on(answer)
        finally:
            state.seconds = time.perf_counter() - started

    def result(self) -> Segmentation | None:
        """The segmentation so far; None before the first answer. Slices without an answer are 0."""
        result = build_segmentation(self.state)
        if result is None:
            return None
        record = result.record.replace(prompts=self._given, through=self._through)
        return replace(result, record=record)

    def _carry_on(self, first_answer: PromptAnswer) -> Iterator[RunProgress]:
        """Segment the slices before and after the first one."""
        first, count = self._first, len(self.state.planes)
        before = yield from self._outwards(range(first - 1, -1, -1), first_answer)
        after = yield from self._outwards(range(first + 1, count), first_answer)
        self.carried_on = CarriedOn(before[0], after[0], (before[1], after[1]))
        self.state.notes.append(self.carried_on.describe())

    def _outwards(
        self, planes: range, first_answer: PromptAnswer
    ) -> Generator[RunProgress, None, tuple[int, str]]:
        """Segment slice after slice; returns the last one with an answer, and why it is the last."""
        threshold, last = self.state.settings.threshold, self._first
        mask = first_answer.mean > threshold
        start = Start(self._first, mask, doubt_inside(first_answer.mean, mask), self._prompts.negative)
        slices = carry_on(self._answer, self._grey, start, planes, threshold)
        while True:
            try:
                carried = next(slices)
            except StopIteration as stop:
                return last, stop.value or "the volume ends"
            last = carried.plane
            yield self._add(last, carried.answer.samples, self._most)
