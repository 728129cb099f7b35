"""A run of a model on what a person points at: one slice, or from there and others through a volume."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.carry_on import CarriedOn
from napari_latentseg.inference.follow_volume import FollowedVolume
from napari_latentseg.inference.result import build_segmentation
from napari_latentseg.inference.run_progress import RunProgress
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.slice_run import SliceRun
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.counts import count_text
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
        In voxels of the scan; of a volume on one acquired slice, and with `through` on any number of them.
    settings
        Number of samples, threshold, crop box.
    through
        Whether the structure is followed through the volume as in the window (`FollowedVolume`). Each slice
        with prompts is answered from its own; between two of them the structure is filled, and beyond the
        outermost it is carried on until it ends or the model is much less sure.

    Attributes
    ----------
    model
        As given.
    state
        Everything that has been computed so far.
    carried_on
        How far the answers were carried on; None before that is known, and where it was not asked for.

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
        if through and len(self.state.planes) == 1:
            raise BadInput("through", "needs a volume, and this is a single image", "leave it out")
        height, width = self.state.planes.plane_shape
        if height * width > _MAX_SLICE_VOXELS:
            remedy = "give a box of a few thousand pixels around the structure (--roi)"
            why = f"has {height} x {width} pixels, too many for samples at full size"
            raise BadInput("image", why, remedy)
        self._prompts = self._by_plane(prompts)
        first = min(self._prompts)
        self.state.plane_indices = range(first, first + 1)

    def _by_plane(self, prompts: Prompts) -> dict[int, Prompts]:
        """The prompts of each slice, in its crop box."""
        scan, planes = self.state.scan, self.state.planes
        rows, columns = planes.crop_slices
        parts = (
            {plane: prompts.of_plane(plane) for plane in prompts.planes}
            if self._through and prompts.planes
            else {prompts.plane or 0: prompts}
        )
        return {
            plane: part.on_plane(scan.spatial_shape)
            .moved(-rows.start, -columns.start)
            .on_plane(planes.plane_shape)
            for plane, part in parts.items()
        }

    def __iter__(self) -> Iterator[RunProgress]:
        state = self.state
        if state.completed_samples.any():  # a second pass would add the same samples again
            return
        started = time.perf_counter()
        try:
            *_, state.input_sha256 = state.scan.iter_sha256(state.settings.box)
            decided: dict[int, NDArray[np.bool_]] = {}
            for plane, prompts in self._prompts.items():
                answer = self._answer(plane, prompts, None)
                mask = answer.mean > state.settings.threshold
                if mask.any():
                    decided[plane] = mask
                yield self._add(plane, answer.samples, self._most)
            if self._through:
                yield from self._follow(decided)
        finally:
            state.seconds = time.perf_counter() - started

    def result(self) -> Segmentation | None:
        """The segmentation so far; None before the first answer. Slices without an answer are 0."""
        result = build_segmentation(self.state)
        if result is None:
            return None
        record = result.record.replace(prompts=self._given, through=self._through)
        return replace(result, record=record)

    def _follow(self, decided: dict[int, NDArray[np.bool_]]) -> Iterator[RunProgress]:
        """Segment the slices between and beyond those that were answered."""
        state = self.state
        if not decided:
            reason = "nothing was found on the first slice"
            self.carried_on = CarriedOn(min(self._prompts), max(self._prompts), (reason, reason))
            state.notes.append(self.carried_on.describe())
            return
        followed = FollowedVolume(
            self._answer, self._grey, decided, len(state.planes), state.settings.threshold,
            tuple(state.scan.geometry.spacing[-3:]),
            {plane: [(y, x) for y, x in part.negative] for plane, part in self._prompts.items()},
            crossing=self._crossing(),
        )  # fmt: skip
        reached = set(decided)
        for carried in followed:
            reached.add(carried.plane)
            if carried.plane not in self._prompts:  # a slice on which nothing was found stays as it is
                yield self._add(carried.plane, carried.answer.samples, self._most)
        first, last = min(reached), max(reached)
        reasons = {stop.plane: stop.reason for stop in followed.stops}
        ends = reasons.get(first - 1, "the volume ends"), reasons.get(last + 1, "the volume ends")
        self.carried_on = CarriedOn(first, last, ends)
        if len(decided) > 1:
            state.notes.append(f"pointed at on {count_text(len(decided), 'slice')}, and filled between them")
        state.notes.append(self.carried_on.describe())
