"""The journal: one JSON object a line, each with a checksum; lines are appended and never changed."""

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

from napari_latentseg.annotations.durable_io import sync_folder
from napari_latentseg.annotations.records import RECORD_ADAPTER, Record
from napari_latentseg.errors import BadInput

__all__ = ["Journal", "JournalLine", "with_checksum", "without_checksum"]

_CHECKSUM_MARK = ',"sha256":"'
_CHECKSUM_LENGTH = len(_CHECKSUM_MARK) + 64 + len('"}')


def with_checksum(body: dict[str, Any]) -> str:
    """One line of JSON that ends in the checksum of what is before it."""
    text = json.dumps(body, separators=(",", ":"))[:-1]
    return f'{text}{_CHECKSUM_MARK}{hashlib.sha256(text.encode()).hexdigest()}"}}'


def without_checksum(line: bytes) -> dict[str, Any] | None:
    """What `with_checksum` was given; None where the line is incomplete or damaged."""
    head, tail = line[:-_CHECKSUM_LENGTH], line[-_CHECKSUM_LENGTH:]
    mark = _CHECKSUM_MARK.encode()
    if not head or tail != mark + hashlib.sha256(head).hexdigest().encode() + b'"}':
        return None
    try:
        body = json.loads(head + b"}")
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


@dataclass(frozen=True)
class JournalLine:
    """A complete line: its number, from 1, and its record."""

    number: int
    record: Record


class Journal:
    """Reads the lines that are new since it last read, and appends lines.

    Reading needs no lock: a line counts once its end and its checksum are there. A line that is cut short was
    being written when its process ended, so it was never reported as done.

    Parameters
    ----------
    path
        The file, which need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RLock()
        self._reset()

    def _reset(self) -> None:
        self.lines: list[JournalLine] = []
        self.damaged_lines: list[int] = []  # numbers of complete lines whose checksum is wrong
        self._line_count = 0
        self._end_offset = 0
        self._last_line = b""
        self._file_identity: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """Read new lines; returns whether there were any.

        Raises
        ------
        BadInput
            If the file cannot be read, or was written by a newer version of this package.
        """
        with self._lock:
            return self._read()

    def _read(self) -> bool:
        try:
            with self.path.open("rb") as file:
                file_status = os.fstat(file.fileno())
                if (
                    self._file_identity != (file_status.st_dev, file_status.st_ino)
                    or file_status.st_size < self._end_offset
                ):
                    self._reset()
                    self._file_identity = (file_status.st_dev, file_status.st_ino)
                elif self._last_line:  # the same file may have been overwritten in place, with a backup
                    file.seek(self._end_offset - len(self._last_line))
                    if file.read(len(self._last_line)) != self._last_line:
                        self._reset()
                        self._file_identity = (file_status.st_dev, file_status.st_ino)
                file.seek(self._end_offset)
                new_bytes = file.read()
        except FileNotFoundError:
            had_lines = bool(self._line_count)
            self._reset()
            return had_lines
        except OSError as error:
            raise BadInput(
                self.path, f"cannot be read ({error.strerror})", "ask for the right to read it"
            ) from error
        complete_lines = new_bytes[: new_bytes.rfind(b"\n") + 1]
        for line in complete_lines.split(b"\n")[:-1]:
            self._parse_line(line)
        return bool(complete_lines)

    def _parse_line(self, line: bytes) -> None:
        """Add the record of the next line."""
        self._line_count += 1
        self._end_offset += len(line) + 1
        self._last_line = line + b"\n"
        body = without_checksum(line)
        if body is None or body.pop("line", None) != self._line_count:
            self.damaged_lines.append(self._line_count)
            return
        try:
            self.lines.append(
                JournalLine(self._line_count, RECORD_ADAPTER.validate_python(body, strict=False))
            )
        except ValidationError as error:
            raise BadInput(
                self.path, "was written by a newer version of this plugin", "update napari-latentseg"
            ) from error

    def append(self, records: Sequence[Record]) -> int:
        """Append lines; all of them are on the disk when this returns. Only under the store's lock.

        Returns
        -------
        int
            The number of the last one.

        Raises
        ------
        OSError
            If a file cannot be written; the journal is then as it was.
        """
        with self._lock:
            return self._append(records)

    def _append(self, records: Sequence[Record]) -> int:
        self._read()
        is_new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if is_new:  # before the lines are written: after that nothing may fail any more
                sync_folder(self.path.parent)
                file_status = os.fstat(handle)
                self._file_identity = (file_status.st_dev, file_status.st_ino)
            self._repair_tail(handle)
            lines = [
                with_checksum({"line": self._line_count + 1 + i, **record.model_dump(mode="json")}).encode()
                for i, record in enumerate(records)
            ]
            try:
                self._write(handle, b"".join(line + b"\n" for line in lines))
            except BaseException:
                os.ftruncate(handle, self._end_offset)
                raise
        finally:
            os.close(handle)
        for line in lines:
            self._parse_line(line)
        return self._line_count

    def _write(self, handle: int, data: bytes) -> None:
        os.lseek(handle, self._end_offset, os.SEEK_SET)
        unwritten = memoryview(data)
        while unwritten:
            unwritten = unwritten[os.write(handle, unwritten) :]
        os.fsync(handle)

    def repair_tail(self) -> bool:
        """Remove an incomplete last line; returns whether there was one. Only under the store's lock.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        with self._lock:
            self._read()
            if not self.path.exists() or self.path.stat().st_size == self._end_offset:
                return False
            handle = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            try:
                self._repair_tail(handle)
            finally:
                os.close(handle)
            return True

    def _repair_tail(self, handle: int) -> None:
        os.lseek(handle, self._end_offset, os.SEEK_SET)
        tail = b"".join(iter(lambda: os.read(handle, 1 << 16), b""))
        if not tail:
            return
        if without_checksum(tail) is not None:  # only the newline is missing
            self._write(handle, tail + b"\n")
            self._parse_line(tail)
            return
        os.ftruncate(handle, self._end_offset)
        os.fsync(handle)

    def __iter__(self) -> Iterator[JournalLine]:
        with self._lock:
            return iter(self.lines.copy())
