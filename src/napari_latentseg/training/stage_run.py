"""The objects that the training of one stage works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_latentseg.methods.base import Stage
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.loop import TrainingStep
from napari_latentseg.training.progress import StageProgress
from napari_latentseg.training.schedule import learning_rate_factor
from napari_latentseg.training.snapshot import StageState
from napari_latentseg.training.split_batch import SplitBatch

__all__ = ["StageRun"]


@dataclass
class StageRun:
    """One stage that is being trained.

    Parameters
    ----------
    stage, config
        The stage, and its settings.
    step
        Its optimizer.
    split
        Computes the gradient of a batch.
    progress
        Reports within an epoch.
    state
        What a checkpoint keeps of it.
    epochs, batches
        How many epochs there are, and how many batches in each.
    warmup
        Epochs in which the learning rate rises.
    start
        When it would have begun, in seconds of `time.perf_counter`, had it not been stopped in between.
    """

    stage: Stage
    config: TrainingConfig
    step: TrainingStep
    split: SplitBatch
    progress: StageProgress
    state: StageState
    epochs: int
    batches: int
    warmup: float
    start: float

    def learning_rate(self, epoch: int) -> float:
        """The learning rate of the next batch."""
        done = self.state.batch_index / self.batches if self.config.schedule_by == "step" else 0
        factor = learning_rate_factor(self.config, epoch + done, self.epochs, self.warmup)
        return self.config.learning_rate * factor

    def batch_done(self, losses: Mapping[str, float]) -> None:
        """Count a batch whose gradient was added."""
        state = self.state
        for name, value in losses.items():
            state.losses[name] = state.losses.get(name, 0.0) + value
        self.progress.batch_done(sum(losses.values()))
        state.batch_index += 1
        state.part_size = self.split.part_size

    @property
    def is_step_complete(self) -> bool:
        """Whether all batches whose gradients one step takes are computed."""
        index = self.state.batch_index
        return index % self.config.accumulate == 0 or index == self.batches
