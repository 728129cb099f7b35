from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.helpers.annotated import DISC, VESSEL

from napari_latentseg.annotations.journal import Journal, with_checksum, without_checksum
from napari_latentseg.annotations.records import (
    ApprovalRecord,
    CaseRecord,
    ClassesRecord,
    GeometryRecord,
    MaskBlock,
    Record,
    Revocation,
    as_ranges,
)
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput

RECORDS: list[Record] = [
    ClassesRecord(classes=(VESSEL, DISC)),
    ApprovalRecord(
        case="scan-01234567",
        planes=((0, 2), (5, 5)),
        parts=(MaskBlock(first=0, count=6, object="a" * 64),),
        model=("tiny", "1", "b" * 64),
        edited=True,
        time="2026-01-01T00:00:00+00:00",
    ),
    Revocation(approval=2, time="2026-01-01T00:00:00+00:00"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    assert Journal(path).append(RECORDS) == 3
    return path


def records(path: Path) -> list[Record]:
    journal = Journal(path)
    journal.refresh()
    return [line.record for line in journal]


def test_a_line_says_what_it_was_given_and_nothing_else() -> None:
    line = with_checksum({"a": 1, "b": "é,\n"}).encode()
    assert b"\n" not in line
    assert json.loads(line)["a"] == 1
    assert without_checksum(line) == {"a": 1, "b": "é,\n"}
    for place in range(len(line)):
        assert without_checksum(line[:place]) is None
        changed = bytes([line[place] ^ 1])
        assert without_checksum(line[:place] + changed + line[place + 1 :]) is None


def test_lines_come_back(path: Path) -> None:
    assert records(path) == RECORDS
    assert RECORDS[1].plane_numbers == (0, 1, 2, 5)
    assert as_ranges([5, 1, 0, 2, 2]) == RECORDS[1].planes


def test_a_reader_sees_what_another_adds(path: Path) -> None:
    reader, writer = Journal(path), Journal(path)
    assert reader.refresh()
    assert not reader.refresh()
    assert writer.append(RECORDS[2:]) == 4
    assert reader.refresh()
    assert [line.number for line in reader] == [1, 2, 3, 4]


def test_what_was_cut_short_at_any_place_is_taken_off_and_the_rest_is_there(path: Path) -> None:
    whole = path.read_bytes()
    before = whole[: whole.rindex(b"\n", 0, -1) + 1]
    for end in range(len(before) + 1, len(whole)):
        path.write_bytes(whole[:end])
        journal = Journal(path)
        journal.refresh()
        assert [line.record for line in journal] == RECORDS[:2]
        assert journal.damaged_lines == []
        assert path.read_bytes() == whole[:end]  # reading changes nothing
        assert journal.repair_tail()
        # a line that lacks its end alone is whole
        assert path.read_bytes() == (whole if end == len(whole) - 1 else before)
        assert not journal.repair_tail()
        number = journal.append(RECORDS[2:])
        assert number == (4 if end == len(whole) - 1 else 3)
        assert records(path)[:3] == RECORDS


def test_a_damaged_line_is_counted_and_costs_no_other(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"true", b"fals")
    path.write_bytes(b"".join(lines))
    journal = Journal(path)
    journal.refresh()
    assert [line.number for line in journal] == [1, 3]
    assert journal.damaged_lines == [2]
    assert not journal.repair_tail()
    assert journal.append(RECORDS[2:]) == 4
    assert path.read_bytes().startswith(b"".join(lines))


def test_a_line_that_was_taken_out_is_noticed(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    journal = Journal(path)
    journal.refresh()
    assert journal.damaged_lines == [2]


def test_a_copy_that_was_put_back_is_read_anew(path: Path) -> None:
    journal = Journal(path)
    journal.refresh()
    with path.open("r+b") as file:  # the same file, and another content
        file.truncate(0)
    assert not journal.refresh()
    assert journal.lines == []
    path.unlink()
    journal.refresh()
    assert journal.append(RECORDS[:1]) == 1


def test_a_newer_version_is_named(path: Path) -> None:
    with path.open("ab") as file:
        file.write(with_checksum({"line": 4, "kind": "from tomorrow"}).encode() + b"\n")
    with pytest.raises(BadInput, match="was written by a newer version"):
        Journal(path).refresh()


@pytest.mark.parametrize("fails", ["write", "fsync"])
def test_a_disk_that_is_full_leaves_the_journal_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    before = path.read_bytes()
    write = os.write

    def half(handle: int, data: memoryview) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data[: len(data) // 2])

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    journal = Journal(path)
    monkeypatch.setattr(os, fails, half if fails == "write" else refuse)
    with pytest.raises(OSError, match="No space"):
        journal.append(RECORDS[2:])
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert journal.append(RECORDS[2:]) == 4
    assert records(path)[:3] == RECORDS


def test_an_image_whose_axes_do_not_fit_its_shape_is_no_record() -> None:
    """Such a line has the right checksum where another program wrote it."""
    geometry = Geometry.from_spacing("yx")
    fields = CaseRecord(
        name="scan-01234567", pixels="a" * 64, axes="yx", shape=(4, 5), dtype="uint8",
        place=GeometryRecord.from_geometry(geometry), files={}, time="2026-01-01T00:00:00+00:00",
    ).model_dump()  # fmt: skip
    with pytest.raises(ValidationError, match="2 axes do not fit a shape of 1"):
        CaseRecord.model_validate(fields | {"shape": (4,)})
