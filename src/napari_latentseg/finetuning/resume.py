"""What must be the same when a fine-tuning that was stopped is resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from napari_latentseg.data.cases import Case
from napari_latentseg.data.slices import Slice
from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.snapshot import Snapshot

__all__ = ["fine_tuning_identity", "read_stopped"]

_MISMATCHES = {
    "base": "is another model than the one of the fine-tuning that was stopped",
    "name": "is another than that of the fine-tuning that was stopped",
    "seed": "is another than that of the fine-tuning that was stopped",
    "data": "are other images or masks than those of the fine-tuning that was stopped",
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
