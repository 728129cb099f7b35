"""Arrays of a run: in memory, or in a temporary file where they exceed the memory limit."""

from __future__ import annotations

import math
import os
import re
import weakref
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.scratch import make_scratch_folder, remove_scratch_folder

__all__ = ["DEFAULT_MEMORY_LIMIT", "MEMORY_ENV_VAR", "allocate", "memory_limit"]

MEMORY_ENV_VAR = "NAPARI_LATENTSEG_MEMORY"
"""Environment variable with the memory limit: a number of bytes, or ``"800MB"``, ``"4GB"``."""

DEFAULT_MEMORY_LIMIT = 2 * 2**30
"""Default memory limit in bytes. 2 GiB leaves room for model and napari on a computer with 8 GB."""

_BYTES_PER_UNIT = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
_CHUNK_SIDE = 1024  # pixels; a float32 chunk is 4 MiB


def memory_limit(requested: int | None = None) -> int:
    """The memory limit for the arrays of a run, in bytes.

    Parameters
    ----------
    requested
        Returned as it is, if given. Otherwise the environment variable `MEMORY_ENV_VAR` is used, then
        `DEFAULT_MEMORY_LIMIT`.

    Raises
    ------
    BadInput
        If the environment variable is not a size.
    """
    if requested is not None:
        return requested
    text = os.environ.get(MEMORY_ENV_VAR, "").strip().upper()
    if not text:
        return DEFAULT_MEMORY_LIMIT
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]B|)", text)
    if match is None:
        raise BadInput(MEMORY_ENV_VAR, "is not a size", "give a number of bytes, or a number with MB or GB")
    return int(float(match[1]) * _BYTES_PER_UNIT[match[2]])


def allocate(shape: tuple[int, ...], max_bytes: int) -> Any:
    """A float32 array of zeros: NumPy, or zarr in a temporary folder if it is larger than `max_bytes`.

    The zarr array is read and written piecewise with the same indexing. Its folder is in the system's
    temporary folder (environment variable `TMPDIR`), and is deleted together with the array.

    Parameters
    ----------
    shape
        `(..., H, W)`.
    max_bytes
        Largest size in memory, in bytes.
    """
    if math.prod(shape) * np.dtype(np.float32).itemsize <= max_bytes:
        return np.zeros(shape, dtype=np.float32)
    import zarr

    folder = make_scratch_folder()
    chunks = (*(1 for _ in shape[:-2]), *(min(n, _CHUNK_SIDE) for n in shape[-2:]))
    disk_array = zarr.create_array(folder, shape=shape, chunks=chunks, dtype=np.float32, fill_value=0)
    weakref.finalize(disk_array, remove_scratch_folder, folder)
    return disk_array
