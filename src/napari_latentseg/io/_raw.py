"""The voxel values of NRRD and MetaImage: after the text header or in other files, raw or compressed."""

from __future__ import annotations

import bz2
import math
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors
from napari_latentseg.io._lazy import lazy_from_loader, lazy_memmap
from napari_latentseg.utils.size_claims import ANY_RATIO, DEFLATE_RATIO, check_claim, check_memory

if TYPE_CHECKING:
    import dask.array as da

_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32  # zlib detects which of the two headers the data has
_READ_CHUNK_BYTES = 1 << 20
# the most that one byte of a file can stand for; of text, a digit and a space for a value of eight bytes
_MAX_RATIOS = {"raw": 1, "text": 4, "deflate": DEFLATE_RATIO, "bzip2": ANY_RATIO}


@dataclass(frozen=True)
class RawLayout:
    """How the values of an image are stored in its files.

    Attributes
    ----------
    files
        One file, or several that hold equal parts of the slowest axis.
    dtype
        As stored, with its byte order.
    shape
        Slowest axis first.
    offset
        Bytes before the values, after decompression; -1: the values are at the end of the file.
    encoding
        ``"raw"``, ``"deflate"`` (zlib and gzip), ``"bzip2"`` or ``"text"``.
    packed_offset
        Position in the file at which the (compressed) values begin.
    kind
        What the files are, with its article, for messages.
    """

    files: tuple[Path, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int = 0
    encoding: str = "raw"
    packed_offset: int = 0
    kind: str = "an image"

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1 or self.shape[0] % len(self.files):
            raise BadInput(self.files[0], "has a shape that does not fit its files", "export it again")

    def read(self) -> NDArray[Any]:
        """All values, `shape`, in native byte order.

        Raises
        ------
        BadInput
            If a file is missing, cut short or damaged.
        """
        self._check_claim()
        check_memory(self.files[0], self._file_bytes * len(self.files))
        file_arrays = [self._read_file(path) for path in self.files]
        full_array = file_arrays[0] if len(file_arrays) == 1 else np.concatenate(file_arrays)
        return full_array.astype(self.dtype.newbyteorder("="), copy=False)

    def read_lazy(self) -> da.Array:
        """As `read`, as a dask array; compressed files are read as a whole when any part is computed.

        Raises
        ------
        BadInput
            If a file is missing, or an uncompressed file is cut short.
        """
        import dask.array as da

        self._check_claim()
        file_arrays = []
        for path in self.files:
            with read_errors(path, self.kind):
                if self.encoding == "raw":
                    array = lazy_memmap(path, self._data_offset(path), self._file_shape, self.dtype)
                else:
                    path.stat()
                    load = partial(self._read_file, path)
                    array = lazy_from_loader(self._file_shape, self.dtype, load)
                file_arrays.append(array)
        full_array: da.Array = da.concatenate(file_arrays).astype(self.dtype.newbyteorder("="))
        return full_array

    def _check_claim(self) -> None:
        """Refuse a header that claims more values than its files can hold, each of them counted once."""
        with read_errors(self.files[0], self.kind):
            stored_bytes = sum(path.stat().st_size for path in set(self.files))
            claimed_bytes = self._file_bytes * len(self.files)
            check_claim(self.files[0], claimed_bytes, stored_bytes, _MAX_RATIOS[self.encoding])

    @property
    def _file_shape(self) -> tuple[int, ...]:
        return (self.shape[0] // len(self.files), *self.shape[1:])

    @property
    def _file_bytes(self) -> int:
        return math.prod(self._file_shape) * self.dtype.itemsize

    def _data_offset(self, path: Path) -> int:
        if self.offset >= 0:
            return self.packed_offset + self.offset
        data_offset = path.stat().st_size - self._file_bytes
        if data_offset < 0:
            raise ValueError("the file is cut short")
        return data_offset

    def _read_file(self, path: Path) -> NDArray[Any]:
        with read_errors(path, self.kind), path.open("rb") as file:
            if self.encoding == "raw":
                file.seek(self._data_offset(path))
                values = np.fromfile(file, self.dtype, math.prod(self._file_shape))
            elif self.encoding == "text":
                file.seek(self.packed_offset + max(self.offset, 0))
                tokens = file.read().split()
                parse_number = float if self.dtype.kind == "f" else int
                values = np.array([parse_number(w) for w in tokens], self.dtype)
            else:
                file.seek(self.packed_offset)
                values = np.frombuffer(self._decompress(file), self.dtype)
            return values.reshape(self._file_shape)

    def _decompress(self, file: Any) -> bytearray:
        """Decompress the values; stop beyond the expected size, lest a malicious file fill the memory."""
        skip = max(self.offset, 0)
        expected_bytes = skip + self._file_bytes
        decompressor: Any = (
            bz2.BZ2Decompressor() if self.encoding == "bzip2" else zlib.decompressobj(_ZLIB_OR_GZIP)
        )
        values = bytearray()
        while len(values) <= expected_bytes and not decompressor.eof:
            compressed = getattr(decompressor, "unconsumed_tail", b"") or file.read(_READ_CHUNK_BYTES)
            if not compressed and getattr(decompressor, "needs_input", True):
                break
            values += decompressor.decompress(compressed, expected_bytes + 1 - len(values))
        if len(values) != expected_bytes:
            raise ValueError("more or fewer values than the header says")
        return values[skip:]


def check_inside_folder(header: Path, name: str) -> None:
    """Refuse a file name in a header that leads out of the folder of the header, on any system.

    Raises
    ------
    BadInput
        As described.
    """
    # an anchor is a root, a drive (C:) or a network share
    if any(kind(name).anchor or ".." in kind(name).parts for kind in (PurePosixPath, PureWindowsPath)):
        raise BadInput(header, "names a file outside its folder", "keep the header and its data together")


def sibling_file(header: Path, name: str) -> Path:
    """The path of a data file that a header names: in the folder of the header, or below it.

    Raises
    ------
    BadInput
        If the name leads out of that folder, or there is no such file.
    """
    check_inside_folder(header, name)
    path = header.parent / name
    if not path.is_file():
        raise BadInput(
            header, f"needs {path.name} in the same folder", "keep the header and its data together"
        )
    return path
