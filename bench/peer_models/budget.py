"""The time of a training, in seconds of the processor, and what follows from it: batch and learning rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Below some hundred steps the schedule of a learning rate means little; so a batch is made smaller first.
MIN_STEPS = 250
MIN_BATCH = 2
WARMUP_SHARE = 0.05


class CpuBudget:
    """Seconds of processor time that a training may take; work outside of `counting` is not counted.

    Processor time and not wall time, so that other programs on the machine cost nobody his share.

    Parameters
    ----------
    seconds
        Of all threads of this process together.
    clock
        Gives them.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.process_time) -> None:
        self.seconds, self.used = seconds, 0.0
        self._clock = clock

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the work of the block."""
        start = self._clock()
        try:
            yield
        finally:
            self.used += self._clock() - start

    @property
    def share(self) -> float:
        """The share that is used, from 0; above 1 where the last step took longer than was left."""
        return self.used / self.seconds

    @property
    def is_left(self) -> bool:
        return self.used < self.seconds


def cosine_factor(share: float) -> float:
    """The learning rate as a fraction of its peak: a linear warm-up, then half a cosine to zero.

    Parameters
    ----------
    share
        Of the budget that is used.
    """
    if share < WARMUP_SHARE:
        return max(share, 0.01 * WARMUP_SHARE) / WARMUP_SHARE
    done = (min(share, 1.0) - WARMUP_SHARE) / (1 - WARMUP_SHARE)
    return 0.5 * (1 + math.cos(math.pi * done))


def polynomial_factor(share: float, exponent: float = 0.9) -> float:
    """nnU-Net's decay of the learning rate, as a fraction of its start."""
    return (1 - min(share, 1.0)) ** exponent


def fitting_batch(seconds: float, seconds_per_image: float, wanted: int) -> int:
    """The batch of a training: the wanted one, or halved until `MIN_STEPS` steps fit into the time.

    Parameters
    ----------
    seconds
        Of the training.
    seconds_per_image
        Of a step, for each of its images.
    wanted
        The batch where time does not matter.
    """
    batch = wanted
    while batch > MIN_BATCH and seconds / (seconds_per_image * batch) < MIN_STEPS:
        batch = max(MIN_BATCH, batch // 2)
    return batch
