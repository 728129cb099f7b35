"""Tables of text that people write, in spreadsheets too: CSV with commas, semicolons or tabs."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from napari_latentseg.errors import BadInput

__all__ = ["decoded_table", "read_table"]

_DELIMITERS = ",;\t"
_EXCEL_HINT = "sep="  # a first line by which Excel is told the delimiter


def read_table(path: Path, remedy: str) -> list[list[str]]:
    """The rows of a table, the headings first; empty lines are empty rows.

    Parameters
    ----------
    path
        UTF-8, or UTF-16 with its mark, which Excel calls Unicode text. Separated by commas, semicolons or
        tabs, whichever is most frequent in the headings.
    remedy
        What to do where it is not a table, for the message.

    Raises
    ------
    BadInput
        If the file cannot be read, has another encoding or is not a table.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(path, f"cannot be read as a table ({error.strerror})", remedy) from error
    return decoded_table(content, path, remedy)


def decoded_table(content: bytes, path: Path, remedy: str) -> list[list[str]]:
    """As `read_table`, of bytes that were read.

    Raises
    ------
    BadInput
        As `read_table`.
    """
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        why = "cannot be read as a table: its letters are not in UTF-8"
        raise BadInput(path, why, "save it as CSV UTF-8") from error
    first_line, _, rest = text.partition("\n")
    hint, delimiter = first_line.rstrip("\r")[:-1], first_line.rstrip("\r")[-1:]
    if hint.lower() == _EXCEL_HINT and delimiter in _DELIMITERS:
        text = rest
    else:
        delimiter = max(_DELIMITERS, key=first_line.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise BadInput(path, "cannot be read as a table", remedy) from error
