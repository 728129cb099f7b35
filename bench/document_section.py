"""The part of a document that a benchmark writes, between two markers."""

from __future__ import annotations

from pathlib import Path

__all__ = ["write_section"]


def write_section(document: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between the markers of a document.

    Raises
    ------
    SystemExit
        If it does not have both markers.
    """
    content = document.read_text("utf-8")
    if begin not in content or end not in content:
        raise SystemExit(f"{document}: has no {begin} and {end}")
    before, after = content.split(begin)[0], content.split(end)[1]
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", "utf-8")
