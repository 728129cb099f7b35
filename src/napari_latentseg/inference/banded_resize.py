"""Resizing a plane in bands of rows, so that it is never in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.data.resize import resize_rows, source_rows

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
    read_rows: Callable[[slice], NDArray[np.float32]],
    plane_shape: tuple[int, int],
    target_shape: tuple[int, int],
    channels: int,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Resize a plane as `resize` does, band by band from the top.

    Parameters
    ----------
    read_rows
        Gives rows of the plane, float32 `(channels, h, W)`.
    plane_shape, target_shape
        Height and width of the plane, and of the result.
    channels
        Number of channels or classes.

    Yields
    ------
    slice, ndarray
        Rows of the result, and their values: `(channels, rows, target_shape[1])`. They may be a view of what
        `read_rows` gave.
    """
    (height, width), target_height = plane_shape, target_shape[0]
    values_per_row = channels * max(width * height / target_height, target_shape[1])
    for band in row_bands(target_height, values_per_row):
        rows = read_rows(source_rows(band, height, target_height))
        yield (
            band,
            rows if plane_shape == target_shape else resize_rows(rows, band, plane_shape, target_shape),
        )
