"""The mask of each reader of a case, kept beside the journal of the list."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

import numpy as np

from napari_latentseg.annotations.durable_io import commit
from napari_latentseg.caselist.decisions import Reading
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.units import MM_PER_UNIT, SECONDS
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.label_maps import placed_on
from napari_latentseg.io.convert import write_scan
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.registry import read_scan_lazy

__all__ = ["READINGS_FOLDER", "check_same_place", "reading_path", "write_reading"]

READINGS_FOLDER = "readings"
_SUFFIX, _SUFFIX_WITHOUT_SIZE = ".nii.gz", ".ome.tif"  # NIfTI has no pixels without a physical size


def write_reading(home: Path, key: str, mask: Scan) -> tuple[str, str]:
    """Write the mask of a reader under a name of its own; it is on the disk when this returns.

    Parameters
    ----------
    home
        The hidden folder of the list.
    key
        Of the case.
    mask
        Labels up to 255, with the geometry of the image.

    Returns
    -------
    name, sha256 : str
        The file, relative to `home`, and its hash.

    Raises
    ------
    BadInput
        If it is not a label map, or cannot be written.
    """
    if not np.issubdtype(mask.array.dtype, np.integer) and mask.array.dtype != np.bool_:
        raise BadInput("mask", "holds no labels", "give whole numbers")
    labels = np.asarray(mask.array).astype(np.uint8)
    if (labels != np.asarray(mask.array)).any():
        raise BadInput("mask", "has labels above 255", "give labels from 0 to 255")
    has_size = set(mask.geometry.units) <= MM_PER_UNIT.keys() | SECONDS.keys()
    name = f"{READINGS_FOLDER}/{key}-{secrets.token_hex(4)}{_SUFFIX if has_size else _SUFFIX_WITHOUT_SIZE}"
    target = home / name
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".part-{target.name}")
    try:
        write_scan(Scan(labels, mask.spatial_axes, mask.geometry), temporary)
        commit(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return name, path_sha256(target)


def check_same_place(mask: Scan, first: Path, reader: str) -> None:
    """Refuse a mask that does not lie where the one of the first reader does: they could not be compared.

    Parameters
    ----------
    mask
        Of another reader.
    first, reader
        The file of the first mask, of which the header is read, and whose it is.

    Raises
    ------
    BadInput
        If it has another shape, spacing or position.
    """
    known = read_scan_lazy(first)
    shape = tuple(mask.array.shape)
    lengths, known_lengths = ([n for n in sizes if n > 1] for sizes in (shape, known.spatial_shape))
    if len(shape) != len(known.spatial_shape) and lengths == known_lengths:
        return  # a format may leave out axes of length one
    placed_on(
        "the mask", np.broadcast_to(np.uint8(0), shape), mask.geometry, known.geometry, known.spatial_shape,
        target_name=f"the mask of {reader}", remedy="give one in the geometry of the image",
    )  # fmt: skip


def reading_path(home: Path, reading: Reading) -> Path:
    """The file of a reading.

    Raises
    ------
    BadInput
        If it is gone, or another one.
    """
    path = home / reading.file
    if not path.is_file():
        raise BadInput(
            f"the mask of {reading.reader}", "is gone", "put it back from a backup, or read the case again"
        )
    if path_sha256(path) != reading.sha256:
        raise BadInput(
            f"the mask of {reading.reader}", "was changed since it was approved",
            "put it back from a backup, or read the case again",
        )  # fmt: skip
    return path
