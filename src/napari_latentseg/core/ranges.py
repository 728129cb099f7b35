"""Whole numbers as ranges, such as the slices that were segmented or approved."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["as_ranges"]


def as_ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Whole numbers as ranges, first and last.

    Examples
    --------
    >>> as_ranges([4, 1, 2, 3, 9])
    ((1, 4), (9, 9))
    """
    spans: list[tuple[int, int]] = []
    for n in sorted(set(numbers)):
        if spans and spans[-1][1] == n - 1:
            spans[-1] = (spans[-1][0], n)
        else:
            spans.append((n, n))
    return tuple(spans)
