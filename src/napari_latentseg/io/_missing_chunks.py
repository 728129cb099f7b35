"""Chunks of a Zarr array that are not stored: left out because they are empty, or lost.

Zarr reads a chunk that is not stored as the fill value, and most writers leave out chunks that hold nothing
else, so a missing chunk alone proves no loss. The coarser levels of a pyramid do: where they have other
values than the fill value, the chunk was not empty.
"""

from __future__ import annotations

import itertools
import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput

_MAX_CHUNKS_LISTED = 200_000  # chunks of larger arrays are counted and not listed one by one
_MAX_COARSE_BYTES = 16 * 2**20  # of a coarser level that is read for comparison: about 0.1 s
# In elements of the coarsest level: an antialiasing Gaussian of scikit-image reaches 1.4 elements of each
# level, and halving repeatedly at most doubles that in elements of the last one.
_SMOOTHING_MARGIN = 3


def missing_chunk_notes(path: Path, levels: Sequence[Any]) -> tuple[str, ...]:
    """A note on the chunks of the finest level that are not stored, if there are any.

    Parameters
    ----------
    path
        The folder or zip of the image.
    levels
        Its Zarr arrays, the finest first.

    Raises
    ------
    BadInput
        If a coarser level shows that a missing chunk was not empty.
    """
    finest = levels[0]
    stored = _stored_chunks(finest)
    if stored is None:
        return ()
    sides = finest.shards or finest.chunks
    counts = [math.ceil(n / side) for n, side in zip(finest.shape, sides, strict=True)]
    total = math.prod(counts)
    if total > _MAX_CHUNKS_LISTED:
        missing_count = total - len(stored)
        values = f"about {missing_count * math.prod(sides)}"
    else:
        missing = [index for index in itertools.product(*map(range, counts)) if index not in stored]
        _check_not_lost(path, levels, sides, missing, total)
        missing_count = len(missing)
        values = str(sum(_value_count(index, sides, finest.shape) for index in missing))
    if missing_count <= 0:
        return ()
    return (
        f"{missing_count} of {total} chunks are not stored ({values} values), and are read as "
        f"{finest.fill_value}: they are empty, or were lost",
    )


def _stored_chunks(array: Any) -> set[tuple[int, ...]] | None:
    """Indices of the chunks (or shards) that are stored; None if the storage cannot be listed."""
    names = _stored_names(array.store_path.store, array.store_path.path)
    if names is None:
        return None
    stored = set()
    for name in names:
        parts = name.replace("/", ".").split(".")
        parts = parts[1:] if parts[0] == "c" else parts  # version 3 puts all chunks into a folder c
        if len(parts) == array.ndim and all(part.isdecimal() for part in parts):
            stored.add(tuple(map(int, parts)))
    return stored


def _stored_names(store: Any, folder: str) -> list[str] | None:
    """Names of the files below the folder of an array, in a folder or a zip."""
    from zarr.storage import LocalStore, ZipStore

    if isinstance(store, LocalStore):
        root = Path(store.root) / folder
        walk = os.walk(root)  # not rglob, which asks the disk about every file
        relative = ((Path(at).relative_to(root).as_posix(), files) for at, _, files in walk)
        return [f"{at}/{name}".removeprefix("./") for at, files in relative for name in files]
    if isinstance(store, ZipStore):
        prefix = f"{folder}/" if folder else ""
        with zipfile.ZipFile(store.path) as archive:
            return [n.removeprefix(prefix) for n in archive.namelist() if n.startswith(prefix)]
    return None


def _value_count(index: Sequence[int], sides: Sequence[int], shape: Sequence[int]) -> int:
    """The number of values of a chunk, which the border of the image may cut."""
    return math.prod(min(side, n - i * side) for i, side, n in zip(index, sides, shape, strict=True))


def _check_not_lost(
    path: Path,
    levels: Sequence[Any],
    sides: Sequence[int],
    missing: Sequence[tuple[int, ...]],
    total: int,
) -> None:
    """Refuse missing chunks in whose place the coarsest level is not empty."""
    finest, coarsest = levels[0], levels[-1]
    is_small = len(levels) > 1 and coarsest.size * coarsest.dtype.itemsize <= _MAX_COARSE_BYTES
    if not missing or not is_small or coarsest.ndim != finest.ndim:
        return
    values, fill_value = np.asarray(coarsest[...]), 0 if finest.fill_value is None else finest.fill_value
    is_empty = np.isnan(values) if fill_value != fill_value else values == fill_value  # unequal: not a number
    ratios = [n / m for n, m in zip(finest.shape, coarsest.shape, strict=True)]
    lost = 0
    for index in missing:
        # without a margin, into which smoothing before downsampling may have drawn values of its neighbours
        region = tuple(
            slice(*_inner_range(i * side, min((i + 1) * side, n), ratio))
            for i, side, n, ratio in zip(index, sides, finest.shape, ratios, strict=True)
        )
        lost += not is_empty[region].all()
    if lost:
        raise BadInput(
            path, f"has lost at least {lost} of its {total} chunks of values", "copy it again, as a whole"
        )


def _inner_range(start: int, stop: int, ratio: float) -> tuple[int, int]:
    """The range of a chunk in the coarsest level, along one axis, without the margin."""
    if ratio == 1:
        return start, stop
    first = math.ceil(start / ratio) + _SMOOTHING_MARGIN
    return first, max(first, math.floor(stop / ratio) - _SMOOTHING_MARGIN)
