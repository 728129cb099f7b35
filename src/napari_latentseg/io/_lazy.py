"""Dask arrays whose values stay in their file until they are computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

if TYPE_CHECKING:
    import dask.array as da

_CHUNK_BYTES = 16 * 2**20  # read in about 0.1 s from a hard disk, and small beside any machine's memory


def lazy_from_loader(shape: tuple[int, ...], dtype: DTypeLike, load: Callable[[], NDArray[Any]]) -> da.Array:
    """A dask array of one chunk, for a compressed file, which can only be read as a whole.

    Parameters
    ----------
    shape, dtype
        Of the array that `load` returns.
    load
        Reads the file.
    """
    import dask.array as da
    from dask.delayed import delayed

    lazy_array: da.Array = da.from_delayed(delayed(load, pure=False)(), shape, dtype)
    return lazy_array


def lazy_memmap(
    path: Path, offset: int, shape: tuple[int, ...], dtype: DTypeLike, order: str = "C"
) -> da.Array:
    """A dask array of uncompressed values in a file, in chunks of 16 MiB or less along the slowest axis.

    Parameters
    ----------
    path
        The file.
    offset
        Bytes before the first value.
    shape, dtype, order
        Of the values; ``"C"`` (last axis fastest) or ``"F"`` (first axis fastest).

    Raises
    ------
    ValueError
        If the file is shorter than that.
    """
    import dask.array as da

    value_dtype = np.dtype(dtype)
    if path.stat().st_size < offset + math.prod(shape) * value_dtype.itemsize:
        raise ValueError("the file is cut short")
    values = np.memmap(path, value_dtype, "r", offset, shape, order)  # type: ignore[call-overload]
    slowest = 0 if order == "C" else len(shape) - 1
    slab_bytes = max(1, math.prod(shape) // shape[slowest] * value_dtype.itemsize)
    chunks = list(shape)
    chunks[slowest] = max(1, min(shape[slowest], _CHUNK_BYTES // slab_bytes))
    lazy_array: da.Array = da.from_array(values, chunks=tuple(chunks), name=False)
    return lazy_array


def lazy_from_store(source: Any, decode_errors: Callable[[], AbstractContextManager[None]]) -> da.Array:
    """A dask array of a Zarr array, with its chunks.

    Parameters
    ----------
    source
        The Zarr array.
    decode_errors
        Makes the context in which each chunk is read; it turns the errors of decoders into `BadInput`.
    """
    import dask.array as da

    lazy_array: da.Array = da.from_array(
        _CheckedSource(source, decode_errors),
        chunks=source.chunks,
        name=False,
        meta=np.empty((0,) * source.ndim, source.dtype),
    )
    return lazy_array


class _CheckedSource:
    """An array-like for dask that reads every part within a context."""

    def __init__(self, source: Any, decode_errors: Callable[[], AbstractContextManager[None]]) -> None:
        self._source, self._decode_errors = source, decode_errors
        self.shape, self.dtype, self.ndim = tuple(source.shape), source.dtype, source.ndim

    def __getitem__(self, key: Any) -> NDArray[Any]:
        with self._decode_errors():
            return np.asarray(self._source[key])
