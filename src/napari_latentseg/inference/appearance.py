"""What the slices that a person has decided say of a structure's look, as log odds on another slice.

Two kinds of evidence without a network: how frequent a brightness is inside and around the structure, and
whether small patches that look alike in the decided slices are inside it (Coupe et al., NeuroImage 2011).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["LARGEST_ODDS", "Example", "brightness_odds", "log_odds", "patch_odds"]

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

LARGEST_ODDS = 6.0
"""Of any evidence: beyond this it is no surer, however near a probability is to 0 or 1."""

# chosen by hand on training volumes of the hippocampus (1 mm)
_BINS = 25  # of brightness in [0, 1]
_BIN_SMOOTHNESS = 1.5  # in bins
_BRIGHTNESS_BLUR = 0.5  # pixels
_RIM = 3  # pixels around the structure that are its surroundings
_REACH = 4  # pixels that a patch may be moved between two slices
_NEARNESS = 2.5  # pixels: how much less a patch counts that was moved far
_PATCH = 3  # pixels, the side of a patch
_NO_VOTE = 1e-6  # the weight of patches that say nothing
_ALIKE = 0.01  # mean squared difference of brightness at which a patch counts a third


@dataclass(frozen=True)
class Example:
    """A slice that a person has decided.

    Attributes
    ----------
    plane
        Its number.
    image
        Grey, `(H, W)` in [0, 1].
    mask
        The structure, `(H, W)`.
    """

    plane: int
    image: Array
    mask: Mask


def log_odds(probabilities: Array) -> Array:
    """log(p / (1 - p)), limited to `LARGEST_ODDS`."""
    limit = 1 / (1 + np.exp(LARGEST_ODDS))
    clipped = np.clip(probabilities, limit, 1 - limit)
    odds: Array = np.log(clipped / (1 - clipped)).astype(np.float32)
    return odds


def brightness_odds(image: Array, examples: Sequence[Example]) -> Array:
    """How much more frequent the brightness of each pixel is in the structure than around it.

    Parameters
    ----------
    image
        Grey, `(H, W)` in [0, 1].
    examples
        At least one, with a structure.
    """
    inside, around = [], []
    for example in examples:
        blurred = ndimage.gaussian_filter(example.image, _BRIGHTNESS_BLUR)
        rim = ndimage.binary_dilation(example.mask, iterations=_RIM) & ~example.mask
        inside.append(blurred[example.mask])
        around.append(blurred[rim])
    ratio = np.log(_frequencies(np.concatenate(inside)) / _frequencies(np.concatenate(around)))
    odds: Array = ratio[_bins(ndimage.gaussian_filter(image, _BRIGHTNESS_BLUR))].astype(np.float32)
    return odds


def patch_odds(image: Array, plane: int, examples: Sequence[Example]) -> Array:
    """Whether the patches that look like that around each pixel lie inside the structure.

    Parameters
    ----------
    image
        Grey, `(H, W)` in [0, 1].
    plane
        Its number; nearer examples count more.
    examples
        At least one.
    """
    votes, weights = np.zeros((2, *image.shape))
    moves = range(-_REACH, _REACH + 1)
    for example in examples:
        padded = np.pad(example.image, _REACH, mode="edge")
        padded_mask = np.pad(example.mask, _REACH, mode="edge")
        for down in moves:
            for right in moves:
                rows = slice(_REACH + down, _REACH + down + image.shape[0])
                columns = slice(_REACH + right, _REACH + right + image.shape[1])
                difference = ndimage.uniform_filter((image - padded[rows, columns]) ** 2, _PATCH)
                nearness = (down**2 + right**2) / (2 * _NEARNESS**2)
                weight = np.exp(-difference / _ALIKE - nearness) / abs(example.plane - plane)
                votes += weight * padded_mask[rows, columns]
                weights += weight
    return log_odds((votes + _NO_VOTE / 2) / (weights + _NO_VOTE))  # nothing alike says nothing


def _bins(image: Array) -> NDArray[np.intp]:
    return np.clip((image * (_BINS - 1)).astype(np.intp), 0, _BINS - 2)


def _frequencies(values: Array) -> NDArray[np.float64]:
    counts = np.bincount(_bins(values), minlength=_BINS - 1) + 0.5
    smooth = ndimage.gaussian_filter1d(counts.astype(float), _BIN_SMOOTHNESS)
    frequencies: NDArray[np.float64] = smooth / smooth.sum()
    return frequencies
