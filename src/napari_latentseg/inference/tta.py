"""Test-time augmentation (TTA): samples from flips, quarter turns, shifts and intensity changes.

Wang et al., "Aleatoric uncertainty estimation with test-time augmentation for medical image segmentation with
convolutional neural networks", Neurocomputing 338, 2019. It gives samples for methods that have no other
source. Only geometry that can be undone exactly, to the pixel, is used: shifts are below one step of the
latent grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.augmentation_config import AugmentationConfig

__all__ = ["TTATransform", "tta_transforms"]


@dataclass(frozen=True)
class TTATransform:
    """One augmentation of a plane.

    Attributes
    ----------
    quarter_turns
        Number of quarter turns, as `numpy.rot90`.
    flip_horizontal, flip_vertical
        Flips, after the turns.
    shift
        Pixels added by mirroring at the top and the left; the rest of `pad` is added at the opposite side.
    pad
        Pixels added along each axis in total.
    brightness, contrast
        Factors; 1 changes nothing.
    """

    quarter_turns: int = 0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    shift: tuple[int, int] = (0, 0)
    pad: int = 0
    brightness: float = 1.0
    contrast: float = 1.0

    def apply(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Augment a plane `(3, H, W)` in [0, 1]; the result is larger by `pad`, and turned.

        It is a view of the plane where no value changes.
        """
        x = (
            self.change_values(plane, float(plane.mean()))
            if self.contrast != 1
            else self.change_values(plane)
        )
        x = self._flip(np.rot90(x, self.quarter_turns, (1, 2)))
        if self.pad:
            rows, columns = (
                mirror_index(n, s, self.pad) for n, s in zip(x.shape[1:], self.shift, strict=True)
            )
            x = x[:, rows][:, :, columns]
        return x

    def change_values(self, part: NDArray[np.float32], mean: float = 0.0) -> NDArray[np.float32]:
        """Change brightness and contrast of a plane or a part of it, with values in [0, 1].

        Parameters
        ----------
        part
            `(3, h, w)`; returned as it is where neither changes.
        mean
            Mean value of the plane, which the change of contrast leaves as it is.
        """
        if self.brightness == self.contrast == 1:
            return part
        mean_value = np.float32(mean)
        x = part - mean_value
        x *= np.float32(self.contrast)
        x += mean_value
        x *= np.float32(self.brightness)
        return np.clip(x, 0, 1, out=x)

    def invert(self, probability: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo the geometry for probabilities `(K, H', W')` of the augmented plane: `(K, H, W)`, a view."""
        x = probability
        if self.pad:
            top, left = self.shift
            height, width = x.shape[1] - self.pad, x.shape[2] - self.pad
            x = x[:, top : top + height, left : left + width]
        return np.rot90(self._flip(x), -self.quarter_turns, (1, 2))

    def _flip(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return x[:, :: -1 if self.flip_vertical else 1, :: -1 if self.flip_horizontal else 1]


def mirror_index(length: int, pad_before: int, pad: int) -> NDArray[np.int64]:
    """Indices that pad an axis by mirroring: `pad_before` at its start, the rest of `pad` at its end."""
    index = np.arange(-pad_before, length + pad - pad_before) % (2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def tta_transforms(
    ranges: AugmentationConfig, seed: int, *, latent_step: int = 8, tile_size: int | None = None
) -> Iterator[TTATransform]:
    """An endless series of augmentations; the first is the identity.

    Each combination of flips and turns is used once, in random order, before any is repeated. Only
    augmentation that training used is applied, and within its ranges: no quarter turns for a model trained
    without them.

    Parameters
    ----------
    ranges
        Augmentation of the training.
    seed
        Seed of the series. The first n augmentations do not depend on how many follow.
    latent_step
        Pixels per position of the latent grid; shifts stay below it.
    tile_size
        Side of the model's input in pixels, which turns the relative range of shifts into pixels; None for no
        such bound.
    """
    rng = np.random.default_rng(seed)
    horizontal_choices = (False, True) if ranges.horizontal_flip else (False,)
    vertical_choices = (False, True) if ranges.vertical_flip else (False,)
    # both flips together are a half turn, so two turns give all combinations
    turn_choices = (
        range(1)
        if not ranges.quarter_turn
        else range(2 if horizontal_choices[-1] and vertical_choices[-1] else 4)
    )
    max_shift = latent_step - 1 if tile_size is None else min(latent_step - 1, int(ranges.shift * tile_size))
    flips_and_turns = list(product(turn_choices, horizontal_choices, vertical_choices))
    yield TTATransform()
    is_first_round = True
    while True:
        shuffled = [flips_and_turns[i] for i in rng.permutation(len(flips_and_turns))]
        if is_first_round:  # the identity came first; its form with jitter belongs to a later round
            shuffled = [flip_and_turn for flip_and_turn in shuffled if flip_and_turn != (0, False, False)]
            is_first_round = False
        for turns, horizontal, vertical in shuffled:
            yield TTATransform(
                turns,
                horizontal,
                vertical,
                *_random_shift(ranges, rng, latent_step, max_shift),
                brightness=1 + _random_offset(rng, ranges.brightness, ranges.jitter),
                contrast=1 + _random_offset(rng, ranges.contrast, ranges.jitter),
            )


def _random_shift(
    ranges: AugmentationConfig, rng: np.random.Generator, latent_step: int, max_shift: int
) -> tuple[tuple[int, int], int]:
    shift = (int(rng.integers(max_shift + 1)), int(rng.integers(max_shift + 1)))
    if not (ranges.affine and ranges.shift and max_shift):
        return (0, 0), 0
    return shift, latent_step


def _random_offset(rng: np.random.Generator, half_width: float, probability: float) -> float:
    value = float(rng.uniform(-half_width, half_width))
    return value if probability else 0.0
