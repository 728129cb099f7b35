"""The state of a training: taken out of it, and put back so that it goes on as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from napari_latentseg.methods.base import Method
from napari_latentseg.training.loop import BestWeights

__all__ = ["Saved", "StageRun", "restore", "snapshot", "under", "within"]


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes
    ----------
    tensors
        By name, on the CPU.
    told
        The rest, as JSON has it.
    """

    tensors: dict[str, Tensor]
    told: dict[str, Any]


@dataclass
class StageRun:
    """A stage of a training on its way.

    Attributes
    ----------
    number
        Which of the method's stages, from 0.
    optimizer, average
        With what they remember; None where no average is kept.
    best
        The weights that were the best so far.
    epoch
        How many epochs are complete.
    batch, losses
        How many batches of the next one are done, and their summed losses.
    order
        The state of the generator that draws order and augmentation, at the beginning of that epoch.
    seconds
        That the stage took before it was stopped.
    """

    number: int
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    best: BestWeights = field(default_factory=BestWeights)
    epoch: int = 0
    batch: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    order: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names that begin with another."""
    return {f"{name}.{key}": value for key, value in tensors.items()}


def within(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `under` put there, under their own names."""
    start = f"{name}."
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}


def snapshot(method: Method, run: StageRun, generator: torch.Generator) -> Saved:
    """Everything that the rest of a stage, and of the stages after it, depends on.

    Parameters
    ----------
    method
        Its weights and buffers are taken, not those of its codec, which comes from elsewhere.
    run
        The stage.
    generator
        Of the losses; torch's own generators are taken too, for dropout.
    """
    state = run.optimizer.state_dict()["state"]
    tensors = under("method", {k: v for k, v in method.state_dict().items() if not k.startswith("codec.")})
    tensors |= under("state", method.training_state())
    for number, each in state.items():
        tensors |= under(f"optimizer.{number}", {k: torch.as_tensor(v) for k, v in each.items()})
    tensors |= under("average", run.average.state_dict() if run.average is not None else {})
    tensors |= under("kept", run.best.weights or {})
    tensors |= {"random.torch": torch.get_rng_state(), "random.losses": generator.get_state()}
    if torch.cuda.is_available():
        tensors |= under("random.cuda", {str(i): s for i, s in enumerate(torch.cuda.get_rng_state_all())})
    told = {
        "stage": run.number,
        "epoch": run.epoch,
        "batch": run.batch,
        "losses": run.losses,
        "order": dict(run.order),
        "seconds": run.seconds,
        "rates": [group["lr"] for group in run.optimizer.param_groups],
        "kept": run.best.weights is not None,
    }
    return Saved(tensors, told)


def restore(
    saved: Saved,
    method: Method,
    parts: nn.ModuleDict,
    run: StageRun,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> None:
    """Bring a stage, fresh at its beginning, to where `snapshot` found it.

    Parameters
    ----------
    saved
        From `snapshot`.
    method, parts
        The method, and what the stage teaches.
    run
        Is filled in.
    rng, generator
        Their states are set, and those of torch's own.
    """
    tensors, told = saved.tensors, saved.told
    device = next(parts.parameters()).device
    weights = within("method", tensors)
    method.load_state_dict(weights | {k: v for k, v in method.state_dict().items() if k.startswith("codec.")})
    method.restore_training_state({k: v.to(device) for k, v in within("state", tensors).items()})
    _restore_optimizer(run.optimizer, within("optimizer", tensors), told["rates"])
    if run.average is not None:
        run.average.load_state_dict(within("average", tensors))
    if told["kept"]:
        like = parts.state_dict()
        kept = within("kept", tensors)
        run.best.weights = {k: torch.empty_like(like[k]).copy_(v) for k, v in kept.items()}
    run.epoch, run.batch, run.seconds = told["epoch"], told["batch"], told["seconds"]
    run.losses, run.order = dict(told["losses"]), told["order"]
    rng.bit_generator.state = run.order
    generator.set_state(tensors["random.losses"])
    torch.set_rng_state(tensors["random.torch"])
    cuda = within("random.cuda", tensors)
    if torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([cuda[str(i)] for i in range(len(cuda))])


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rates: list[float]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        like = weights[int(number)]
        # in the layout of the weight: in another, the last bit of a step may come out otherwise
        same = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(number), {})[key] = same
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
