"""The journal: one JSON object a line, each with its own checksum; lines are added, and never changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

from pydantic import ValidationError

from napari_latentseg.annotations.durable import sync_folder
from napari_latentseg.annotations.records import RECORDS, Record
from napari_latentseg.errors import BadInput

__all__ = ["Journal", "Line", "sealed", "unsealed"]

_MARK = ',"sha256":"'
_END = len(_MARK) + 64 + len('"}')


def sealed(body: dict[str, Any]) -> str:
    """One line of JSON that ends in the checksum of what stands before it."""
    text = json.dumps(body, separators=(",", ":"))[:-1]
    return f'{text}{_MARK}{hashlib.sha256(text.encode()).hexdigest()}"}}'


def unsealed(line: bytes) -> dict[str, Any] | None:
    """What `sealed` was given; None where the line is not whole."""
    head, tail = line[:-_END], line[-_END:]
    mark = _MARK.encode()
    if not head or tail != mark + hashlib.sha256(head).hexdigest().encode() + b'"}':
        return None
    try:
        found = json.loads(head + b"}")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Line:
    """A line that is whole: its number, from 1, and what it records."""

    number: int
    record: Record


class Journal:
    """Reads what has come since it last read, and adds lines.

    Whoever reads needs no lock: a line counts once its end and its checksum are there. A line that is cut
    short is one whose writing was broken off, and that nobody was told was done.

    Parameters
    ----------
    path
        The file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._busy = RLock()
        self._forget()

    def _forget(self) -> None:
        self.lines: list[Line] = []
        self.damaged: list[int] = []  # numbers of lines that have an end, and are not what was written
        self._count = 0
        self._end = 0
        self._last = b""
        self._file: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """Read the lines that are new; says whether there were any.

        Raises
        ------
        BadInput
            Where the file cannot be read, or was written by a newer version of this package.
        """
        with self._busy:
            return self._read()

    def _read(self) -> bool:
        try:
            with self.path.open("rb") as file:
                about = os.fstat(file.fileno())
                if self._file != (about.st_dev, about.st_ino) or about.st_size < self._end:
                    self._forget()
                    self._file = (about.st_dev, about.st_ino)
                elif self._last:  # the same file under the same name, and yet another: a copy put back
                    file.seek(self._end - len(self._last))
                    if file.read(len(self._last)) != self._last:
                        self._forget()
                        self._file = (about.st_dev, about.st_ino)
                file.seek(self._end)
                new = file.read()
        except FileNotFoundError:
            changed = bool(self._count)
            self._forget()
            return changed
        except OSError as error:
            raise BadInput(
                self.path, f"cannot be read ({error.strerror})", "ask for the right to read it"
            ) from error
        whole = new[: new.rfind(b"\n") + 1]
        for line in whole.split(b"\n")[:-1]:
            self._pass(line)
        return bool(whole)

    def _pass(self, line: bytes) -> None:
        """Take in what the next line says."""
        self._count += 1
        self._end += len(line) + 1
        self._last = line + b"\n"
        body = unsealed(line)
        if body is None or body.pop("line", None) != self._count:
            self.damaged.append(self._count)
            return
        try:
            self.lines.append(Line(self._count, RECORDS.validate_python(body, strict=False)))
        except ValidationError as error:
            raise BadInput(
                self.path, "was written by a newer version of this plugin", "update napari-latentseg"
            ) from error

    def append(self, records: Sequence[Record]) -> int:
        """Add lines, all of them on the disk when this returns; only under the store's lock.

        Returns
        -------
        int
            The number of the last one.

        Raises
        ------
        OSError
            Where the disk refuses; the journal is then as it was.
        """
        with self._busy:
            return self._append(records)

    def _append(self, records: Sequence[Record]) -> int:
        self._read()
        is_new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if is_new:  # before the lines, for when they are there nothing may fail any more
                sync_folder(self.path.parent)
                about = os.fstat(handle)
                self._file = (about.st_dev, about.st_ino)
            self._mend(handle)
            lines = [
                sealed({"line": self._count + 1 + i, **record.model_dump(mode="json")}).encode()
                for i, record in enumerate(records)
            ]
            try:
                self._write(handle, b"".join(line + b"\n" for line in lines))
            except BaseException:
                os.ftruncate(handle, self._end)
                raise
        finally:
            os.close(handle)
        for line in lines:
            self._pass(line)
        return self._count

    def _write(self, handle: int, data: bytes) -> None:
        os.lseek(handle, self._end, os.SEEK_SET)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)

    def mend(self) -> bool:
        """Take a line that was cut short off the end; only under the store's lock; says if one was.

        Raises
        ------
        OSError
            Where the file cannot be written.
        """
        with self._busy:
            self._read()
            if not self.path.exists() or self.path.stat().st_size == self._end:
                return False
            handle = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            try:
                self._mend(handle)
            finally:
                os.close(handle)
            return True

    def _mend(self, handle: int) -> None:
        os.lseek(handle, self._end, os.SEEK_SET)
        rest = b"".join(iter(lambda: os.read(handle, 1 << 16), b""))
        if not rest:
            return
        if unsealed(rest) is not None:  # all but the line's end was written
            self._write(handle, rest + b"\n")
            self._pass(rest)
            return
        os.ftruncate(handle, self._end)
        os.fsync(handle)

    def __iter__(self) -> Iterator[Line]:
        with self._busy:
            return iter(self.lines.copy())
