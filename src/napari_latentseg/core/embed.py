"""What is known of a part of an array, as the whole array with zeros around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["embed"]

_CHUNK_SIDE = 1024


def embed(
    crop: Any, shape: tuple[int, ...], crop_slices: Sequence[slice], *, max_bytes: int | None = None
) -> Any:
    """An array of zeros with a part in its place.

    Parameters
    ----------
    crop
        NumPy or dask.
    shape
        Of the whole.
    crop_slices
        Where the part lies, a slice for each of the last axes; the axes before them are the part's own.
    max_bytes
        Bytes beyond which the whole is made lazily, of a dask array always: its zeros take no memory then.

    Returns
    -------
    array
        NumPy, and the caller's own; or dask.
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

    # Not da.pad: it cuts the zeros into chunks no larger than the part, which around 64 x 64 elements in
    # 40,000 x 40,000 makes 784,000 tasks, where these chunks make 3,400.
    full_array = crop
    if isinstance(crop, np.ndarray):
        full_array = da.from_array(crop, chunks=tuple(min(n, _CHUNK_SIDE) for n in crop.shape), name=False)
    for axis, (kept, length) in enumerate(zip(crop_slices, shape, strict=True)):
        start, stop, _ = kept.indices(length)
        is_before, after = (
            _zeros_beside(full_array, axis, pad_width) for pad_width in (start, length - stop)
        )
        full_array = da.concatenate([is_before, full_array, after], axis=axis)  # it leaves out what is empty
    return full_array


def _zeros_beside(array: Any, axis: int, count: int) -> Any:
    """Zeros to join to a dask array along one axis; along the others they have its chunks."""
    import dask.array as da

    shape = (*array.shape[:axis], count, *array.shape[axis + 1 :])
    chunks = (*array.chunks[:axis], min(count, _CHUNK_SIDE), *array.chunks[axis + 1 :])
    return da.zeros(shape, dtype=array.dtype, chunks=chunks)
