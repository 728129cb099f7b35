"""The training of every member of a model, one after the other, which can be stopped and go on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import build_method
from napari_latentseg.precision import Compute
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset
from napari_latentseg.training.state import Saved, under, within
from napari_latentseg.training.trainer import Trainer
from napari_latentseg.weights import fill

__all__ = ["Course", "as_stored", "check_same"]

Event = dict[str, Any]


@dataclass
class Course:
    """Trains as many predictors as the configuration says.

    Parameters
    ----------
    config, data, codec, compute, stop
        See `Trainer`.
    checkpoint
        Where the state is written.
    identity
        What must be the same when the training goes on, for the checkpoint.

    Attributes
    ----------
    methods
        Those that have learnt something, each with the weights that were selected, as a model folder keeps
        them.
    best_epochs
        Of each, the epoch of these weights.
    events
        Of all epochs so far.
    stopped
        Whether `stop` ended it.
    """

    config: TrainingConfig
    data: Dataset
    codec: Codec | None
    compute: Compute
    stop: Callable[[], bool]
    checkpoint: Checkpoint
    identity: dict[str, Any]
    methods: list[Method] = field(init=False, default_factory=list)
    best_epochs: list[int] = field(init=False, default_factory=list)
    events: list[Event] = field(init=False, default_factory=list)
    stopped: bool = field(init=False, default=False)

    def run(self, *, resume: bool = False) -> Iterator[Event]:
        """Train, one event an epoch.

        Parameters
        ----------
        resume
            Go on from the checkpoint.

        Raises
        ------
        BadInput
            Where the checkpoint is of other data or is damaged, or a training ended without having learnt.
        """
        identity = self.identity | {"data": data_digest(self.data)}
        saved = self._saved(identity) if resume else None
        for member in range(len(self.methods), self.config.members):
            config = self.config.replace(seed=self.config.seed + member)
            trainer = Trainer(config, self.data, self.codec, self.compute, self.stop, self.checkpoint, saved)
            saved = None
            self.checkpoint.around = self._around(identity)
            for epoch in trainer.run():
                event = epoch.as_dict()
                if self.config.members > 1:
                    event = {"member": member + 1} | event
                self.events.append(event)
                yield {"event": "epoch"} | event
            self.stopped = trainer.stopped
            if trainer.learnt:
                as_stored(trainer.method.trained)
                self.methods.append(trainer.method)
                self.best_epochs.append(trainer.best_epoch)
            elif not self.stopped:
                raise BadInput(
                    "training", "ended before the learning rate rose from zero", "ask for more epochs"
                )
            if self.stopped:
                return

    def _around(self, identity: dict[str, Any]) -> Saved:
        tensors: dict[str, Tensor] = {}
        for number, method in enumerate(self.methods):
            tensors |= under(f"member.{number}", method.trained.state_dict())
        told = {"identity": identity, "events": self.events, "best_epochs": list(self.best_epochs)}
        return Saved(tensors, told)

    def _saved(self, identity: dict[str, Any]) -> Saved:
        """What the member under way goes on from; those before it are made again."""
        found = self.checkpoint.read()
        if found.told["identity"]["data"] != identity["data"]:
            raise BadInput(
                "data", "are other images or masks than those of the stopped training", "give the same"
            )
        self.best_epochs, self.events = list(found.told["best_epochs"]), list(found.told["events"])
        for number in range(len(self.best_epochs)):
            method = build_method(self.config.method, self.codec, self.config.settings)
            fill(method.trained, within(f"member.{number}", found.tensors), self.checkpoint.folder)
            self.methods.append(method.eval())
        return Saved(found.tensors, found.told["at"])


def as_stored(module: nn.Module) -> None:
    """Round the weights to what a model folder keeps, so that what is judged is what is loaded later."""
    with torch.no_grad():
        for weight in module.state_dict().values():
            if weight.is_floating_point():
                weight.copy_(weight.half().float())


def data_digest(data: Dataset) -> str:
    """SHA-256 of every image and mask at working size, in their order, and of how they were split."""
    digest = hashlib.sha256()
    for part in (data.train, data.apart):
        digest.update(f"{len(part)}".encode())
        for example in part:
            about = (example.key, tuple(example.mask.shape), example.annotated, example.dataset)
            digest.update(repr(about).encode())
            for values in (example.image, example.mask):
                digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def check_same(now: dict[str, Any], before: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with another training than the one that was stopped.

    Parameters
    ----------
    now, before
        With ``"config"``, ``"name"`` and ``"codec"``; what is in both is compared.
    folder
        Of the checkpoint, for messages.

    Raises
    ------
    BadInput
        Naming what differs.
    """
    try:
        config = TrainingConfig.model_validate(before["config"]).model_dump(mode="json")
    except (ValidationError, KeyError, TypeError) as error:
        raise BadInput(
            folder, "is of another version of the program", "delete it, and train from the beginning"
        ) from error
    was, wanted = _flat(before | {"config": config}), _flat(now)
    for name in sorted(was.keys() | wanted.keys()):
        if name != "data" and was.get(name) != wanted.get(name):
            field_name = name.removeprefix("config.")
            raise BadInput(
                field_name,
                f"is {wanted.get(name)!r}, but was {was.get(name)!r} in the training that was stopped",
                "give the same to go on with it",
            )


def _flat(value: dict[str, Any], start: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        found |= _flat(each, f"{start}{key}.") if isinstance(each, dict) else {f"{start}{key}": each}
    return found
