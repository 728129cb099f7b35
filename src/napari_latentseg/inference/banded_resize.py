"""Resizing a plane in bands of rows, so that it is never in memory as a whole.

`resize` is separable and linear: across rows it is a product with weights that fall off as a triangle, as
wide as the step where it shrinks. So any rows of the result can be had from a few rows of the plane.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from napari_latentseg.data.preprocess import resize

__all__ = ["resize_in_bands", "row_bands"]

_MAX_BAND_VALUES = 16 * 2**20  # in a band, about


def row_bands(height: int, values_per_row: float) -> list[slice]:
    """The rows of a plane in bands; one where it is small.

    Parameters
    ----------
    height
        How many rows.
    values_per_row
        How many numbers have to be held for each.
    """
    band_height = (
        height
        if height * values_per_row <= _MAX_BAND_VALUES
        else max(1, int(_MAX_BAND_VALUES / values_per_row))
    )
    return [slice(start, min(start + band_height, height)) for start in range(0, height, band_height)]


def resize_in_bands(
    read_rows: Callable[[slice], Tensor],
    plane_shape: tuple[int, int],
    target_shape: tuple[int, int],
    channels: int,
) -> Iterator[tuple[slice, Tensor]]:
    """What `resize` makes of a plane, band by band from the top.

    Parameters
    ----------
    read_rows
        Gives rows of the plane, `(channels, h, W)`.
    plane_shape, target_shape
        Height and width of the plane, and of the result.
    channels
        How many.

    Yields
    ------
    slice, Tensor
        Rows of the result, and what they hold: `(channels, rows, size[1])`.
    """
    height, width = plane_shape
    scale = height / target_shape[0]
    kernel_radius = max(scale, 1.0)
    values_per_row = channels * max(width * scale, target_shape[1])
    # no more rows than their weights, a number for each row of the plane, leave room for
    values_per_row = (
        max(values_per_row, math.sqrt(_MAX_BAND_VALUES * scale))
        if target_shape[0] * values_per_row > _MAX_BAND_VALUES
        else values_per_row
    )
    for band in row_bands(target_shape[0], values_per_row):
        if plane_shape == target_shape:
            yield band, read_rows(band)
            continue
        if band == slice(0, target_shape[0]):
            yield band, resize(read_rows(slice(0, height))[None], target_shape)[0]
            return
        first_row = max(0, int((band.start + 0.5) * scale - kernel_radius) - 1)
        last_row = min(height, int((band.stop - 0.5) * scale + kernel_radius) + 2)
        centres = (torch.arange(band.start, band.stop, dtype=torch.float64) + 0.5) * scale
        offsets = torch.arange(first_row, last_row, dtype=torch.float64) + 0.5 - centres[:, None]
        weights = (1 - offsets.abs() / kernel_radius).clamp_min(0)
        weights = (weights / weights.sum(dim=1, keepdim=True)).float()
        resized_columns = resize(
            read_rows(slice(first_row, last_row))[None], (last_row - first_row, target_shape[1])
        )[0]
        yield band, torch.einsum("oh,chw->cow", weights, resized_columns)
