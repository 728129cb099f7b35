"""A result as a person gives it: in memory, or its files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.core.segmentation import Segmentation

__all__ = ["opened_result"]


def opened_result(result: Any, *, edited: bool) -> Segmentation:
    """A result, read where files are given.

    Parameters
    ----------
    result
        What `segment` returns, or the files of a result.
    edited
        Whether its mask may have been changed after the run that wrote it.

    Raises
    ------
    BadInput
        If it is neither, or cannot be read.
    """
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.io.read_results import read_segmentation

    if isinstance(result, Segmentation):
        return result
    if isinstance(result, str | os.PathLike):
        return read_segmentation(Path(result), edited=edited)
    raise BadInput("result", "is not a result", "give what segment returns, or the files of a result")
