"""How far a run has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Phase", "RunProgress"]

Phase = Literal["hash", "read", "sample"]
"""What a run is doing: the image is hashed, a plane is read and resized, or a sample is drawn."""


@dataclass(frozen=True)
class RunProgress:
    """How far a run has come; yielded after every batch of tiles, and while a large image is read.

    Attributes
    ----------
    fraction
        Fraction of the samples that is drawn, in [0, 1]. It jumps where early stopping ends the sampling.
    plane
        Index of the plane that is being segmented, from 0.
    sample
        Index of the sample that is being drawn of this plane, from 0.
    is_sample_complete
        Whether this batch completed the sample.
    phase
        What is being done: the image is hashed, a plane is read and resized, or a sample is drawn.
    phase_fraction
        Fraction of the hashing or reading that is done, in [0, 1]; 0 while samples are drawn.
    """

    fraction: float
    plane: int
    sample: int
    is_sample_complete: bool
    phase: Phase = "sample"
    phase_fraction: float = 0.0
