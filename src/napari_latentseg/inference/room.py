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

__all__ = ["DEFAULT_LIMIT", "VARIABLE", "memory_limit", "zeros"]

VARIABLE = "NAPARI_LATENTSEG_MEMORY"
"""The environment variable that sets the limit: a number of bytes, or ``"800MB"``, ``"4GB"``."""

DEFAULT_LIMIT = 2 * 2**30
"""Bytes of running sums that are held in memory, where nothing else is said."""

_SIZES = {"": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
_TILE = 1024


def memory_limit(asked: int | None = None) -> int:
    """How many bytes of a run's arrays may lie in memory: as asked, as the environment says, or the default.

    Raises
    ------
    BadInput
        Where the environment variable is no size.
    """
    if asked is not None:
        return asked
    text = os.environ.get(VARIABLE, "").strip().upper()
    if not text:
        return DEFAULT_LIMIT
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]B|)", text)
    if found is None:
        raise BadInput(VARIABLE, "is not a size", "give bytes, or a number with MB or GB")
    return int(float(found[1]) * _SIZES[found[2]])


def zeros(shape: tuple[int, ...], limit: int) -> Any:
    """A float32 array of zeros: NumPy's, or one in a temporary folder where it is larger than `limit`.

    The latter is zarr's, read and written part by part with the same indexing; its folder goes when the array
    does. It lies where the system keeps temporary files (`TMPDIR` moves that).

    Parameters
    ----------
    shape
        `(..., H, W)`.
    limit
        In bytes.
    """
    if math.prod(shape) * np.dtype(np.float32).itemsize <= limit:
        return np.zeros(shape, dtype=np.float32)
    import zarr

    folder = tempfile.mkdtemp(prefix="latentseg-")
    chunks = (*(1 for _ in shape[:-2]), *(min(n, _TILE) for n in shape[-2:]))
    made = zarr.create_array(folder, shape=shape, chunks=chunks, dtype=np.float32, fill_value=0)
    weakref.finalize(made, shutil.rmtree, folder, ignore_errors=True)
    return made
