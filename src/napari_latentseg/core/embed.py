"""Put a cropped array back into the full array, with zeros around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["embed"]

_CHUNK_SIDE = 1024  # voxels; a 2D chunk of uint8 takes 1 MiB: few tasks, and little memory for zeros


def embed(
    crop: Any, shape: tuple[int, ...], crop_slices: Sequence[slice], *, max_bytes: int | None = None
) -> Any:
    """Pad a crop with zeros to the full shape.

    Parameters
    ----------
    crop
        NumPy or dask array.
    shape
        Shape of the full array.
    crop_slices
        Position of the crop in the full array, one slice for each of the last axes. The axes before them
        (classes, for example) are not cropped.
    max_bytes
        Above this size in bytes the result is a dask array, whose zeros take no memory. A dask crop always
        gives a dask array. None: no limit.

    Returns
    -------
    ndarray or dask.array.Array
        Of `shape` and the dtype of `crop`; `crop` itself where it has that shape already.

    Examples
    --------
    >>> embed(np.array([[7]]), (2, 3), (slice(0, 1), slice(1, 2))).tolist()
    [[0, 7, 0], [0, 0, 0]]
    """
    if crop.shape == shape:
        return crop
    crop_slices = (*(slice(None),) * (len(shape) - len(crop_slices)), *crop_slices)
    full_bytes = math.prod(shape) * crop.dtype.itemsize
    if isinstance(crop, np.ndarray) and (max_bytes is None or full_bytes <= max_bytes):
        full_array = np.zeros(shape, dtype=crop.dtype)
        full_array[tuple(crop_slices)] = crop
        return full_array
    import dask.array as da

    # Not da.pad: its chunks of zeros are no larger than the crop. A crop of 64 x 64 in 40,000 x 40,000 pixels
    # becomes 784,000 tasks with it, and 3,400 with these chunks.
    full_array = crop
    if isinstance(crop, np.ndarray):
        full_array = da.from_array(crop, chunks=tuple(min(n, _CHUNK_SIDE) for n in crop.shape), name=False)
    for axis, (crop_slice, length) in enumerate(zip(crop_slices, shape, strict=True)):
        start, stop, _ = crop_slice.indices(length)
        before, after = (_zeros_beside(full_array, axis, count) for count in (start, length - stop))
        full_array = da.concatenate([before, full_array, after], axis=axis)  # drops parts of width 0
    return full_array


def _zeros_beside(array: Any, axis: int, count: int) -> Any:
    """Zeros to concatenate to a dask array along one axis, with its chunks along the other axes."""
    import dask.array as da

    shape = (*array.shape[:axis], count, *array.shape[axis + 1 :])
    chunks = (*array.chunks[:axis], min(count, _CHUNK_SIDE), *array.chunks[axis + 1 :])
    return da.zeros(shape, dtype=array.dtype, chunks=chunks)
