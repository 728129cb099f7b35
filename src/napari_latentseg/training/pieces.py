"""What fine-tuning learns from: pieces of images, encoded once and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from napari_latentseg.inference.plane import tiling_of
from napari_latentseg.methods.base import Method, Tuning
from napari_latentseg.models.card import ModelCard
from napari_latentseg.oom import run_in_batches
from napari_latentseg.precision import Compute
from napari_latentseg.training.augment import augment
from napari_latentseg.training.dataset import Example

__all__ = ["Piece", "Pieces", "conditions_of", "encoded", "plain_pieces", "prepared", "varied_pieces"]

_AT_ONCE = 8


@dataclass(frozen=True)
class Piece:
    """A window of an image at the size that the network is given, with its mask.

    Attributes
    ----------
    image, mask
        float32, `(3, S, S)` in [0, 1] and `(K, S, S)` in {0, 1}.
    annotated
        For each class, whether it was looked for.
    case
        The number of its case.
    """

    image: Tensor
    mask: Tensor
    annotated: tuple[bool, ...]
    case: int


@dataclass(frozen=True)
class Pieces:
    """Encoded pieces, on the CPU.

    Attributes
    ----------
    features
        float16, what `Tuning.prepare` gave.
    target
        float16, what `Tuning.target` gave.
    masks
        uint8, `(N, K, S, S)`.
    annotated
        bool, `(N, K)`.
    cases
        int64, `(N,)`.
    """

    features: Tensor
    target: Tensor
    masks: Tensor
    annotated: Tensor
    cases: Tensor

    def __len__(self) -> int:
        return len(self.cases)

    def rows(self, which: Tensor) -> Pieces:
        """Some of them."""
        return Pieces(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    @classmethod
    def joined(cls, several: Sequence[Pieces]) -> Pieces:
        """One after another."""
        names = cls.__dataclass_fields__
        return cls(*(torch.cat([getattr(one, name) for one in several]) for name in names))


def varied_pieces(
    examples: Sequence[tuple[int, Example]], card: ModelCard, rng: np.random.Generator
) -> Iterator[Piece]:
    """One round: of every example as many varied windows as cover it, in the ranges of the model's training.

    Parameters
    ----------
    examples
        With the numbers of their cases.
    card
        Of the model.
    rng
        Draws the variations.
    """
    size = card.preprocess.size
    for case, example in examples:
        image, mask = example.tensors()
        for _ in range(max(1, round(image[0].numel() / size**2))):
            x, y = augment(image, mask, card.augment, rng, size=size)
            yield Piece(x, y, example.annotated, case)


def plain_pieces(examples: Sequence[tuple[int, Example]], card: ModelCard, most: int) -> list[Piece]:
    """Windows of the examples as they are, evenly taken where there are more than `most`."""
    every = []
    for case, example in examples:
        tiling = tiling_of(example.image, card.preprocess)
        every += [(case, example, tiling, corner) for corner in tiling.corners()]
    count = min(most, len(every))
    found = []
    for i in range(count):
        case, example, tiling, corner = every[i * len(every) // count]
        image, mask = (tiling.cut(whole, corner) for whole in example.tensors())
        found.append(Piece(image, mask, example.annotated, case))
    return found


def conditions_of(method: Method, images: Tensor, compute: Compute) -> Tensor:
    """What the method computes once of images `(B, 3, S, S)`, float32 on the CPU.

    Where memory runs out, of fewer at a time.

    Raises
    ------
    BadInput
        Where it is too small even for one.
    """
    return run_in_batches(lambda some: _encode(method, some, compute), images, _AT_ONCE)


def prepared(tuning: Tuning, conditions: Tensor, compute: Compute) -> Tensor:
    """What the parts that learn begin from, float16 on the CPU."""
    device = compute.torch_device()

    def run(some: Tensor) -> Tensor:
        with torch.no_grad(), compute.autocast():
            return tuning.prepare(some.to(device, torch.float32)).half().cpu()

    return run_in_batches(run, conditions, _AT_ONCE)


def encoded(method: Method, tuning: Tuning, pieces: Sequence[Piece], compute: Compute) -> Pieces:
    """Encode pieces once."""
    images = torch.stack([piece.image for piece in pieces])
    masks = torch.stack([piece.mask for piece in pieces])
    return finished(
        tuning,
        conditions_of(method, images, compute),
        masks,
        torch.tensor([piece.annotated for piece in pieces]),
        torch.tensor([piece.case for piece in pieces]),
        compute,
    )


def finished(
    tuning: Tuning, conditions: Tensor, masks: Tensor, annotated: Tensor, cases: Tensor, compute: Compute
) -> Pieces:
    """Pieces of which the conditions are known already."""
    device = compute.torch_device()

    def aimed(some: Tensor) -> Tensor:
        with torch.no_grad(), compute.autocast():
            return tuning.target(some.to(device)).half().cpu()

    return Pieces(
        prepared(tuning, conditions, compute),
        run_in_batches(aimed, masks.float(), _AT_ONCE),
        masks.to(torch.uint8),
        annotated,
        cases,
    )


def _encode(method: Method, images: Tensor, compute: Compute) -> Tensor:
    given = images.to(compute.torch_device()).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), compute.autocast():
        return method.encode(given).float().cpu()
