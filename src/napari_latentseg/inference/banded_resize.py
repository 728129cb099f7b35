"""Resizing a plane in bands of rows, so that it is never in memory as a whole.

`resize` (bilinear with antialiasing) is separable and linear. Along the rows it is a product with triangular
weights, whose half-width is the step in source pixels when shrinking and 1 otherwise. So any rows of the
result can be computed from a few rows of the source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from napari_latentseg.data.preprocess import resize

__all__ = ["resize_in_bands", "row_bands"]

# float32 values of a band, 64 MiB: small beside the model, large enough for few passes
_MAX_BAND_VALUES = 16 * 2**20


def row_bands(height: int, values_per_row: float) -> list[slice]:
    """Split the rows of a plane into bands; a small plane is one band.

    Parameters
    ----------
    height
        Number of rows.
    values_per_row
        How many numbers each row needs in memory.
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
    """Resize a plane as `resize` does, band by band from the top.

    Parameters
    ----------
    read_rows
        Gives rows of the plane, `(channels, h, W)`.
    plane_shape, target_shape
        Height and width of the plane, and of the result.
    channels
        Number of channels or classes.

    Yields
    ------
    slice, Tensor
        Rows of the result, and their values: `(channels, rows, target_shape[1])`.
    """
    height, width = plane_shape
    scale = height / target_shape[0]
    kernel_radius = max(scale, 1.0)
    values_per_row = channels * max(width * scale, target_shape[1])
    # The matrix of weights has an entry for each row of the band times each source row that it needs; this
    # bound keeps it below the size of a band too.
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
