"""Writing the arrays of a result under the names of another layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.io.registry import format_for

__all__ = ["array_writer", "record_of", "text_writer"]


def array_writer(segmentation: Segmentation, array: NDArray[np.generic]) -> Callable[[Path], object]:
    """Writes an array in the geometry of a segmentation, in the format of the file's ending."""

    def write(path: Path) -> None:
        format_for(path).write(path, array, segmentation.axes, segmentation.geometry, segmentation.properties)

    return write


def text_writer(text: str) -> Callable[[Path], object]:
    """Writes a text file."""
    return lambda path: path.write_text(text, "utf-8")


def record_of(segmentation: Segmentation, case: BatchCase) -> RunRecord:
    """The record of the run, which names the case where its name is a code."""
    return segmentation.record.replace(case=case.name) if case.is_code else segmentation.record
