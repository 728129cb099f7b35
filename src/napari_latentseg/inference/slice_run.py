"""What runs of a model that is pointed at have in common: answers slice by slice, added to one ensemble."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.prompts import MAX_ANSWER_SAMPLES, Prompts
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.crossing_slices import CrossingSlices
from napari_latentseg.inference.prompt_session import PromptAnswer, PromptSession
from napari_latentseg.inference.run_progress import RunProgress
from napari_latentseg.inference.run_state import RunState
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.progress import Progress, no_progress

__all__ = ["SliceRun"]

Array = NDArray[np.float32]


class SliceRun(ABC):
    """A run that answers prompts slice by slice. Iterate over it to compute.

    Parameters
    ----------
    model
        One that takes prompts; its weights are moved to the device.
    compute
        Device and precision.
    scan
        An image or a volume.
    settings
        Number of samples, threshold, crop box.

    Attributes
    ----------
    state
        Everything that has been computed so far.

    Raises
    ------
    BadInput
        If more samples are asked for than an answer can have.
    """

    def __init__(self, model: Model, compute: Compute, scan: Scan, settings: InferenceSettings) -> None:
        if settings.samples > MAX_ANSWER_SAMPLES:
            raise BadInput("samples", f"are {settings.samples}", f"ask for 1 to {MAX_ANSWER_SAMPLES}")
        model.to(compute)
        self.model, self.compute = model, compute
        self.state = RunState.create(model.card, compute, scan, settings)

    @abstractmethod
    def __iter__(self) -> Iterator[RunProgress]:
        """Compute, slice after slice."""

    @abstractmethod
    def result(self) -> Segmentation | None:
        """The segmentation so far; None before the first slice."""

    def finish(self, progress: Progress = no_progress) -> Segmentation:
        """Do all the work that is left, and return the result.

        Parameters
        ----------
        progress
            Called with the fraction done, in [0, 1], after each slice; what it raises ends the run.
        """
        for step in self:
            progress(step.fraction)
        result = self.result()
        assert result is not None  # the first slice has samples
        return result

    def _crossing(self) -> CrossingSlices:
        state = self.state
        return CrossingSlices.of_planes(state.planes, self.model, self.compute, state.settings.samples)

    def _grey(self, plane: int) -> Array:
        grey: Array = self.state.planes[plane].mean(axis=-1)
        return grey

    def _answer(self, plane: int, prompts: Prompts, previous: Array | None) -> PromptAnswer:
        image = np.ascontiguousarray(self.state.planes[plane].transpose(2, 0, 1))
        session = PromptSession(self.model, image, self.compute)
        return session.answer(prompts, self.state.settings.samples, previous)

    def _add(self, plane: int, samples: Sequence[Array] | Array, most: int) -> RunProgress:
        """Add the samples of a slice to the ensemble; `most` is how many slices the run has at most."""
        state = self.state
        for sample in samples:
            state.ensemble.add_sample(plane, sample[None], state.settings.sample_threshold)
        state.completed_samples[plane] = len(samples)
        first, last = state.plane_indices[0], state.plane_indices[-1]
        state.plane_indices = range(min(first, plane), max(last, plane) + 1)
        done = int((state.completed_samples > 0).sum())
        return RunProgress(min(1.0, done / most), plane, len(samples) - 1, is_sample_complete=True)
