"""The random numbers of a sample."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Noise", "random_noise"]


class Noise(Protocol):
    """Standard normal noise for one sample of an ensemble.

    A function of shape and sampling step: the same arguments give the same noise at every call, so that a run
    can be repeated and overlapping tiles agree.
    """

    def __call__(self, shape: tuple[int, ...], step: int = 0) -> Tensor:
        """Noise `(B, C, h, w)`, float32 on the CPU.

        Parameters
        ----------
        shape
            `(B, C, h, w)`.
        step
            0 for the initial noise; i for the noise that the i-th sampling step adds.
        """


def random_noise(generator: torch.Generator | None = None) -> Noise:
    """Noise that is drawn anew at every call, whatever the step; for training and tests.

    Parameters
    ----------
    generator
        Of the CPU; torch's global one where not given.
    """

    def sample_noise(shape: tuple[int, ...], step: int = 0) -> Tensor:
        return torch.randn(shape, generator=generator)

    return sample_noise
