"""Test-time augmentation: the image varied as in training, the answer turned back exactly.

Wang et al., Aleatoric uncertainty estimation with test-time augmentation, Neurocomputing 2019, as a source of
samples for methods that have none of their own. The geometry is only such as can be undone to the pixel:
flips, quarter turns, and shifts by less than one step of the latent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from napari_latentseg.augmentation import AugmentRanges

__all__ = ["Variation", "variations"]


@dataclass(frozen=True)
class Variation:
    """One way to vary an image.

    Attributes
    ----------
    turns
        Quarter turns.
    horizontal, vertical
        Flips, after the turns.
    shift
        Pixels added at the top and the left, by mirroring; the rest of `pad` is added at the other side.
    pad
        Pixels added in all, along each axis.
    brightness, contrast
        Factors.
    """

    turns: int = 0
    horizontal: bool = False
    vertical: bool = False
    shift: tuple[int, int] = (0, 0)
    pad: int = 0
    brightness: float = 1.0
    contrast: float = 1.0

    def apply(self, plane: Tensor) -> Tensor:
        """`(3, H, W)` in [0, 1] to the same, varied; larger by `pad`, and turned where it is turned."""
        x = plane
        if self.brightness != 1 or self.contrast != 1:
            middle = x.mean()
            x = ((x - middle) * self.contrast + middle) * self.brightness
            x = x.clamp(0, 1)
        x = torch.rot90(x, self.turns, (1, 2))
        x = x.flip([axis for axis, on in ((1, self.vertical), (2, self.horizontal)) if on])
        if self.pad:
            rows, columns = (
                mirror_index(n, s, self.pad) for n, s in zip(x.shape[1:], self.shift, strict=True)
            )
            x = x[:, rows][:, :, columns]
        return x

    def undo(self, probability: Tensor) -> Tensor:
        """What was found in the varied image, `(K, H', W')`, back in the place of the image, `(K, H, W)`."""
        x = probability
        if self.pad:
            top, left = self.shift
            height, width = x.shape[1] - self.pad, x.shape[2] - self.pad
            x = x[:, top : top + height, left : left + width]
        x = x.flip([axis for axis, on in ((1, self.vertical), (2, self.horizontal)) if on])
        return torch.rot90(x, -self.turns, (1, 2))


def mirror_index(length: int, before: int, pad: int) -> Tensor:
    """Indices that mirror an axis out by `before` at its beginning and by the rest of `pad` at its end."""
    index = torch.arange(-before, length + pad - before) % (2 * length)
    return torch.where(index < length, index, 2 * length - 1 - index)


def variations(
    ranges: AugmentRanges, seed: int, *, step: int = 8, size: int | None = None
) -> Iterator[Variation]:
    """Variation after variation, without end; the first is the image as it is.

    Flips and turns are gone through in a random order without repetition, then again. Only what training
    did happens, and not farther: no turns where the model was trained without them.

    Parameters
    ----------
    ranges
        Of the model's training.
    seed
        Settles everything; the first n are the same whatever comes after.
    step
        Pixels of one step of the latent; shifts stay below it.
    size
        Side of what the model is given, so that shifts stay inside their range as well.
    """
    rng = np.random.default_rng(seed)
    mirrored = (False, True) if ranges.horizontal_flip else (False,)
    upside = (False, True) if ranges.vertical_flip else (False,)
    # where both flips happen, they make the other two turns
    turned = range(1) if not ranges.quarter_turn else range(2 if mirrored[-1] and upside[-1] else 4)
    reach = step - 1 if size is None else min(step - 1, int(ranges.shift * size))
    moves = list(product(turned, mirrored, upside))
    yield Variation()
    first = True
    while True:
        order = [moves[i] for i in rng.permutation(len(moves))]
        if first:  # the identity has been given, but its jittered form belongs to a later round
            order = [move for move in order if move != (0, False, False)]
            first = False
        for turns, horizontal, vertical in order:
            yield Variation(
                turns,
                horizontal,
                vertical,
                *_shift(ranges, rng, step, reach),
                brightness=1 + _drawn(rng, ranges.brightness, ranges.jitter),
                contrast=1 + _drawn(rng, ranges.contrast, ranges.jitter),
            )


def _shift(
    ranges: AugmentRanges, rng: np.random.Generator, step: int, reach: int
) -> tuple[tuple[int, int], int]:
    moved = (int(rng.integers(reach + 1)), int(rng.integers(reach + 1)))
    if not (ranges.affine and ranges.shift and reach):
        return (0, 0), 0
    return moved, step


def _drawn(rng: np.random.Generator, width: float, probability: float) -> float:
    value = float(rng.uniform(-width, width))
    return value if probability else 0.0
