"""Arguments of the Python API: their types are checked, and a wrong one is named in one line."""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from napari_latentseg.errors import BadInput

__all__ = ["as_path", "as_paths", "check_callable", "number", "shown", "whole_number", "whole_numbers"]

_MAX_SHOWN_LENGTH = 40  # characters: the representation of an array would fill the screen


def shown(value: Any) -> str:
    """A wrong value in a message: itself where it is short, otherwise its type."""
    if value is None:
        return "None"
    text = repr(value) if isinstance(value, str | bool | numbers.Number | list | tuple) else ""
    is_short = text and len(text) <= _MAX_SHOWN_LENGTH and "\n" not in text
    return text if is_short else f"a value of type {type(value).__name__}"


def whole_number(name: str, value: Any) -> int:
    """A whole number, which may be one of NumPy's.

    Raises
    ------
    BadInput
        If it is text, a number with a decimal point, or true or false.

    Examples
    --------
    >>> whole_number("samples", 3)
    3
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise BadInput(
            name, f"{shown(value)} is not a whole number", "write a number such as 3, without quotes"
        )
    return int(value)


def number(name: str, value: Any) -> float:
    """A number, which may be one of NumPy's.

    Raises
    ------
    BadInput
        If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise BadInput(name, f"{shown(value)} is not a number", "write a number such as 0.5, without quotes")
    return float(value)


def whole_numbers(name: str, value: Any, count: int) -> tuple[int, ...]:
    """So many whole numbers, in a tuple, list or array.

    Raises
    ------
    BadInput
        If they are others or more or fewer.
    """
    values = [] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
    if len(values) != count:
        example = ", ".join(map(str, range(10, 10 * count + 1, 10)))
        raise BadInput(name, f"{shown(value)} is not {count} whole numbers", f"write ({example})")
    return tuple(whole_number(name, item) for item in values)


def as_path(name: str, value: Any) -> Path:
    """The path that text or a path object names.

    Raises
    ------
    BadInput
        If it is neither, or empty.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise BadInput(name, f"{shown(value)} is not a path", "write the path of a file or folder")
    return Path(value)


def as_paths(name: str, value: Any) -> list[Path]:
    """The paths that one path or several name; see `as_path`."""
    is_several = isinstance(value, Iterable) and not isinstance(value, str | os.PathLike)
    return [as_path(name, path) for path in (value if is_several else [value])]


def check_callable(name: str, value: Any) -> None:
    """Refuse what cannot be called.

    Raises
    ------
    BadInput
        If it cannot.
    """
    if not callable(value):
        raise BadInput(name, f"{shown(value)} is not a function", "give a function, or leave it out")
