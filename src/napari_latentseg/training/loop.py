"""One step of a training, the same for methods, for codecs and for fine-tuning.

The losses are added up, their gradients are gathered and clipped, the optimizer changes the weights, and an
average follows them. Which batches, which learning rate and how many steps is each training's own affair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from napari_latentseg.errors import BadInput

__all__ = ["BestWeights", "TrainingStep", "averaged", "copied", "with_weights"]

# the two rules for the decay of the average after n steps, see `averaged`
_WARMUP = 10


@dataclass
class TrainingStep:
    """From the terms of a loss to new weights.

    Parameters
    ----------
    optimizer
        Of the weights. A group of it with a ``"fraction"`` learns at that part of the learning rate.
    parts
        What learns.
    clip_gradient
        Greatest norm of the gradient of all weights together; 0 for no limit.
    accumulate
        Batches whose gradients are added up for one step.
    average
        Follows the weights, see `averaged`; None for none.
    name, remedy
        What is said where the loss is no longer a number.
    """

    optimizer: torch.optim.Optimizer
    parts: nn.Module
    clip_gradient: float = 0.0
    accumulate: int = 1
    average: AveragedModel | None = None
    name: str = "training"
    remedy: str = "lower the learning rate"

    def __post_init__(self) -> None:
        self.weights = list(self.parts.parameters())

    def set_learning_rate(self, rate: float) -> None:
        """Let the next step go by another learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("fraction", 1.0)

    def add_gradient(self, terms: Mapping[str, Tensor], penalty: Tensor | None = None) -> dict[str, float]:
        """Add a batch's gradient to what is there.

        Parameters
        ----------
        terms
            The weighted terms of the loss, by name, each a scalar; their sum is minimised.
        penalty
            What is minimised too, but is no part of what is told.

        Returns
        -------
        dict
            The terms as numbers.

        Raises
        ------
        BadInput
            Where the loss is infinite or not a number.
        """
        total = torch.stack([term.float() for term in terms.values()]).sum()
        if penalty is not None:
            total = total + penalty
        if not bool(torch.isfinite(total)):
            raise BadInput(self.name, "the loss is no longer a number", self.remedy)
        (total / self.accumulate).backward()
        return {name: float(term.detach()) for name, term in terms.items()}

    def update(self) -> None:
        """Change the weights by the gradient that was gathered, and let the average follow."""
        if self.clip_gradient:
            nn.utils.clip_grad_norm_(self.weights, self.clip_gradient)
        self.optimizer.step()
        self.forget_gradient()
        if self.average is not None:
            self.average.update_parameters(self.parts)

    def forget_gradient(self) -> None:
        """Begin to gather anew."""
        self.optimizer.zero_grad(set_to_none=True)


@dataclass
class BestWeights:
    """The weights that did best so far.

    Attributes
    ----------
    weights
        A state dict; None before any were offered.
    score
        Theirs; the higher the better.
    """

    weights: dict[str, Tensor] | None = None
    score: float | None = None

    def offer(self, weights: Mapping[str, Tensor], score: float, *, latest: bool = False) -> bool:
        """Keep a copy of these weights where they are better than those before; gives whether they are.

        Parameters
        ----------
        weights
            A state dict.
        score
            Theirs.
        latest
            Whether they are kept in any case, since the last weights are wanted and not the best.
        """
        is_best = self.weights is None or self.score is None or score > self.score
        if not (latest or is_best):
            return False
        self.weights = {name: value.detach().clone() for name, value in weights.items()}
        self.score = score
        return True


def averaged(
    parts: nn.Module, decay: float, *, warmup: bool = False, from_start: bool = False
) -> AveragedModel:
    """An exponential moving average (EMA) of the weights of `parts`.

    Parameters
    ----------
    parts
        What learns.
    decay
        How much of the average stays at each step, below 1.
    warmup
        Whether it begins small: the lesser of `decay` and (1 + n) / (10 + n) after n steps.
    from_start
        Whether the weights as they are now count, with the lesser of `decay` and n / (10 + n) at step n;
        otherwise the average is that of the weights after the first step on.
    """

    def update(average: Any, current: Any, count: Tensor) -> None:
        n = float(count)
        rule = n / (_WARMUP + n) if from_start else (1 + n) / (_WARMUP + n)
        get_ema_multi_avg_fn(min(decay, rule))(average, current, count)

    changing = warmup or from_start
    step: Callable[..., None] = update if changing else get_ema_multi_avg_fn(decay)
    average = AveragedModel(parts, multi_avg_fn=step)
    if from_start:
        average.n_averaged.fill_(1)  # otherwise the first update replaces the weights as they are now
    return average


@contextmanager
def with_weights(parts: nn.Module, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Other weights in place for as long as this lasts; None for those that are there."""
    if weights is None:
        yield
        return
    working = copied(parts.state_dict())
    parts.load_state_dict(weights)
    try:
        yield
    finally:
        parts.load_state_dict(working)


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state dict, which learning does not change."""
    return {name: value.detach().clone() for name, value in state.items()}
