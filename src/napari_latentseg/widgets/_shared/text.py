"""Numbers in running text."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["count_text", "elide_middle", "format_numbers"]


def count_text(number: int, noun: str) -> str:
    """A number with its noun, which takes an s in the plural.

    Examples
    --------
    >>> count_text(1, "slice"), count_text(3, "slice")
    ('1 slice', '3 slices')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def elide_middle(text: str, length: int) -> str:
    """A text of at most this many characters, whose middle is replaced by an ellipsis if it is longer.

    Examples
    --------
    >>> elide_middle("T1 post contrast 2021", 12), elide_middle("retina", 12)
    ('T1 pos… 2021', 'retina')
    """
    if len(text) <= length:
        return text
    tail = (length - 1) // 2
    return f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"


def format_numbers(numbers: Iterable[int]) -> str:
    """Whole numbers in ascending order, with runs of three or more shortened.

    Examples
    --------
    >>> format_numbers([7, 3, 8, 9, 12])
    '3, 7 to 9, 12'
    """
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
