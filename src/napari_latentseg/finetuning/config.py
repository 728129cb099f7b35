"""How a model is taught a little more, and what is found when its weights are looked at."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Look", "Plan"]


@dataclass(frozen=True)
class Plan:
    """How a model is taught a little more.

    Attributes
    ----------
    batch, replay_share
        Pieces a step, and how many of them are of the model's own training.
    decoded_share
        How many of a batch are held against their masks in the pixels, which is dear; the others in the
        latents alone.
    learning_rate, warmup
        AdamW without weight decay; so many steps of warm-up, then half a cosine to zero.
    towards_base
        Weight of the squared distance of the weights to where they began (L2-SP), against forgetting.
    average
        Decay of the average of the weights, which is what is kept.
    tolerated
        How much DSC on the model's own training images may be lost where that is weighed.
    shares
        How much of the way from the base to the new weights may be kept; the best is.
    """

    batch: int = 16
    replay_share: float = 0.375
    decoded_share: float = 0.0625
    learning_rate: float = 3e-3
    warmup: int = 10
    towards_base: float = 1e-3
    average: float = 0.99
    tolerated: float = 0.005
    shares: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)


@dataclass(frozen=True)
class Look:
    """What was found when the weights were looked at.

    Attributes
    ----------
    step
        After which; 0 is the base.
    dsc
        On the pieces to choose by, of what is to be learnt; None where there are none.
    replay
        The same of the model's own training; None where it has no replay.
    losses
        Means since the last look.
    seconds
        Spent on steps so far.
    """

    step: int
    dsc: float | None
    replay: float | None
    losses: dict[str, float]
    seconds: float
