"""Images decoded for a check are held until they are used, so that the usual few are decoded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Generic, TypeVar

from napari_latentseg.core.scan import Scan
from napari_latentseg.data.cases import Case

__all__ = ["HeldReads"]

Value = TypeVar("Value")

# Room for the usual few scans; a large data set is not held whole, but decoded twice.
_MAX_HELD_BYTES = 512 * 2**20


class HeldReads:
    """Holds what was read until it is read again, up to a number of bytes in all.

    Parameters
    ----------
    max_bytes
        How many.
    """

    def __init__(self, max_bytes: int = _MAX_HELD_BYTES) -> None:
        self._bytes_left = max_bytes

    def hold_image(self, case: Case, scan: Scan) -> Case:
        """The same case, whose image is taken from memory the next time, where there is room for it.

        Parameters
        ----------
        case, scan
            The case, and its image as just read.
        """
        return replace(case, scan_reader=self.hold(scan, int(scan.array.nbytes), case.scan_reader))

    def hold(self, value: Value, size: int, read: Callable[[], Value]) -> Callable[[], Value]:
        """A reader that gives the value the first time, where there is room for it, and then reads.

        Parameters
        ----------
        value, size
            What was read, and its bytes.
        read
            Reads it again.
        """
        if size > self._bytes_left:
            return read
        self._bytes_left -= size
        return _HeldRead(self, value, size, read)

    def release(self, size: int) -> None:
        """Make room again for so many bytes."""
        self._bytes_left += size


class _HeldRead(Generic[Value]):
    """Gives a value that is held once, and reads it afterwards."""

    def __init__(self, held: HeldReads, value: Value, size: int, read: Callable[[], Value]) -> None:
        self._held, self._values, self._size, self._read = held, [value], size, read

    def __call__(self) -> Value:
        if not self._values:
            return self._read()
        self._held.release(self._size)
        return self._values.pop()
