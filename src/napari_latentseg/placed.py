"""What is known of a part of an array, as the whole array with zeros around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["placed"]

_CHUNK = 1024


def placed(part: Any, shape: tuple[int, ...], place: Sequence[slice], *, limit: int | None = None) -> Any:
    """An array of zeros with a part in its place.

    Parameters
    ----------
    part
        NumPy or dask.
    shape
        Of the whole.
    place
        Where the part lies, a slice for each of the last axes; the axes before them are the part's own.
    limit
        Bytes beyond which the whole is made lazily, of a dask array always: its zeros take no memory then.

    Returns
    -------
    array
        NumPy, and the caller's own; or dask.
    """
    if part.shape == shape:
        return part
    place = (*(slice(None),) * (len(shape) - len(place)), *place)
    size = math.prod(shape) * part.dtype.itemsize
    if isinstance(part, np.ndarray) and (limit is None or size <= limit):
        whole = np.zeros(shape, dtype=part.dtype)
        whole[tuple(place)] = part
        return whole
    import dask.array as da

    # Not da.pad: it cuts the zeros into chunks no larger than the part, which around 64 x 64 elements in
    # 40,000 x 40,000 makes 784,000 tasks, where these chunks make 3,400.
    whole = part
    if isinstance(part, np.ndarray):
        whole = da.from_array(part, chunks=tuple(min(n, _CHUNK) for n in part.shape), name=False)
    for axis, (kept, length) in enumerate(zip(place, shape, strict=True)):
        start, stop, _ = kept.indices(length)
        before, after = (_zeros_beside(whole, axis, count) for count in (start, length - stop))
        whole = da.concatenate([before, whole, after], axis=axis)  # it leaves out what is empty
    return whole


def _zeros_beside(array: Any, axis: int, count: int) -> Any:
    """Zeros to join to a dask array along one axis; along the others they have its chunks."""
    import dask.array as da

    shape = (*array.shape[:axis], count, *array.shape[axis + 1 :])
    chunks = (*array.chunks[:axis], min(count, _CHUNK), *array.chunks[axis + 1 :])
    return da.zeros(shape, dtype=array.dtype, chunks=chunks)
