"""The length of a stage, and the schedule of its learning rate."""

from __future__ import annotations

import math

from napari_latentseg.errors import BadInput
from napari_latentseg.training.config import TrainingConfig

__all__ = [
    "check_learning_rate",
    "epoch_count",
    "learning_rate_factor",
    "warmup_epoch_count",
    "warmup_then_cosine",
]


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
        warm-up has the full rate, and zero would be reached after the last of all, as in GMS's code.
    epochs, warmup
        Replace `epochs` and `warmup_epochs` of the configuration.
    """
    warmup = config.warmup_epochs if warmup is None else warmup
    epoch_offset = 1 if config.schedule_by == "epoch" else 0
    if epoch < warmup:
        return min(1.0, epoch / max(warmup - epoch_offset, 1e-9))
    if config.schedule == "constant":
        return 1.0
    decay_epochs = (config.epochs if epochs is None else epochs) - warmup
    decay_fraction = (epoch - warmup) / max(1e-9, decay_epochs)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, decay_fraction)))


def check_learning_rate(config: TrainingConfig, batches: int) -> None:
    """Refuse a stage that would end while the learning rate of its warm-up is still zero.

    Parameters
    ----------
    config
        Of the stage.
    batches
        Number of batches of an epoch.

    Raises
    ------
    BadInput
        If every step would have a rate of zero.
    """
    epochs, warmup = epoch_count(config, batches), warmup_epoch_count(config, batches)
    last_epoch = epochs - 1 if config.schedule_by == "epoch" else epochs - 1 / batches
    # by epochs only the first has a rate of zero, by steps only the first step
    if not any(learning_rate_factor(config, epoch, epochs, warmup) > 0 for epoch in (0, last_epoch)):
        unit = "epochs" if config.schedule_by == "epoch" else "steps"
        raise BadInput(
            "epochs",
            f"{epochs} would end before the learning rate rises from zero in the warm-up",
            f"train for more {unit}, or set the warm-up to 0",
        )


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
