"""How a long computation reports its progress."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "no_progress"]

Progress = Callable[[float], None]
"""Called with the fraction done, in [0, 1]."""


def no_progress(done: float) -> None:
    """Report nothing."""
