"""Pieces of a model's own training that travel with it, against forgetting what it knew.

A file of a few dozen encoded windows with their masks. Some come from the images that the model learned
from: they are mixed in when it is taught something new. The others come from images that were kept apart:
by them it is judged whether it still knows what it knew. Latents are stored in 8 bits; an image can be made
out again from them, so the file has the licence of the images, and is as private.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Method, Tuning
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.layout import REPLAY
from napari_latentseg.precision import Compute
from napari_latentseg.training.dataset import Example
from napari_latentseg.training.pieces import (
    Piece,
    Pieces,
    conditions_of,
    finished,
    plain_pieces,
    varied_pieces,
)

__all__ = ["Replay", "make_replay", "read_replay"]

COUNT = 64
_MOST_BYTES = 3_000_000
_LEAST = 8
_JUDGED = 0.25  # of all, from images that were kept apart
_CHOSEN = 0.25  # of the rest: not learnt from, to see in time whether something is forgotten
_AGAIN = "install the model again"


@dataclass(frozen=True)
class Replay:
    """The pieces of a model, by what they are for.

    Attributes
    ----------
    learn
        To learn from again.
    choose
        Of images that the model learned from, but not learnt from again: the weights are chosen by them.
    judge
        Of images that the model never learned from; none where it was not told which.
    """

    learn: Pieces
    choose: Pieces
    judge: Pieces


def make_replay(
    method: Method,
    card: ModelCard,
    train: Sequence[Example],
    apart: Sequence[Example],
    compute: Compute,
    *,
    count: int = COUNT,
    seed: int = 0,
) -> bytes:
    """The content of a replay file.

    Parameters
    ----------
    method, card
        The model, with the weights that it is to have.
    train, apart
        What it learned from, and what it did not.
    compute
        Device and arithmetic.
    count
        How many pieces, a quarter of them to judge by; fewer, but eight at least, where they are large.
    seed
        Draws them.

    Raises
    ------
    BadInput
        Where there is nothing to draw from.
    """
    from safetensors.torch import save

    if not train:
        raise BadInput("data", "holds no image that the model learned from", "give the data of its training")
    rng = np.random.default_rng(seed)
    size = card.preprocess.size
    one = conditions_of(method, torch.zeros(1, 3, size, size), compute)
    each = one.numel() + len(card.classes) * size * -(-size // 8)
    count = min(count, max(_LEAST, _MOST_BYTES // each))
    judged = round(count * _JUDGED) if apart else 0
    shown = plain_pieces(_numbered(apart), card, judged)
    pieces = [*_drawn(train, count - len(shown), card, rng), *shown]
    conditions = conditions_of(method, torch.stack([p.image for p in pieces]), compute)
    if not bool(conditions.isfinite().all()):
        raise BadInput("replay", "the model gives values that are no numbers", "train it again")
    flat = conditions.transpose(0, 1).flatten(1)
    low, high = flat.min(dim=1).values, flat.max(dim=1).values
    step = ((high - low) / 255).clamp_min(1e-12)
    shape = (1, -1, *[1] * (conditions.ndim - 2))
    masks = torch.stack([p.mask for p in pieces]).to(torch.uint8).numpy()
    return bytes(
        save(
            {
                "conditions": ((conditions - low.reshape(shape)) / step.reshape(shape))
                .round()
                .byte()
                .contiguous(),
                "low": low,
                "step": step,
                "masks": torch.from_numpy(np.packbits(masks, axis=-1)),
                "annotated": torch.tensor([p.annotated for p in pieces]),
                "cases": torch.tensor([p.case for p in pieces]),
                "learned_from": torch.tensor([i < count - len(shown) for i in range(len(pieces))]),
            },
            metadata={"format": "1"},  # of several keys safetensors writes now this, now that first
        )
    )


def read_replay(folder: Path, card: ModelCard, tuning: Tuning, compute: Compute) -> Replay | None:
    """The pieces of a model folder, ready to learn from; None where it has none.

    Raises
    ------
    BadInput
        Where the file is not one of this model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / REPLAY
    if REPLAY not in card.files:
        return None
    try:
        stored = load_file(path)
        conditions = stored["conditions"].float()
        shape = (1, -1, *[1] * (conditions.ndim - 2))
        conditions = conditions * stored["step"].reshape(shape) + stored["low"].reshape(shape)
        size = card.preprocess.size
        masks = torch.from_numpy(np.unpackbits(stored["masks"].numpy(), axis=-1, count=size))
        annotated, cases = stored["annotated"], stored["cases"]
        if masks.shape[1:] != (len(card.classes), size, size) or len(masks) != len(conditions):
            raise BadInput(path, "is that of another model", _AGAIN)
        every = finished(tuning, conditions, masks, annotated, cases, compute)
        learned = stored["learned_from"].bool()
    except (SafetensorError, OSError, LookupError, TypeError, RuntimeError) as error:
        raise BadInput(path, "is damaged, or that of another model", _AGAIN) from error
    own, other = learned.nonzero()[:, 0], (~learned).nonzero()[:, 0]
    # evenly among the cases, which lie one after another in the order they were drawn
    spared = torch.arange(len(own)) % round(1 / _CHOSEN) == 0
    if len(own) < 2 / _CHOSEN:  # too few to spare any: they are looked at again
        return Replay(every.rows(own), every.rows(own), every.rows(other))
    return Replay(every.rows(own[~spared]), every.rows(own[spared]), every.rows(other))


def _numbered(examples: Sequence[Example]) -> list[tuple[int, Example]]:
    """Those in which something is marked, or all where there are none, each with the number of its case."""
    keys = {key: number for number, key in enumerate(dict.fromkeys(e.key for e in examples))}
    marked = [e for e in examples if bool(e.mask.any())] or examples
    return [(keys[e.key], e) for e in marked]


def _drawn(examples: Sequence[Example], count: int, card: ModelCard, rng: np.random.Generator) -> list[Piece]:
    """Varied windows, of every case one before any has a second."""
    numbered = _numbered(examples)
    found: list[Piece] = []
    while len(found) < count:
        order = rng.permutation(len(numbered))[: count - len(found)]
        found += [next(varied_pieces([numbered[i]], card, rng)) for i in order]
    return found
