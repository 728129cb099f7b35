"""A run that fills the slices of a volume between those on which a person has decided what a structure is."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.follow_volume import FollowedVolume
from napari_latentseg.inference.result import build_segmentation
from napari_latentseg.inference.run_progress import RunProgress
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.slice_run import SliceRun
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.counts import count_text
from napari_latentseg.utils.device import Compute

__all__ = ["FillRun"]


class FillRun(SliceRun):
    """Fills between slices, and beyond them. Iterate over it to compute; `result` gives the segmentation.

    Parameters
    ----------
    model
        One that takes prompts; its weights are moved to the device.
    compute
        Device and precision.
    scan
        A volume.
    decided
        Masks `(H, W)` of the slices that a person has decided, by their number; they stay as they are.
    settings
        Number of samples, and threshold.
    beyond
        Whether the structure is followed beyond the outermost decided slices as well.

    Attributes
    ----------
    state
        Everything that has been computed so far.

    Raises
    ------
    BadInput
        If the scan is not a volume, or there is nothing to fill.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_latentseg import start_fill_run
    >>> volume = np.zeros((5, 64, 64), np.uint8)
    >>> volume[:, 20:40, 20:40] = 200
    >>> run = start_fill_run(volume, "any-structure", (volume > 0) & (np.arange(5) % 4 == 0)[:, None, None])
    >>> [step.plane for step in run]
    [0, 4, 1, 2, 3]
    """

    def __init__(
        self,
        model: Model,
        compute: Compute,
        scan: Scan,
        decided: Mapping[int, NDArray[np.bool_]],
        settings: InferenceSettings,
        *,
        beyond: bool = False,
    ) -> None:
        if len(scan.spatial_axes) != 3 or scan.spatial_axes.startswith("t"):
            raise BadInput("image", "is not a volume", "give one with several slices")
        if settings.box is not None:
            raise BadInput("roi", "is not for filling between slices", "leave it out")
        super().__init__(model, compute, scan, settings)
        self._decided = {plane: np.asarray(mask, bool) for plane, mask in decided.items()}
        self._followed = FollowedVolume(
            self._answer, self._grey, self._decided, len(self.state.planes),
            settings.threshold, tuple(scan.geometry.spacing[-3:]), beyond=beyond, crossing=self._crossing(),
        )  # fmt: skip
        first = min(self._decided)
        self.state.plane_indices = range(first, first + 1)

    def __iter__(self) -> Iterator[RunProgress]:
        state = self.state
        if state.completed_samples.any():  # a second pass would add the same samples again
            return
        most = len(self._decided) + self._followed.most
        started = time.perf_counter()
        try:
            *_, state.input_sha256 = state.scan.iter_sha256(state.settings.box)
            for plane, mask in sorted(self._decided.items()):
                yield self._add(plane, self._for_all(mask[None].astype(np.float32)), most)
            for carried in self._followed:
                yield self._add(carried.plane, self._for_all(carried.answer.samples), most)
            given = count_text(len(self._decided), "slice")
            state.notes.append(f"{given} as a person decided, the others from them")
            state.notes += [stop.describe() for stop in self._followed.stops]
        finally:
            state.seconds = time.perf_counter() - started

    def result(self) -> Segmentation | None:
        """The segmentation so far; None before the first slice. Slices that were not reached are 0."""
        result = build_segmentation(self.state)
        return (
            None
            if result is None
            else replace(result, record=result.record.replace(through=self._followed.beyond))
        )

    def _for_all(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """As many samples as were asked for: of fewer, such as a mask of a person, the last is repeated."""
        return [samples[min(n, len(samples) - 1)] for n in range(self.state.settings.samples)]
