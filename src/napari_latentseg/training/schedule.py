"""How long a stage takes, and the learning rate on the way."""

from __future__ import annotations

import math

from napari_latentseg.training.config import TrainingConfig

__all__ = ["epochs_of", "learning_rate_factor"]


def epochs_of(config: TrainingConfig, batches: int) -> int:
    """How many epochs a stage has, where an epoch has so many batches."""
    if config.steps is None:
        return config.epochs
    return -(-config.steps * config.accumulate // batches)


def learning_rate_factor(config: TrainingConfig, epoch: float, epochs: int | None = None) -> float:
    """Linear from zero over the warm-up, then half a cosine to zero, or as it is; GMS sets it once an epoch.

    Parameters
    ----------
    config
        Its `epochs`, `warmup_epochs`, `schedule` and `schedule_by` are used.
    epoch
        From 0; whole numbers where the schedule goes by epochs, and then the last epoch of the warm-up is at
        the full rate and the last of all at zero.
    epochs
        In place of the configuration's.
    """
    last = 1 if config.schedule_by == "epoch" else 0
    if epoch < config.warmup_epochs:
        return min(1.0, epoch / max(config.warmup_epochs - last, 1e-9))
    if config.schedule == "constant":
        return 1.0
    rest = (config.epochs if epochs is None else epochs) - config.warmup_epochs - last
    done = (epoch - config.warmup_epochs) / max(1e-9, rest)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
