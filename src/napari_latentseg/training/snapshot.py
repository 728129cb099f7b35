"""The state of a training, from which it is resumed bit for bit."""

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

__all__ = ["Snapshot", "StageState", "add_prefix", "restore", "strip_prefix", "take_snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """The content of a checkpoint.

    Attributes
    ----------
    tensors
        By name, on the CPU.
    metadata
        The rest, as JSON holds it.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


@dataclass
class StageState:
    """The progress of a stage of a training.

    Attributes
    ----------
    stage_index
        Which of the method's stages, from 0.
    optimizer, ema_model
        With their states; the average is None where there is none.
    best
        The best weights so far.
    epoch
        How many epochs are complete.
    batch_index, losses
        How many batches of the next epoch are done, and the sums of their losses.
    rng_state
        The state of the generator that draws order and augmentation, at the beginning of that epoch.
    seconds
        That the stage took before it was stopped.
    part_size
        Images of a batch that were computed at once; None before the first step.
    """

    stage_index: int
    optimizer: torch.optim.Optimizer
    ema_model: AveragedModel | None
    best: BestWeights = field(default_factory=BestWeights)
    epoch: int = 0
    batch_index: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    rng_state: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    part_size: int | None = None


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, with a prefix before their names."""
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `add_prefix` named, with their own names."""
    full_prefix = f"{prefix}."
    return {
        key.removeprefix(full_prefix): value for key, value in tensors.items() if key.startswith(full_prefix)
    }


def take_snapshot(method: Method, stage_state: StageState, generator: torch.Generator) -> Snapshot:
    """Everything that the rest of the training depends on.

    Parameters
    ----------
    method
        Its weights and buffers are saved, but not those of its frozen codec.
    stage_state
        The stage.
    generator
        Of the losses; the states of torch's own generators are saved too, for dropout.
    """
    state = stage_state.optimizer.state_dict()["state"]
    tensors = add_prefix(
        "method", {k: v for k, v in method.state_dict().items() if not k.startswith("codec.")}
    )
    tensors |= add_prefix("state", method.training_state())
    for number, weight_state in state.items():
        tensors |= add_prefix(f"optimizer.{number}", {k: torch.as_tensor(v) for k, v in weight_state.items()})
    tensors |= add_prefix(
        "average", stage_state.ema_model.state_dict() if stage_state.ema_model is not None else {}
    )
    tensors |= add_prefix("kept", stage_state.best.weights or {})
    tensors |= {"random.torch": torch.get_rng_state(), "random.losses": generator.get_state()}
    if torch.cuda.is_available():
        tensors |= add_prefix(
            "random.cuda", {str(i): s for i, s in enumerate(torch.cuda.get_rng_state_all())}
        )
    metadata = {
        "stage": stage_state.stage_index,
        "epoch": stage_state.epoch,
        "batch": stage_state.batch_index,
        "losses": stage_state.losses,
        "order": dict(stage_state.rng_state),
        "seconds": stage_state.seconds,
        "rates": [group["lr"] for group in stage_state.optimizer.param_groups],
        "kept": stage_state.best.weights is not None,
        "part_size": stage_state.part_size,
    }
    return Snapshot(tensors, metadata)


def restore(
    snapshot_data: Snapshot,
    method: Method,
    trainable: nn.ModuleDict,
    stage_state: StageState,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> None:
    """Bring a new stage to the state of a snapshot.

    Parameters
    ----------
    snapshot_data
        From `take_snapshot`.
    method, trainable
        The method, and the modules that the stage trains.
    stage_state
        Is changed.
    rng, generator
        Their states are set, and those of torch's own.
    """
    tensors, metadata = snapshot_data.tensors, snapshot_data.metadata
    device = next(trainable.parameters()).device
    weights = strip_prefix("method", tensors)
    method.load_state_dict(weights | {k: v for k, v in method.state_dict().items() if k.startswith("codec.")})
    method.restore_training_state({k: v.to(device) for k, v in strip_prefix("state", tensors).items()})
    _restore_optimizer(stage_state.optimizer, strip_prefix("optimizer", tensors), metadata["rates"])
    if stage_state.ema_model is not None:
        stage_state.ema_model.load_state_dict(strip_prefix("average", tensors))
    if metadata["kept"]:
        current_weights = trainable.state_dict()
        kept = strip_prefix("kept", tensors)
        stage_state.best.weights = {k: torch.empty_like(current_weights[k]).copy_(v) for k, v in kept.items()}
    stage_state.epoch, stage_state.batch_index, stage_state.seconds = (
        metadata["epoch"],
        metadata["batch"],
        metadata["seconds"],
    )
    stage_state.losses, stage_state.rng_state = dict(metadata["losses"]), metadata["order"]
    stage_state.part_size = metadata.get("part_size")  # earlier versions computed whole batches
    rng.bit_generator.state = stage_state.rng_state
    generator.set_state(tensors["random.losses"])
    torch.set_rng_state(tensors["random.torch"])
    cuda_states = strip_prefix("random.cuda", tensors)
    if torch.cuda.is_available() and len(cuda_states) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([cuda_states[str(i)] for i in range(len(cuda_states))])


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], rates: list[float]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        weight = weights[int(number)]
        # in the memory layout of the weight: in another, the last bit of a step may differ
        restored = torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value
        state.setdefault(int(number), {})[key] = restored
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
