"""A small whole file, and how tools/fuzz.py reads it; what the makers of such files share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Seed:
    """A folder of whole files.

    Attributes
    ----------
    name
        Of its folder.
    target
        Key in `fuzz_targets.TARGETS`: how it is read.
    main
        What is given to the reader, in the folder; empty for the folder itself.
    is_refused
        Whether it is refused when it is whole, too: DICOM that is no scan.
    """

    name: str
    target: str
    main: str = ""
    is_refused: bool = False


def folder_of(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    return folder


def volume(dtype: Any = "int16", shape: tuple[int, ...] = (6, 16, 12)) -> Any:
    import numpy as np

    return (np.arange(np.prod(shape)) % 250).reshape(shape).astype(dtype)
