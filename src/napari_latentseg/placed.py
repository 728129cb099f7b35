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

    found = part
    if isinstance(part, np.ndarray):
        found = da.from_array(part, chunks=tuple(min(n, _CHUNK) for n in part.shape), name=False)
    for axis, (one, length) in enumerate(zip(place, shape, strict=True)):
        start, stop, _ = one.indices(length)
        parts = [found]
        for before, count in ((True, start), (False, length - stop)):
            if count:
                around = (*found.shape[:axis], count, *found.shape[axis + 1 :])
                chunks = tuple(min(n, _CHUNK) if i == axis else found.chunks[i] for i, n in enumerate(around))
                parts.insert(0 if before else len(parts), da.zeros(around, dtype=found.dtype, chunks=chunks))
        found = da.concatenate(parts, axis=axis) if len(parts) > 1 else found
    return found
