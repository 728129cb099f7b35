"""Where the arrays of a run lie: in memory, or on disk where they are larger than what may be used of it."""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
import weakref
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput

__all__ = ["DEFAULT_MEMORY_LIMIT", "MEMORY_ENV_VAR", "allocate", "memory_limit"]

MEMORY_ENV_VAR = "NAPARI_LATENTSEG_MEMORY"
"""The environment variable that sets the limit: a number of bytes, or ``"800MB"``, ``"4GB"``."""

DEFAULT_MEMORY_LIMIT = 2 * 2**30
"""Bytes of running sums that are held in memory, where nothing else is said."""

_BYTES_PER_UNIT = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
_CHUNK_SIDE = 1024


def memory_limit(requested: int | None = None) -> int:
    """How many bytes of a run's arrays may lie in memory: as asked, as the environment says, or the default.

    Raises
    ------
    BadInput
        Where the environment variable is no size.
    """
    if requested is not None:
        return requested
    text = os.environ.get(MEMORY_ENV_VAR, "").strip().upper()
    if not text:
        return DEFAULT_MEMORY_LIMIT
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]B|)", text)
    if match is None:
        raise BadInput(MEMORY_ENV_VAR, "is not a size", "give bytes, or a number with MB or GB")
    return int(float(match[1]) * _BYTES_PER_UNIT[match[2]])


def allocate(shape: tuple[int, ...], max_bytes: int) -> Any:
    """A float32 array of zeros: NumPy's, or one in a temporary folder where it is larger than `max_bytes`.

    The latter is zarr's, read and written part by part with the same indexing; its folder goes when the array
    does. It lies where the system keeps temporary files (`TMPDIR` moves that).

    Parameters
    ----------
    shape
        `(..., H, W)`.
    max_bytes
        In bytes.
    """
    if math.prod(shape) * np.dtype(np.float32).itemsize <= max_bytes:
        return np.zeros(shape, dtype=np.float32)
    import zarr

    folder = tempfile.mkdtemp(prefix="latentseg-")
    chunks = (*(1 for _ in shape[:-2]), *(min(n, _CHUNK_SIDE) for n in shape[-2:]))
    disk_array = zarr.create_array(folder, shape=shape, chunks=chunks, dtype=np.float32, fill_value=0)
    weakref.finalize(disk_array, shutil.rmtree, folder, ignore_errors=True)
    return disk_array
