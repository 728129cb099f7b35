"""Validation during a training: the Dice on slices that are kept apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_latentseg.inference.tile_inference import sample_plane, sample_planes
from napari_latentseg.methods.base import Method, Stage
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset
from napari_latentseg.training.processes import ONE_PROCESS, Processes
from napari_latentseg.training.scoring import CaseScorer
from napari_latentseg.training.stored_slices import TrainingSlice
from napari_latentseg.utils.device import Compute

__all__ = ["Validation"]

_SAMPLED_TOGETHER = 16  # slices


@dataclass
class Validation:
    """Scores the weights that a method has at the moment.

    Parameters
    ----------
    method
        What is trained.
    data
        Its validation slices are used.
    config
        Of the training.
    compute
        Device and arithmetic.
    processes
        Those that train together; each scores its share.
    """

    method: Method
    data: Dataset
    config: TrainingConfig
    compute: Compute
    processes: Processes = ONE_PROCESS

    def mean_dice(self, stage: Stage) -> float:
        """Mean Dice over the validation slices, of one sample each without test-time augmentation."""
        self.method.eval()
        validation_slices = self.data.validation
        # evenly from all of them, which are in the order of data sets and cases
        slice_count = min(len(validation_slices), self.config.validate_planes or len(validation_slices))
        selected_slices = [
            validation_slices[i * len(validation_slices) // slice_count] for i in range(slice_count)
        ]
        sampled_scores: dict[int, float | None] = {}
        if stage.validate is None and not self.method.is_deterministic:
            # a diffusion samples several slices in a batch; not all, of which many classes take gigabytes
            own_indices = range(self.processes.index, slice_count, self.processes.count)
            for start in range(0, len(own_indices), _SAMPLED_TOGETHER):
                indices = own_indices[start : start + _SAMPLED_TOGETHER]
                images = [selected_slices[i].to_float()[0].numpy() for i in indices]
                drawn = sample_planes(self.method, images, self.config.preprocess, self.compute)
                for i, sample in zip(indices, drawn, strict=True):
                    sampled_scores[i] = self._slice_dsc(stage, selected_slices[i], sample[0])

        def score(i: int) -> float | None:
            return sampled_scores[i] if i in sampled_scores else self._slice_dsc(stage, selected_slices[i])

        all_scores = self.processes.map(range(slice_count), score)
        scores = [score for score in all_scores if score is not None]
        return float(np.mean(scores)) if scores else 0.0

    def _slice_dsc(
        self, stage: Stage, validation_slice: TrainingSlice, sample: NDArray[np.float32] | None = None
    ) -> float | None:
        """The mean over the annotated classes of a slice; None where there are none.

        Parameters
        ----------
        stage, validation_slice
            What is validated.
        sample
            The method's prediction `(K, h, w)`; None where it is not computed yet.
        """
        image, mask = validation_slice.to_float()
        if sample is not None:
            probability = sample
        elif stage.validate is None:
            probability = sample_plane(self.method, image.numpy(), self.config.preprocess, self.compute)
        else:
            device, (height, width) = self.compute.torch_device(), mask.shape[-2:]
            # a slice that is scaled to a spacing has any size, and the networks take multiples
            multiple = self.method.size_multiple
            margins = (0, -width % multiple, 0, -height % multiple)
            padded = (F.pad(x[None], margins, mode="replicate").to(device) for x in (image, mask))
            with torch.inference_mode(), self.compute.autocast():
                reconstruction = stage.validate(*padded)[0, :, :height, :width]
            probability = reconstruction.float().cpu().numpy()
        scorer = CaseScorer(self.config.card.threshold)
        scorer.add(probability, mask.numpy() > 0.5, validation_slice.annotated)
        return scorer.dsc[0] if scorer.dsc else None
