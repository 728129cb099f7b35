"""DICOM images that hold all slices of a volume as tiles, as Siemens and United Imaging write them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pydicom
from tests.helpers.dicom import dataset


def tiled(volume: np.ndarray, tiles: tuple[int, int]) -> np.ndarray:
    """The slices side by side, row by row; tiles that are left over are zero."""
    down, across = tiles
    _, rows, columns = volume.shape
    image = np.zeros((down * rows, across * columns), volume.dtype)
    for k, plane in enumerate(volume):
        y, x = divmod(k, across)
        image[y * rows : (y + 1) * rows, x * columns : (x + 1) * columns] = plane
    return image


def csa_header(values: Mapping[str, Sequence[object]]) -> bytes:
    """Siemens' own header of an image (version 2), with text for values."""
    parts = [b"SV10\x04\x03\x02\x01", struct.pack("<II", len(values), 77)]
    for name, items in values.items():
        parts.append(struct.pack("<64si4siii", name.encode(), len(items), b"FD", 4, len(items), 77))
        for item in items:
            text = str(item).encode() + b"\0"
            text += b"\0" * (-len(text) % 4)
            parts.append(struct.pack("<iiii", len(text), len(text), 77, len(text)) + text)
    return b"".join(parts)


def siemens_mosaic(
    volume: np.ndarray,
    first: Sequence[float],
    orientation: Sequence[float],
    normal: Sequence[float] | None,
    *,
    spacing: tuple[float, float] = (1, 1),
    step: float | None = 2.0,
    csa: bool = True,
    count: bool = True,
    **changes: Any,
) -> pydicom.Dataset:
    """A mosaic whose first slice has its first pixel at `first`.

    Parameters
    ----------
    normal
        From slice to slice, as the private header says; None if it does not.
    csa, count
        Whether the private header and the number of slices beside it are there.
    """
    side = int(np.ceil(np.sqrt(len(volume))))
    _, rows, columns = volume.shape
    row, column = np.reshape(orientation, (2, 3))
    # where one slice of the size of the mosaic would begin, with the same centre
    corner = np.array(first) - row * spacing[1] * columns * (side - 1) / 2
    corner = corner - column * spacing[0] * rows * (side - 1) / 2
    fields = {
        "Manufacturer": "SIEMENS",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"],
        "ImagePositionPatient": [float(f"{v:.8g}") for v in corner],
        "ImageOrientationPatient": [float(f"{v:.10f}") for v in orientation],
        "PixelSpacing": list(spacing),
        "SpacingBetweenSlices": step,
    }
    ds = dataset(tiled(volume, (side, side)), **(fields | changes))
    if csa:
        values: dict[str, Sequence[object]] = {"NumberOfImagesInMosaic": [len(volume)]}
        if normal is not None:
            values["SliceNormalVector"] = [f"{v:.8f}" for v in normal]
        block = ds.private_block(0x29, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x08, "CS", "IMAGE NUM 4")
        block.add_new(0x10, "OB", csa_header(values))
    if count:
        ds.private_block(0x19, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", len(volume))
    return ds


def united_imaging_grid(
    volume: np.ndarray,
    positions: Sequence[Sequence[float]],
    orientation: Sequence[float],
    *,
    count: int | None = None,
    **changes: Any,
) -> pydicom.Dataset:
    """A grid of slices, each with its own position in a private sequence."""
    across = int(np.ceil(np.sqrt(len(volume))))
    tiles = (int(np.ceil(len(volume) / across)), across)
    fields = {
        "Manufacturer": "UIH",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "VFRAME"],
        "ImagePositionPatient": None,
        "ImageOrientationPatient": [float(f"{v:.10f}") for v in orientation],
    }
    ds = dataset(tiled(volume, tiles), **(fields | changes))
    frames = []
    for position in positions:
        frame = pydicom.Dataset()
        frame.ImagePositionPatient = [float(f"{v:.8g}") for v in position]
        frames.append(frame)
    block = ds.private_block(0x65, "Image Private Header", create=True)
    block.add_new(0x50, "DS", len(volume) if count is None else count)
    block.add_new(0x51, "SQ", frames)
    return ds
