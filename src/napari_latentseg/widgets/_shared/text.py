"""Numbers in running text."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = [
    "MAX_IMAGE_NAME",
    "SLICE_NUMBER_NOTE",
    "elide_middle",
    "format_numbers",
    "format_slices",
    "keep_units",
    "slice_text",
    "time_left_text",
]

SLICE_NUMBER_NOTE = "Slices are counted from 1; napari's slider counts from 0 and shows one less"
"""The one sentence about numbers of slices, which reports and the command line count from 1 too."""


def slice_text(number: int, count: int) -> str:
    """A slice as people count them, and its position on napari's slider.

    Parameters
    ----------
    number
        Counted from 0.
    count
        How many there are.

    Examples
    --------
    >>> slice_text(5, 12)
    'Slice 6 of 12 (slider 5)'
    """
    return f"Slice {number + 1} of {count} (slider {number})"


def format_slices(numbers: Iterable[int]) -> str:
    """Numbers of slices that are counted from 0, as people count them.

    Examples
    --------
    >>> format_slices([2, 3, 4, 8])
    '3 to 5, 9'
    """
    return format_numbers(n + 1 for n in numbers)


_NOT_TO_BREAK = re.compile(r"(?<=\d) (?=[x×] \d|%|ml\b|[mµu]m|pixels?\b|s\b|min\b)|(?<=\d [x×]) (?=\d)")


def keep_units(text: str) -> str:
    r"""A text for a label that breaks its lines, but never between a number and its unit.

    Texts of files and of the command line keep ordinary spaces, so that they can be searched.

    Examples
    --------
    >>> keep_units("1.52 ml (90 %: 1.44 to 1.61)")
    '1.52\xa0ml (90\xa0%: 1.44 to 1.61)'
    """
    return _NOT_TO_BREAK.sub("\N{NO-BREAK SPACE}", text)


MAX_IMAGE_NAME = 14
"""Characters of an image's name in the names of its layers: with run and role they fit napari's list."""


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


_MIN_SECONDS = 0.5  # an estimate from less time is too far off to be of use


def time_left_text(seconds: float, done: float) -> str:
    """The end of a line about progress: how long it will still take; empty where nobody can tell.

    Parameters
    ----------
    seconds
        Since the start.
    done
        How much is done, in [0, 1].

    Examples
    --------
    >>> time_left_text(10, 0.5), time_left_text(600, 0.5), time_left_text(10, 0)
    (', about 10 s left', ', about 10 min left', '')
    """
    if done <= 0 or done >= 1 or seconds < _MIN_SECONDS:
        return ""
    seconds_left = seconds * (1 - done) / done
    if seconds_left > 5400:
        return f", about {seconds_left / 3600:.0f} h left"
    if seconds_left > 90:
        return f", about {seconds_left / 60:.0f} min left"
    return f", about {max(1, round(seconds_left))} s left"
