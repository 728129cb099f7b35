"""Resizing a plane in bands of rows, so that it is never in memory as a whole.

`resize` is separable and linear: across rows it is a product with weights that fall off as a triangle, as
wide as the step where it shrinks. So any rows of the result can be had from a few rows of the plane.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from napari_latentseg.preprocess import resize

__all__ = ["bands_of", "resized_bands"]

_NUMBERS = 16 * 2**20  # in a band, about


def bands_of(height: int, row: float) -> list[slice]:
    """The rows of a plane in bands; one where it is small.

    Parameters
    ----------
    height
        How many rows.
    row
        How many numbers have to be held for each.
    """
    step = height if height * row <= _NUMBERS else max(1, int(_NUMBERS / row))
    return [slice(start, min(start + step, height)) for start in range(0, height, step)]


def resized_bands(
    rows: Callable[[slice], Tensor], shape: tuple[int, int], size: tuple[int, int], channels: int
) -> Iterator[tuple[slice, Tensor]]:
    """What `resize` makes of a plane, band by band from the top.

    Parameters
    ----------
    rows
        Gives rows of the plane, `(channels, h, W)`.
    shape, size
        Height and width of the plane, and of the result.
    channels
        How many.

    Yields
    ------
    slice, Tensor
        Rows of the result, and what they hold: `(channels, rows, size[1])`.
    """
    height, width = shape
    scale = height / size[0]
    reach = max(scale, 1.0)
    row = channels * max(width * scale, size[1])
    # no more rows than their weights, a number for each row of the plane, leave room for
    row = max(row, math.sqrt(_NUMBERS * scale)) if size[0] * row > _NUMBERS else row
    for band in bands_of(size[0], row):
        if shape == size:
            yield band, rows(band)
            continue
        if band == slice(0, size[0]):
            yield band, resize(rows(slice(0, height))[None], size)[0]
            return
        low = max(0, int((band.start + 0.5) * scale - reach) - 1)
        high = min(height, int((band.stop - 0.5) * scale + reach) + 2)
        centres = (torch.arange(band.start, band.stop, dtype=torch.float64) + 0.5) * scale
        apart = torch.arange(low, high, dtype=torch.float64) + 0.5 - centres[:, None]
        weights = (1 - apart.abs() / reach).clamp_min(0)
        weights = (weights / weights.sum(dim=1, keepdim=True)).float()
        narrow = resize(rows(slice(low, high))[None], (high - low, size[1]))[0]
        yield band, torch.einsum("oh,chw->cow", weights, narrow)
