"""Values behind a text header: in the same file or in others beside it, plain or compressed."""

from __future__ import annotations

import bz2
import math
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.formats._common import reading
from napari_latentseg.formats._lazy import deferred, mapped

if TYPE_CHECKING:
    import dask.array as da

_AUTOMATIC = zlib.MAX_WBITS | 32  # zlib's own header or that of gzip
_READ_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Stored:
    """How the values of an image lie in its files.

    Attributes
    ----------
    files
        One, or several that hold equal parts of the slowest axis.
    dtype
        With its byte order.
    shape
        Slowest axis first.
    offset
        Bytes before the values, after they are unpacked; -1: the values are the end of the file.
    encoding
        ``"raw"``, ``"deflate"`` (zlib and gzip), ``"bzip2"`` or ``"text"``.
    start
        Where the packed values begin in the file.
    kind
        What the files are, with its article, for messages.
    """

    files: tuple[Path, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int = 0
    encoding: str = "raw"
    start: int = 0
    kind: str = "an image"

    def __post_init__(self) -> None:
        if not self.shape or min(self.shape) < 1 or self.shape[0] % len(self.files):
            raise BadInput(self.files[0], "has a shape that its files do not hold", "export it again")

    def read(self) -> NDArray[Any]:
        """All values, in the machine's byte order.

        Raises
        ------
        BadInput
            Where a file is missing, cut short or damaged.
        """
        parts = [self._part(path) for path in self.files]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole.astype(self.dtype.newbyteorder("="), copy=False)

    def lazy(self) -> da.Array:
        """The same, read when they are asked for.

        Raises
        ------
        BadInput
            Where a file is missing, or a plain one is cut short.
        """
        import dask.array as da

        parts = []
        for path in self.files:
            with reading(path, self.kind):
                if self.encoding == "raw":
                    array = mapped(path, self._begin(path), self._part_shape, self.dtype)
                else:
                    path.stat()
                    array = deferred(self._part_shape, self.dtype, lambda path=path: self._part(path))  # type: ignore[misc]
                parts.append(array)
        whole: da.Array = da.concatenate(parts).astype(self.dtype.newbyteorder("="))
        return whole

    @property
    def _part_shape(self) -> tuple[int, ...]:
        return (self.shape[0] // len(self.files), *self.shape[1:])

    @property
    def _part_size(self) -> int:
        return math.prod(self._part_shape) * self.dtype.itemsize

    def _begin(self, path: Path) -> int:
        if self.offset >= 0:
            return self.start + self.offset
        begin = path.stat().st_size - self._part_size
        if begin < 0:
            raise ValueError("the file is cut short")
        return begin

    def _part(self, path: Path) -> NDArray[Any]:
        with reading(path, self.kind), path.open("rb") as file:
            if self.encoding == "raw":
                file.seek(self._begin(path))
                values = np.fromfile(file, self.dtype, math.prod(self._part_shape))
            elif self.encoding == "text":
                file.seek(self.start + max(self.offset, 0))
                words = file.read().split()
                number = float if self.dtype.kind == "f" else int
                values = np.array([number(w) for w in words], self.dtype)
            else:
                file.seek(self.start)
                values = np.frombuffer(self._unpacked(file), self.dtype)
            return values.reshape(self._part_shape)

    def _unpacked(self, file: Any) -> bytearray:
        """The values unpacked, and never more than there should be, whatever the file would swell to."""
        skip = max(self.offset, 0)
        wanted = skip + self._part_size
        tool: Any = bz2.BZ2Decompressor() if self.encoding == "bzip2" else zlib.decompressobj(_AUTOMATIC)
        found = bytearray()
        while len(found) <= wanted and not tool.eof:
            packed = getattr(tool, "unconsumed_tail", b"") or file.read(_READ_AT_ONCE)
            if not packed and getattr(tool, "needs_input", True):
                break
            found += tool.decompress(packed, wanted + 1 - len(found))
        if len(found) != wanted:
            raise ValueError("not as many values as there should be")
        return found[skip:]


def beside(header: Path, name: str) -> Path:
    """The file that a header names, which must lie in the header's own folder or below it.

    Raises
    ------
    BadInput
        Where it lies elsewhere, or is no file.
    """
    outside = any(
        kind(name).is_absolute() or ".." in kind(name).parts for kind in (PurePosixPath, PureWindowsPath)
    )
    if outside:
        raise BadInput(header, "names a file outside its folder", "keep the header and its data together")
    path = header.parent / name
    if not path.is_file():
        raise BadInput(header, f"lacks {path.name} beside it", "keep the header and its data together")
    return path
