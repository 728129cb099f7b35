"""The voxel values of NIfTI, MGH and Analyze files, whose headers nibabel reads.

The headers are nibabel's; the values are read here, so that the eager and the lazy reader are one: nibabel's
array proxy would not tell a dask graph the type that scaling needs, and passes over the checksum of gzip.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors, silence_logger
from napari_latentseg.io._lazy import lazy_from_loader, lazy_memmap
from napari_latentseg.utils.size_claims import DEFLATE_RATIO, check_claim, check_memory

_GZIP_MAGIC = b"\x1f\x8b"
_READ_BYTES = 16 * 2**20  # at a time; gzip would hold a second copy of a volume that is read at once
_MAX_TRAILING_BYTES = 64 * 2**20  # after the values of a gzip file; some programs pad them, none by that much


@contextmanager
def nibabel_errors(path: Path, kind: str) -> Iterator[None]:
    """As `read_errors`, with nibabel's log kept still: its warnings quote the header."""
    with silence_logger("nibabel.global"), read_errors(path, kind):
        yield


def is_gzip(path: Path) -> bool:
    """Whether the content of a file is gzip, whatever its name."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def open_unpacked(path: Path) -> BinaryIO:
    """The file opened for reading, decompressed on the fly where it is gzip."""
    return cast(BinaryIO, gzip.open(path) if is_gzip(path) else path.open("rb"))


@dataclass(frozen=True)
class StoredArray:
    """The values of an image in its file: Fortran order (x fastest), uncompressed or gzip.

    Attributes
    ----------
    path
        The file.
    shape
        x first, as in the header.
    dtype
        As stored; structured for the colours of RGB24 and RGBA32.
    offset
        Bytes before the values, after decompression.
    slope, inter
        Scaling: ``value = slope * stored + inter``.
    kind
        What the file is, with its article, for messages.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    kind: str

    @classmethod
    def from_header(cls, path: Path, header: Any, kind: str) -> StoredArray:
        """Take shape, dtype, offset and scaling from a header of nibabel."""
        slope, inter = header.get_slope_inter()
        return cls(
            path,
            tuple(header.get_data_shape()),
            header.get_data_dtype(),
            int(header.get_data_offset()),
            1.0 if slope is None else float(slope),
            0.0 if inter is None else float(inter),
            kind,
        )

    def load(self, *, lazy: bool) -> Any:
        """The scaled values, x first, in native byte order; colours as a last axis.

        Integers without scaling keep their type; with scaling they become float32, or float64 if float32
        would overflow.

        Parameters
        ----------
        lazy
            Give a dask array that reads the file when it is computed: in slabs, or of a gzip file as a whole.

        Returns
        -------
        ndarray or dask.array.Array

        Raises
        ------
        BadInput
            If the file is shorter than its header says, or its gzip checksum does not match; when computed,
            for a lazy array of a gzip file.
        """
        if not lazy:
            return self._read()
        with nibabel_errors(self.path, self.kind):
            is_compressed = self._check_claim()
        if is_compressed:
            colours = len(self.dtype.names or ())
            dtype = np.dtype(self.dtype[0]) if colours else _scaled_dtype(self.dtype, self.slope, self.inter)
            shape = (*self.shape, colours) if colours else self.shape
            return lazy_from_loader(shape, dtype.newbyteorder("="), self._read)
        stored = lazy_memmap(self.path, self.offset, self.shape, self.dtype, "F")
        return _apply_scaling(stored, self.slope, self.inter)

    @property
    def _value_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def _check_claim(self) -> bool:
        """Refuse a header that claims more than the file can hold; gives whether it is gzip."""
        is_compressed = is_gzip(self.path)
        claimed_bytes = self.offset + self._value_bytes
        check_claim(self.path, claimed_bytes, self.path.stat().st_size, DEFLATE_RATIO if is_compressed else 1)
        return is_compressed

    def _read(self) -> NDArray[Any]:
        with nibabel_errors(self.path, self.kind), open_unpacked(self.path) as opened:
            self._check_claim()
            check_memory(self.path, self._value_bytes)
            file: Any = opened
            file.seek(self.offset)
            stored = bytearray(self._value_bytes)
            view, position = memoryview(stored), 0
            while position < len(view):
                count = file.readinto(view[position : position + _READ_BYTES])
                if not count:
                    raise ValueError("the file is cut short")
                position += count
            end = position + _MAX_TRAILING_BYTES
            while isinstance(file, gzip.GzipFile) and (count := len(file.read(1 << 20))):
                position += count  # to the end, where gzip has its checksum
                if position > end:
                    raise BadInput(self.path, "holds far more than its header says", "copy it again")
            values = np.frombuffer(stored, self.dtype).reshape(self.shape, order="F")
            return cast(NDArray[Any], _apply_scaling(values, self.slope, self.inter))


def _apply_scaling(array: Any, slope: float, inter: float) -> Any:
    """Colours, scaling and byte order, for NumPy and dask alike."""
    if array.dtype.names:  # RGB24 and RGBA32 are structured
        array = np.stack([array[n] for n in array.dtype.names], axis=-1)
    elif (slope, inter) != (1.0, 0.0) and array.dtype.kind in "iuf":
        scaled_dtype = _scaled_dtype(array.dtype, slope, inter)
        if isinstance(array, np.ndarray):
            return _scale_values(array, slope, inter, scaled_dtype)
        return array.map_blocks(_scale_values, slope, inter, scaled_dtype, dtype=scaled_dtype)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _scaled_dtype(dtype: np.dtype[Any], slope: float, inter: float) -> np.dtype[Any]:
    """The type that holds values of this type once they are scaled."""
    if (slope, inter) == (1.0, 0.0) or dtype.kind not in "iu":
        return dtype.newbyteorder("=")
    limits = np.iinfo(dtype)
    largest = abs(slope) * max(-float(limits.min), float(limits.max)) + abs(inter)
    return np.dtype(np.float32 if largest < float(np.finfo(np.float32).max) else np.float64)


def _scale_values(array: NDArray[Any], slope: float, inter: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    out = np.empty(array.shape, dtype, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(array.shape[-1]):  # slice by slice: the float64 of the exact product is large
            out[..., i] = array[..., i] * np.float64(slope) + inter
    return out
