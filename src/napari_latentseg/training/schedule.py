"""The length of a stage, and the schedule of its learning rate."""

from __future__ import annotations

import math

from napari_latentseg.training.config import TrainingConfig

__all__ = ["epoch_count", "learning_rate_factor", "warmup_epoch_count", "warmup_then_cosine"]


def epoch_count(config: TrainingConfig, batches: int) -> int:
    """How many epochs a stage has, where `batches` is the number of batches of an epoch."""
    if config.steps is None:
        return config.epochs
    return -(-config.steps * config.accumulate // batches)


def warmup_epoch_count(config: TrainingConfig, batches: int) -> float:
    """How many epochs the warm-up has, where `batches` is the number of batches of an epoch."""
    if config.warmup_steps is None:
        return config.warmup_epochs
    return config.warmup_steps * config.accumulate / batches


def learning_rate_factor(
    config: TrainingConfig, epoch: float, epochs: int | None = None, warmup: float | None = None
) -> float:
    """The factor of the learning rate: linear warm-up from zero, then a cosine to zero or constant.

    Parameters
    ----------
    config
        Its `epochs`, `warmup_epochs`, `schedule` and `schedule_by` are used.
    epoch
        From 0. Where `schedule_by` is ``"epoch"``, as in GMS, it is a whole number; the last epoch of the
        warm-up has the full rate, and the last of all a rate of zero.
    epochs, warmup
        Replace `epochs` and `warmup_epochs` of the configuration.
    """
    warmup = config.warmup_epochs if warmup is None else warmup
    epoch_offset = 1 if config.schedule_by == "epoch" else 0
    if epoch < warmup:
        return min(1.0, epoch / max(warmup - epoch_offset, 1e-9))
    if config.schedule == "constant":
        return 1.0
    decay_epochs = (config.epochs if epochs is None else epochs) - warmup - epoch_offset
    decay_fraction = (epoch - warmup) / max(1e-9, decay_epochs)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, decay_fraction)))


def warmup_then_cosine(peak: float, step: int, warmup: int, steps: int) -> float:
    """The learning rate of fine-tuning: linear over the warm-up and never zero, then half a cosine to zero.

    In contrast to `learning_rate_factor` the first step has a rate above zero: of a few steps none is wasted.

    Parameters
    ----------
    peak
        The rate after the warm-up.
    step
        From 0.
    warmup, steps
        How many steps the warm-up has, and how many there are in all.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
