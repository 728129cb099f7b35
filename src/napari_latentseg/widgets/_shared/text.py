"""Numbers in running text."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["count_text", "format_numbers"]


def count_text(number: int, noun: str) -> str:
    """A number with its noun, which takes an s in the plural.

    Examples
    --------
    >>> count_text(1, "slice"), count_text(3, "slice")
    ('1 slice', '3 slices')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
