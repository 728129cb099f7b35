"""One step of a training, the same for methods, for codecs and for fine-tuning.

The terms of the loss are summed, gradients are accumulated and clipped, the optimizer changes the weights,
and a moving average follows them. Batches, learning rate and number of steps are set by each training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from napari_latentseg.errors import BadInput
from napari_latentseg.training.processes import ONE_PROCESS, Processes

__all__ = ["BestWeights", "TrainingStep", "averaged", "copied", "parameter_groups", "with_weights"]

_WARMUP = 10  # as in TensorFlow's ExponentialMovingAverage(num_updates) and in diffusers


@dataclass
class TrainingStep:
    """An optimizer step, from the terms of a loss to new weights.

    Parameters
    ----------
    optimizer
        Of the weights. A parameter group with a ``"fraction"`` has that fraction of the learning rate.
    parts
        The modules that are trained.
    clip_gradient
        Maximum norm of the gradient of all weights together; 0 for no clipping.
    accumulate
        Batches whose gradients are accumulated for one step.
    average
        The moving average, see `averaged`; None for none.
    name, remedy
        For the message where the loss is infinite or not a number.
    processes
        Those that train together, each with its share of every batch.
    """

    optimizer: torch.optim.Optimizer
    parts: nn.Module
    clip_gradient: float = 0.0
    accumulate: int = 1
    average: AveragedModel | None = None
    name: str = "training"
    remedy: str = "lower the learning rate"
    processes: Processes = ONE_PROCESS

    def __post_init__(self) -> None:
        self.weights = list(self.parts.parameters())

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("fraction", 1.0)

    def add_gradient(
        self, terms: Mapping[str, Tensor], penalty: Tensor | None = None, *, weight: float = 1.0
    ) -> dict[str, float]:
        """Accumulate the gradient of a batch.

        Parameters
        ----------
        terms
            The weighted terms of the loss, by name, each a scalar; their sum is minimised.
        penalty
            Is minimised too, but is not among the terms that are returned.
        weight
            Of the share of the batch that this process computes, in (0, 1].

        Returns
        -------
        dict
            The terms as floats, of the whole batch.

        Raises
        ------
        BadInput
            If the loss is infinite or not a number.
        """
        return self.loss_values(list(terms), self.add_part(terms, penalty, weight=weight))

    def add_part(
        self, terms: Mapping[str, Tensor], penalty: Tensor | None = None, *, weight: float = 1.0
    ) -> Tensor:
        """Accumulate the gradient of a part of a batch, as `add_gradient`.

        Returns
        -------
        Tensor
            The terms and their sum, each times `weight`, for `loss_values` when all parts are added.
        """
        total = torch.stack([term.float() for term in terms.values()]).sum()
        if penalty is not None:
            total = total + penalty
        (total * weight / self.accumulate if weight != 1 else total / self.accumulate).backward()
        # after the backward pass was queued: a GPU waits for nothing before it
        return torch.stack([*(term.detach().float() for term in terms.values()), total.detach()]) * weight

    def loss_values(self, names: Sequence[str], values: Tensor) -> dict[str, float]:
        """The terms of a batch as floats, from the sum of what `add_part` gave for its parts.

        Raises
        ------
        BadInput
            If the loss is infinite or not a number.
        """
        *terms, whole = self.processes.sums(values.tolist())
        if not math.isfinite(whole):
            raise BadInput(self.name, "the loss is no longer a number", self.remedy)
        return dict(zip(names, terms, strict=True))

    def copy_gradient(self) -> list[Tensor | None]:
        """A copy of the accumulated gradient, for `restore_gradient`."""
        return [None if weight.grad is None else weight.grad.clone() for weight in self.weights]

    def restore_gradient(self, gradient: Sequence[Tensor | None]) -> None:
        """Replace the accumulated gradient by one from `copy_gradient`."""
        for weight, value in zip(self.weights, gradient, strict=True):
            weight.grad = None if value is None else value.clone()

    def update(self) -> None:
        """Update the weights with the accumulated gradient, then the moving average."""
        self.processes.add_gradients(self.weights)
        if self.clip_gradient:
            nn.utils.clip_grad_norm_(self.weights, self.clip_gradient)
        self.optimizer.step()
        self.forget_gradient()
        if self.average is not None:
            self.average.update_parameters(self.parts)

    def forget_gradient(self) -> None:
        """Discard the accumulated gradient."""
        self.optimizer.zero_grad(set_to_none=True)


@dataclass
class BestWeights:
    """The best weights so far.

    Attributes
    ----------
    weights
        A state dict; None at the beginning.
    score
        Of these weights; higher is better.
    """

    weights: dict[str, Tensor] | None = None
    score: float | None = None

    def offer(self, weights: Mapping[str, Tensor], score: float, *, latest: bool = False) -> bool:
        """Keep a copy of these weights where they are the best so far; returns whether it was kept.

        Parameters
        ----------
        weights
            A state dict.
        score
            Of these weights.
        latest
            Keep them in any case: the last weights are selected, not the best.
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
        The modules that are trained.
    decay
        Of the average in each step, in [0, 1).
    warmup
        Whether the decay starts low: the lesser of `decay` and (1 + n) / (10 + n) after n steps.
    from_start
        Whether the present weights are in the average, with the lesser of `decay` and n / (10 + n) as the
        decay of step n; otherwise the average begins with the weights after the first step.
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


def parameter_groups(
    weights: Iterable[nn.Parameter], pretrained: Iterable[nn.Module], fraction: float
) -> list[dict[str, Any]]:
    """The weights, with those of pretrained modules in a group of their own, for the optimizer.

    Parameters
    ----------
    weights
        What is trained.
    pretrained
        Modules whose weights have another learning rate.
    fraction
        Of the learning rate, for these.
    """
    pretrained_parameters = {p for module in pretrained for p in module.parameters()}
    own: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for weight in weights:
        (others if weight in pretrained_parameters else own).append(weight)
    groups = [{"params": own, "fraction": 1.0}, {"params": others, "fraction": fraction}]
    return [group for group in groups if group["params"]]


@contextmanager
def with_weights(parts: nn.Module, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Load other weights while the block runs; None for no change."""
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
    """A copy of a state dict, which further training does not change."""
    return {name: value.detach().clone() for name, value in state.items()}
