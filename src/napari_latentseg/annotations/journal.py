"""The journal: one JSON object a line, each with a checksum; lines are appended and never changed."""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from napari_latentseg.annotations.durable_io import sync_folder
from napari_latentseg.annotations.records import RECORD_ADAPTER
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.json_text import load_json

__all__ = ["Journal", "JournalLine", "with_checksum", "without_checksum"]

_CHECKSUM_MARK = ',"sha256":"'
_CHECKSUM_LENGTH = len(_CHECKSUM_MARK) + 64 + len('"}')
_LINE_START = b'{"line":'
_MAX_LOST_LINES = 100_000  # between two lines; a line that claims more is damaged, and is not believed


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
        body = load_json(head + b"}")
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


RecordType = TypeVar("RecordType", bound=BaseModel)
"""What a line holds."""

_OPTIONAL_FIELDS = ("reader",)  # left out where empty, so that earlier versions read the line

TailRepair = Literal["", "completed", "removed"]


@dataclass(frozen=True)
class JournalLine(Generic[RecordType]):
    """A complete line: its number, from 1, and its record."""

    number: int
    record: RecordType


class Journal(Generic[RecordType]):
    """Reads the lines that are new since it last read, and appends lines.

    Reading needs no lock: a line counts once its end and its checksum are there. A line that is cut short was
    being written when its process ended, so it was never reported as done. Each line holds its own number, so
    that a line that is damaged or lost costs no other.

    Parameters
    ----------
    path
        The file, which need not be there.
    adapter
        Of the records; those of an annotation store where not given.

    Attributes
    ----------
    lines
        The intact lines, in order.
    generation
        Changes when the file was replaced, and is read from its beginning again.
    """

    generation = 0

    def __init__(self, path: Path, adapter: TypeAdapter[Any] = RECORD_ADAPTER) -> None:
        self.path = path
        self._adapter = adapter
        self._lock = RLock()
        self._reset()

    def _reset(self) -> None:
        self.generation += 1
        self.lines: list[JournalLine[RecordType]] = []
        self._lost_numbers: list[int] = []  # of lines before the last intact one
        self._last_number = 0  # of the last intact line
        self._damaged_count = 0  # lines after it that are damaged
        self._end_offset = 0
        self._last_line = b""
        self._file_identity: tuple[int, int] | None = None

    @property
    def damaged_lines(self) -> list[int]:
        """Numbers of the lines that are damaged, missing, or there twice with different content."""
        trailing = range(self._last_number + 1, self._last_number + 1 + self._damaged_count)
        return sorted({*self._lost_numbers, *trailing})

    @property
    def _line_count(self) -> int:
        return self._last_number + self._damaged_count

    def lines_after(self, generation: int, count: int) -> tuple[int, list[JournalLine[RecordType]]]:
        """The present generation, and its lines after the first `count` of a generation.

        Parameters
        ----------
        generation, count
            What the caller has; of another generation than the present one, all lines are new.
        """
        with self._lock:
            return self.generation, self.lines[count if generation == self.generation else 0 :]

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
            if had_lines or self._file_identity is not None:
                self._reset()
            return had_lines
        except OSError as error:
            raise BadInput(
                self.path, f"cannot be read ({error.strerror})", "ask for permission to read it"
            ) from error
        complete_lines = new_bytes[: new_bytes.rfind(b"\n") + 1]
        for line in complete_lines.split(b"\n")[:-1]:
            self._parse_line(line)
        return bool(complete_lines)

    def _parse_line(self, line: bytes) -> None:
        """Add the record of the next line."""
        self._end_offset += len(line) + 1
        self._last_line = line + b"\n"
        body = without_checksum(line)
        if body is None and (start := line.rfind(_LINE_START)) > 0:  # after a damaged line without its end
            body = without_checksum(line[start:])
        number = None if body is None else body.pop("line", None)
        if not isinstance(number, int) or not 0 < number <= self._last_number + _MAX_LOST_LINES:
            self._damaged_count += 1
            return
        try:
            record = self._adapter.validate_python(body, strict=False)
        except ValidationError as error:
            raise BadInput(
                self.path, "was written by a newer version of this plugin", "update napari-latentseg"
            ) from error
        if number <= self._last_number:
            place = bisect_left(self.lines, number, key=lambda earlier: earlier.number)
            if self.lines[place] != JournalLine(number, record):  # the earlier one counts
                self._lost_numbers.append(number)
            return
        self._lost_numbers += range(self._last_number + 1, number)
        self._last_number, self._damaged_count = number, 0
        self.lines.append(JournalLine(number, record))

    def append(self, records: Sequence[RecordType]) -> int:
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

    def _append(self, records: Sequence[RecordType]) -> int:
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
                with_checksum({"line": self._line_count + 1 + i, **_fields(record)}).encode()
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

    def repair_tail(self) -> TailRepair:
        """Complete or remove a last line without its end. Only under the store's lock.

        Returns
        -------
        str
            ``"completed"`` where nothing but the line break was missing, ``"removed"`` where the line was cut
            short; empty where there was no such line.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        with self._lock:
            self._read()
            if not self.path.exists() or self.path.stat().st_size == self._end_offset:
                return ""
            handle = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            try:
                return self._repair_tail(handle)
            finally:
                os.close(handle)

    def _repair_tail(self, handle: int) -> TailRepair:
        os.lseek(handle, self._end_offset, os.SEEK_SET)
        tail = b"".join(iter(lambda: os.read(handle, 1 << 16), b""))
        if not tail:
            return ""
        if without_checksum(tail) is not None:  # only the newline is missing
            self._write(handle, tail + b"\n")
            self._parse_line(tail)
            return "completed"
        os.ftruncate(handle, self._end_offset)
        os.fsync(handle)
        return "removed"

    def __iter__(self) -> Iterator[JournalLine[RecordType]]:
        with self._lock:
            return iter(self.lines.copy())


def _fields(record: BaseModel) -> dict[str, Any]:
    """What a line says of a record."""
    fields = record.model_dump(mode="json")
    return {name: value for name, value in fields.items() if value or name not in _OPTIONAL_FIELDS}
