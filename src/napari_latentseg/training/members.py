"""The training of every member of a model, one after the other, which can be stopped and resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import build_method
from napari_latentseg.training.batches import bootstrap_images
from napari_latentseg.training.begin_from import InitialModel
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset
from napari_latentseg.training.events import TrainEpoch, TrainMemory, TrainProgress
from napari_latentseg.training.processes import ONE_PROCESS, Processes
from napari_latentseg.training.snapshot import Snapshot, add_prefix, strip_prefix
from napari_latentseg.training.trainer import Trainer
from napari_latentseg.training.validation import Validation
from napari_latentseg.utils.device import Compute, move_to_device
from napari_latentseg.utils.weights import load_state

__all__ = ["MemberTraining", "check_same_training", "round_to_stored_precision"]


@dataclass
class MemberTraining:
    """Trains the members of a model; most models have one.

    Parameters
    ----------
    config, data, codec, compute, should_stop
        See `Trainer`.
    checkpoint
        Where the state is written.
    identity
        What must be the same when the training is resumed; stored in the checkpoint.
    processes
        See `Trainer`; the main process alone writes the checkpoint.
    on_progress
        See `Trainer`.
    first
        The first member, where it is trained already: the others get a predictor on its conditioner.
    first_epoch
        The epoch of its weights, for the card.
    initial_model
        Whose weights each member begins with; None to begin anew.

    Attributes
    ----------
    trained_methods
        The members with at least one optimizer step, each with the selected weights in the precision that a
        model folder stores.
    best_epochs
        Of each, the epoch of the selected weights.
    seeds
        Of each, the seed that it was trained with.
    events
        Of all epochs so far, also those before a stop.
    stopped
        Whether `should_stop` ended it.
    was_finished
        Whether the checkpoint was that of a training at its end, so that nothing was trained now.
    """

    config: TrainingConfig
    data: Dataset
    codec: Codec | None
    compute: Compute
    should_stop: Callable[[], bool]
    checkpoint: Checkpoint
    identity: dict[str, Any]
    processes: Processes = ONE_PROCESS
    on_progress: Callable[[TrainMemory | TrainProgress], None] = lambda event: None
    first: Method | None = None
    first_epoch: int = 0
    initial_model: InitialModel | None = None
    trained_methods: list[Method] = field(init=False, default_factory=list)
    best_epochs: list[int] = field(init=False, default_factory=list)
    seeds: list[int] = field(init=False, default_factory=list)
    events: list[TrainEpoch] = field(init=False, default_factory=list)
    stopped: bool = field(init=False, default=False)
    was_finished: bool = field(init=False, default=False)

    def run(self, *, resume: bool = False) -> Iterator[TrainEpoch]:
        """Train, one event an epoch.

        Parameters
        ----------
        resume
            Resume from the checkpoint.

        Raises
        ------
        BadInput
            If the checkpoint is of other data or damaged, or every step would have a rate of zero.
        """
        identity = self.identity | {"data": dataset_sha256(self.data)}
        remedy = "give every process the same files, and the same version of the program"
        self.processes.check_same("images or masks", identity["data"], remedy)
        self.processes.check_same("precisions", self.compute.precision, "set precision in the configuration")
        snapshot = self._restore_members(identity) if resume else None
        if self.first is not None and not self.trained_methods:
            self.trained_methods, self.best_epochs = [self.first], [self.first_epoch]
            self.seeds = [self.config.seed]
        for member in range(len(self.trained_methods), self.config.members):
            config = self.config.for_member(member)
            number = member + 1 if self.config.members > 1 else None
            first_member = self.trained_methods[0] if member and self._shares_conditioning else None
            trainer = Trainer(
                config, self._data_of(config, first_member), self.codec, self.compute, self.should_stop,
                self.checkpoint if self.processes.is_main else None, snapshot, self.processes,
                partial(self._report_progress, number), first_member, self.initial_model,
            )  # fmt: skip
            snapshot = None
            self.checkpoint.common = self._common_state(identity)
            for epoch in trainer.run():
                event = epoch.replace(member=number)
                self.events.append(event)
                # the trainer writes its checkpoint after this event was taken, and the event belongs in it
                self.checkpoint.common.metadata["events"].append(_stored_event(event))
                yield event
            self.stopped = trainer.stopped
            if trainer.has_learnt:
                if first_member is None and self.initial_model is not None:
                    self.initial_model.blend_into(trainer.method, config.begin_share)
                round_to_stored_precision(trainer.method.trainable_modules)
                self.trained_methods.append(trainer.method)
                self.best_epochs.append(trainer.best_epoch)
                self.seeds.append(config.seed)
            if self.stopped:
                return

    @property
    def _shares_conditioning(self) -> bool:
        return self.config.member_parts == "predictor"

    def _data_of(self, config: TrainingConfig, first_member: Method | None) -> Dataset:
        """What a member is trained on: all images, or of a predictor on a shared conditioner a sample."""
        if first_member is None or config.member_images == "all":
            return self.data
        return replace(self.data, train=bootstrap_images(self.data.train, config.seed))

    def put_best_first(self) -> list[float]:
        """Order the members by their Dice on the validation slices, at the end of the training.

        All sources but those of members use the first member, which should not be the worst. Where members
        share the conditioner of the first, it stays the first: its predictor was trained together with it.

        Returns
        -------
        list of float
            The Dice of the selected weights of each member, in the new order.
        """
        dsc = [self._selected_dsc(index) for index in range(len(self.trained_methods))]
        order = list(range(len(dsc)))
        if not self._shares_conditioning:
            order.sort(key=lambda index: -dsc[index])
        self.trained_methods = [self.trained_methods[index] for index in order]
        self.best_epochs = [self.best_epochs[index] for index in order]
        self.seeds = [self.seeds[index] for index in order]
        return [dsc[index] for index in order]

    def _selected_dsc(self, index: int) -> float:
        """Dice on the validation slices of the selected weights of a member, by its place in the list."""
        member = self.seeds[index] - self.config.seed + 1
        own = [event for event in self.events if event.member in (None, member)]
        if not own:  # it was trained before
            method = self.trained_methods[index]
            validation = Validation(method, self.data, self.config, self.compute, self.processes)
            move_to_device(method, self.compute.torch_device())
            return validation.mean_dice(method.stages()[-1])
        selected = [e for e in own if (e.stage, e.epoch) == (own[-1].stage, self.best_epochs[index])]
        return selected[-1].dsc or 0.0

    def write_finished(self) -> None:
        """Write the checkpoint of a training at its end, from which the judging of the model is resumed.

        Raises
        ------
        BadInput
            If it cannot be written.
        """
        self.checkpoint.common = self._common_state(self.identity | {"data": dataset_sha256(self.data)})
        self.checkpoint.write(Snapshot({}, {}))

    def _own_modules(self, number: int, method: Method) -> nn.ModuleDict:
        """The modules of a member, by its place in the list, that are not those of the first."""
        is_shared = number > 0 and self._shares_conditioning
        return method.predictor_modules if is_shared else method.trainable_modules

    def _report_progress(self, member: int | None, event: TrainMemory | TrainProgress) -> None:
        self.on_progress(event.replace(member=member))

    def _common_state(self, identity: dict[str, Any]) -> Snapshot:
        tensors: dict[str, Tensor] = {}
        for number, method in enumerate(self.trained_methods):
            # copies: safetensors refuses tensors that share memory, and the member in training has the same
            state = {k: v.clone() for k, v in self._own_modules(number, method).state_dict().items()}
            tensors |= add_prefix(f"member.{number}", state)
        metadata = {
            "identity": identity,
            "events": [_stored_event(event) for event in self.events],
            "best_epochs": list(self.best_epochs),
            "seeds": list(self.seeds),
        }
        return Snapshot(tensors, metadata)

    def _restore_members(self, identity: dict[str, Any]) -> Snapshot:
        """Rebuild the members that are complete; returns the snapshot of the one that was stopped."""
        snapshot = self.checkpoint.read()
        saved_data = snapshot.metadata["identity"]["data"]
        # earlier versions hashed the mask of each class
        if saved_data != identity["data"] and saved_data != _expanded_sha256(self.data):
            raise BadInput(
                "data", "are other images or masks than those of the stopped training", "give the same"
            )
        self.best_epochs, self.events = (
            list(snapshot.metadata["best_epochs"]),
            [TrainEpoch.model_validate(event) for event in snapshot.metadata["events"]],
        )
        trained_in_order = [self.config.seed + number for number in range(len(self.best_epochs))]
        self.seeds = list(snapshot.metadata.get("seeds", trained_in_order))
        for number in range(len(self.best_epochs)):
            method = build_method(self.config.method, self.codec, self.config.settings)
            if number and self._shares_conditioning:
                method.share_conditioning(self.trained_methods[0])
            load_state(
                self._own_modules(number, method),
                strip_prefix(f"member.{number}", snapshot.tensors),
                self.checkpoint.folder,
            )
            self.trained_methods.append(method.eval())
        self.was_finished = len(self.trained_methods) == self.config.members
        return Snapshot(snapshot.tensors, snapshot.metadata["at"])


def _stored_event(event: TrainEpoch) -> dict[str, Any]:
    return {key: value for key, value in event.as_dict().items() if key != "event"}


def round_to_stored_precision(module: nn.Module) -> None:
    """Round the weights to the 16 bits that a model folder stores: the model that is saved is evaluated."""
    with torch.no_grad():
        for weight in module.state_dict().values():
            if weight.is_floating_point():
                weight.copy_(weight.half().float())


def dataset_sha256(data: Dataset) -> str:
    """SHA-256 of every slice and mask at working size, in their order, and of the split."""
    if not data.values_sha256:
        return _expanded_sha256(data)
    text = json.dumps([data.values_sha256, data.content_hashes()])
    return hashlib.sha256(text.encode()).hexdigest()


def _expanded_sha256(data: Dataset) -> str:
    """The same from the values themselves, with a mask for each class."""
    digest = hashlib.sha256()
    for subset in (data.train, data.validation):
        digest.update(f"{len(subset)}".encode())
        for s in subset:
            attributes = (s.content_sha256, tuple(s.mask.shape), s.annotated, s.dataset)
            digest.update(repr(attributes).encode())
            for values in (s.image, s.mask, *([] if s.reader_masks is None else [s.reader_masks])):
                digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def check_same_training(current: dict[str, Any], saved: dict[str, Any], folder: Path) -> None:
    """Refuse to resume another training than the one that was stopped.

    Parameters
    ----------
    current, saved
        With ``"config"``, ``"name"`` and ``"codec"``; all but ``"data"`` is compared.
    folder
        Of the checkpoint, for messages.

    Raises
    ------
    BadInput
        Naming what differs.
    """
    try:
        config = TrainingConfig.model_validate(saved["config"]).model_dump(mode="json")
    except (ValidationError, KeyError, TypeError) as error:
        raise BadInput(
            folder, "is of another version of the program", "delete it, and train from the beginning"
        ) from error
    saved_settings, current_settings = _flatten(saved | {"config": config}), _flatten(current)
    for name in sorted(saved_settings.keys() | current_settings.keys()):
        if name != "data" and saved_settings.get(name) != current_settings.get(name):
            current_value, saved_value = current_settings.get(name), saved_settings.get(name)
            raise BadInput(
                name.removeprefix("config."),
                f"is {current_value!r}, but was {saved_value!r} in the training that was stopped",
                "give the same to go on with it",
            )


def _flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flattened: dict[str, Any] = {}
    for key, item in value.items():
        flattened |= _flatten(item, f"{prefix}{key}.") if isinstance(item, dict) else {f"{prefix}{key}": item}
    return flattened
