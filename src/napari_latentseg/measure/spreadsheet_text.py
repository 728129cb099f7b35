"""Text in CSV files that a spreadsheet does not run as a formula."""

from __future__ import annotations

import re

__all__ = ["escape_formulas", "image_key"]

_HASH_LENGTH = (
    16  # digits of the image's SHA-256: two of a million images agree in them with odds of 1 to 10^7
)

# OWASP, "CSV injection". The wide forms are run in Japanese and Chinese versions of Excel, and where the list
# separator is a semicolon or a tab, a cell begins after each of these.
_FORMULA_START = re.compile(r"(^|[;,\t\r\n])(?=\s*[=+\-@＝＋－＠])")
_CONTROL_CHARACTERS = ("\t", "\r", "\n")


def escape_formulas(text: str) -> str:
    """Put an apostrophe before what a spreadsheet would run as a formula.

    Examples
    --------
    >>> escape_formulas("cyst"), escape_formulas("=1+1"), escape_formulas("a;=1")
    ('cyst', "'=1+1", "a;'=1")
    """
    escaped = _FORMULA_START.sub(r"\1'", text)
    return f"'{escaped}" if escaped.startswith(_CONTROL_CHARACTERS) else escaped


def image_key(input_sha256: str) -> str:
    """An image in a table, by the start of its hash.

    Parameters
    ----------
    input_sha256
        `RunRecord.input.sha256`. The prefix keeps a spreadsheet from taking digits with an e for a number.
    """
    return f"sha256:{input_sha256[:_HASH_LENGTH]}"
