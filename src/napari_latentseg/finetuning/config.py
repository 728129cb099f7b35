"""The settings of a fine-tuning, and the result of a validation in it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FineTuneConfig", "ValidationResult"]


@dataclass(frozen=True)
class FineTuneConfig:
    """The settings of a fine-tuning.

    The defaults come from the trials in docs/benchmarks/teaching.md, such as breast-ultrasound, fine-tuned on
    dermoscopy in two minutes.

    Attributes
    ----------
    batch, replay_share
        Patches of a step, and the fraction of them from the model's own training (replay).
    decoded_share
        The fraction of a batch that is decoded and compared with the masks pixel by pixel, which is slow; the
        others are compared in latent space only.
    learning_rate, warmup
        AdamW without weight decay; linear warm-up over `warmup` steps, then a cosine to zero.
    towards_base
        Weight of the squared distance of the weights to those of the base (L2-SP), against forgetting.
    average
        Decay of the exponential moving average of the weights, which is what is validated and saved.
    tolerated
        Loss of Dice on replay that is not penalised when weights are selected: on a few dozen patches it may
        be chance.
    shares
        Candidates for the interpolation of the weights: the fraction of the way from the base to the new
        weights. The best on the validation patches is kept.
    unjudged_share
        The largest of `shares` that is taken where no patch validates it.
    focus
        Where a slice is seen in tiles, the fraction of the patches that lie around a pixel of the structure.
    whole_mapper
        Whether the whole mapper of GMS learns, and not its last block alone: what a new structure takes.
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
    unjudged_share: float = 0.5
    focus: float = 0.0
    whole_mapper: bool = False


@dataclass(frozen=True)
class ValidationResult:
    """The result of a validation.

    Attributes
    ----------
    step
        After which step; 0 is the base.
    dsc
        Mean Dice on the validation patches, in [0, 1]; None where there are none.
    replay
        The same on replay that is not trained on; None where the model has no replay.
    losses
        Mean of each term since the last validation.
    seconds
        Spent on steps so far.
    """

    step: int
    dsc: float | None
    replay: float | None
    losses: dict[str, float]
    seconds: float
