"""Numbers with their nouns, in lines for people."""

from __future__ import annotations

__all__ = ["count_text"]


def count_text(number: int, noun: str) -> str:
    """A number with its noun, which takes an s in the plural.

    Examples
    --------
    >>> count_text(1, "slice"), count_text(3, "slice")
    ('1 slice', '3 slices')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
