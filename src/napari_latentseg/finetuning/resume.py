"""The checkpoints of a running fine-tuning, and what must be the same when it is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from napari_latentseg.data.cases import Case
from napari_latentseg.data.slices import Slice
from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.interrupted import ResumeRequest
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.events import FineTuneCheckpoint, FineTuneEpoch
from napari_latentseg.training.snapshot import Snapshot

__all__ = ["CheckpointWriter", "fine_tuning_identity", "read_stopped"]

_MISMATCHES = {
    "base": "is not the base model of the fine-tuning that was stopped",
    "name": "is not that of the fine-tuning that was stopped",
    "seed": "is not that of the fine-tuning that was stopped",
    "data": "are not the images and masks of the fine-tuning that was stopped",
}


def fine_tuning_identity(
    base: ModelCard, name: str, seed: int, cases: Sequence[Case], slices: Sequence[Slice]
) -> dict[str, Any]:
    """The base's weights, the new model's name, the seed and a digest of all images and masks.

    Parameters
    ----------
    base, name, seed
        Of the fine-tuning.
    cases
        All, in the order of their numbers from 1.
    slices
        The annotated ones, each with the number of its case.
    """
    digest = hashlib.sha256()
    for s in slices:
        key = cases[s.case - 1].split_key
        digest.update(repr((s.case, key, tuple(s.mask.shape), s.annotated)).encode())
        digest.update(s.image.numpy().tobytes() + s.mask.numpy().tobytes())
    return {"base": base.files[WEIGHTS_FILE], "name": name, "seed": seed, "data": digest.hexdigest()}


def read_stopped(checkpoint: Checkpoint, identity: dict[str, Any]) -> Snapshot:
    """The state of the fine-tuning that was stopped, whose number the checkpoint takes over.

    Raises
    ------
    BadInput
        If it was another fine-tuning, with the field in which they differ.
    """
    snapshot = checkpoint.read()
    saved_identity = snapshot.metadata.get("identity", {})
    for key, why in _MISMATCHES.items():
        if saved_identity.get(key) != identity[key]:
            raise BadInput(key, why, "give the same, or begin again without --resume")
    checkpoint.training_id = snapshot.metadata["training"]
    return Snapshot(snapshot.tensors, snapshot.metadata)


@dataclass
class CheckpointWriter:
    """Writes the state of a running fine-tuning when that is due, and at once when it is to stop.

    Parameters
    ----------
    checkpoint
        Where it is written, and how often.
    loop
        The training.
    identity
        See `fine_tuning_identity`.
    rounds
        How many times the images were encoded.
    request
        With what it was started; None where its folder is the user's own, who knows the command.
    epochs
        The validations so far; the list that grows.
    report
        Called with the event of a checkpoint that was written.
    """

    checkpoint: Checkpoint
    loop: Tuner
    identity: dict[str, Any]
    rounds: int
    request: ResumeRequest | None
    epochs: list[FineTuneEpoch]
    report: Callable[[FineTuneCheckpoint], None]

    def after_step(self) -> None:
        """Write a checkpoint before the validation that follows a stop: the process may end during that."""
        if self.loop.step != self.loop.steps:  # resumed after its last step it would not be validated
            self.write_if_due()

    def write_if_due(self) -> None:
        """Write a checkpoint if one is due, or if the training is to stop.

        Raises
        ------
        BadInput
            If it cannot be written.
        """
        if not (self.loop.stopped or self.checkpoint.is_due()):
            return
        events = [event.model_dump(exclude={"event"}) for event in self.epochs]
        metadata = {"identity": self.identity, "rounds": self.rounds, "events": events}
        if self.request is not None:
            metadata["request"] = self.request.model_dump(mode="json")
        self.checkpoint.common = Snapshot({}, metadata)
        self.checkpoint.write(self.loop.snapshot())
        self.report(
            FineTuneCheckpoint(
                name=self.identity["name"],
                folder=str(self.checkpoint.folder),
                seconds=round(self.loop.spent_seconds, 1),
            )
        )
