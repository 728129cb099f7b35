"""Tables as spreadsheets save them."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.written_tables import read_table

ROWS = [["case", "path"], ["p-1", "Müller, T1.nii"], [], ["p-2", "b;c.png"]]


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("hint", [False, True])
def test_what_spreadsheets_save_is_read(
    tmp_path: Path, encoding: str, line_end: str, delimiter: str, hint: bool
) -> None:
    lines = [delimiter.join(f'"{cell}"' for cell in row) for row in ROWS]
    lines = [f"sep={delimiter}", *lines] if hint else lines
    path = written(tmp_path, line_end.join(lines).encode(encoding))
    assert read_table(path, "write one") == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("case,path\np-1,Müller\n".encode("cp1252"), "letters are not in UTF-8; save it as CSV UTF-8"),
        (b"\xff\xfe\x00", "letters are not in UTF-8"),
        (b'case,path\np-1,"' + b"x" * 200_000, "cannot be read as a table; write one"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_table(written(tmp_path, content), "write one")


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cases\.csv: cannot be read as a table \(No such file"):
        read_table(tmp_path / "cases.csv", "write one")
