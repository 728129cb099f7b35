"""Weight files that are damaged, or do harm when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["Trap", "cut"]


def cut(path: Path) -> None:
    """Cut the end of a file off."""
    path.write_bytes(path.read_bytes()[:-100])


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)
