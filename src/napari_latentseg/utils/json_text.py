"""JSON that others wrote."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["load_json"]


def load_json(text: str | bytes, *, once: bool = False) -> Any:
    """Parse JSON.

    Parameters
    ----------
    text
        To be parsed.
    once
        Refuse a name that is there twice in one set, of which the first would be passed over.

    Raises
    ------
    ValueError
        If it is none, or nested deeper than Python can follow; the message says in which line.
    """
    if not text.strip():
        raise ValueError("it is empty")
    try:
        return json.loads(text, object_pairs_hook=_each_once if once else None)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} in line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return values
