"""Arrays that stay in their file until they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    import dask.array as da

_CHUNK = 16 * 2**20  # bytes


def deferred(shape: tuple[int, ...], dtype: DTypeLike, load: Callable[[], NDArray[Any]]) -> da.Array:
    """One chunk that is read as a whole when any of it is asked for, as a compressed file must be.

    Parameters
    ----------
    shape, dtype
        Of what `load` gives.
    load
        Reads it.
    """
    import dask.array as da
    from dask.delayed import delayed

    made: da.Array = da.from_delayed(delayed(load, pure=False)(), shape, dtype)
    return made


def mapped(path: Path, offset: int, shape: tuple[int, ...], dtype: DTypeLike, order: str = "C") -> da.Array:
    """The plain values in a file, in chunks along the slowest axis; read when they are asked for.

    Raises
    ------
    ValueError
        Where the file is shorter than that.
    """
    import dask.array as da

    kind = np.dtype(dtype)
    if path.stat().st_size < offset + math.prod(shape) * kind.itemsize:
        raise ValueError("the file is cut short")
    values = np.memmap(path, kind, "r", offset, shape, order)  # type: ignore[call-overload]
    slowest = 0 if order == "C" else len(shape) - 1
    one = max(1, math.prod(shape) // shape[slowest] * kind.itemsize)
    chunks = list(shape)
    chunks[slowest] = max(1, min(shape[slowest], _CHUNK // one))
    made: da.Array = da.from_array(values, chunks=tuple(chunks), name=False)
    return made
