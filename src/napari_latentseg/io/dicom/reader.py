"""DICOM: read a series of a file, folder or zip. Results are written as NIfTI, or as DICOM-SEG by `seg`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors
from napari_latentseg.io.dicom.files import begins_as_dicom, silence_dicom_loggers
from napari_latentseg.io.dicom.pixels import FrameStack, is_colour, value_dtype
from napari_latentseg.io.dicom.series import Series, SeriesInfo, find_series
from napari_latentseg.io.nifti import write

__all__ = [
    "NAME",
    "RESULT_SUFFIX",
    "SUFFIXES",
    "SeriesIndex",
    "SeriesInfo",
    "is_ours",
    "list_series",
    "read",
    "write",
]

NAME = "dicom"
SUFFIXES = (".dicom", ".dcm", ".ima", ".zip")
RESULT_SUFFIX = ".nii.gz"  # holds floating-point maps and every geometry that is read here

_MAX_PROBED_FILES = 10_000  # about a second on a local disk


def is_ours(path: Path) -> bool:
    """Whether a file is DICOM; of a folder, whether one of its first ten thousand files is."""
    if path.is_dir():
        files = (Path(parent, name) for parent, _, names in os.walk(path) for name in sorted(names))
        return any(is_ours(file) for file in islice(files, _MAX_PROBED_FILES))
    return begins_as_dicom(path)


def list_series(path: Path) -> list[SeriesInfo]:
    """The series of a file, folder or zip, numbered from 1 as for `read`; no pixels are decoded.

    Parameters
    ----------
    path
        A file, folder or zip.

    Raises
    ------
    BadInput
        If there is no image, or a file is damaged.
    """
    return SeriesIndex.from_path(Path(path)).series_infos


def read(path: Path, series: int | str | None = None) -> Scan:
    """Read one series: `zyx` in millimetres and LPS if it has positions in the patient.

    Slices are sorted along their normal, whatever their numbers. Several frames at each position (time
    points, b-values) give `tzyx`. An image without a position in the patient is `yx`, a cine loop `tyx`, with
    the pixel size of the file or in pixels. Several frames give a dask array, one frame a chunk; the first
    one is decoded at once, to check that it can be.

    Parameters
    ----------
    path
        A file, a folder (at any depth) or a zip. Files that are not images are skipped, with a note.
    series
        Needed if there are several: the number (from 1) or the eight digits that `list_series` gives.

    Returns
    -------
    Scan
        `properties` holds the eight digits of the series, by which `seg` finds it again.

    Raises
    ------
    BadInput
        If there are several series and none is chosen; if slices are missing, unequally spaced or ambiguous;
        if a file is damaged, cut short or compressed in an unsupported way. Messages name the file without
        its folder.
    """
    return SeriesIndex.from_path(Path(path)).read(series)


@dataclass(frozen=True)
class SeriesIndex:
    """The series of a file, folder or zip; headers are read once, then a series can be chosen.

    Attributes
    ----------
    path
        The file, folder or zip.
    series_list
        The series, by number.
    notes
        What was left out.
    """

    path: Path
    series_list: tuple[Series, ...]
    notes: tuple[str, ...]

    @classmethod
    def from_path(cls, path: Path) -> SeriesIndex:
        """Read the headers; raises as `list_series`."""
        series_list, notes = find_series(path)
        return cls(path, tuple(series_list), notes)

    @property
    def series_infos(self) -> list[SeriesInfo]:
        """As `list_series` returns them."""
        return [SeriesInfo.from_series(i + 1, series) for i, series in enumerate(self.series_list)]

    def read(self, series: int | str | None = None) -> Scan:
        """Read one of the series, as the function `read` of this module."""
        chosen_series = select_series(self.path, self.series_list, series)
        if chosen_series.problem:
            raise chosen_series.problem
        if chosen_series.geometry is None:
            raise BadInput(self.path.name, "has no geometry", "export it again")
        with silence_dicom_loggers(), read_errors(Path(self.path.name), "a DICOM series"):
            stack = FrameStack(chosen_series.frames, chosen_series.leading, value_dtype(chosen_series.frames))
            first_frame = stack[(0,) * len(chosen_series.leading)]
            return Scan(
                _as_dask(stack) if len(chosen_series.frames) > 1 else first_frame.reshape(stack.shape),
                chosen_series.axes + (CHANNEL if is_colour(chosen_series.frames[0].encoding) else ""),
                chosen_series.geometry,
                modality=chosen_series.header.modality,
                format=NAME,
                properties={"dicom_series": chosen_series.header.series},
                source=self.path,
                notes=(*self.notes, *chosen_series.notes),
            )


def select_series(path: Path, series_list: Sequence[Series], series: int | str | None) -> Series:
    """The requested series, or the only one.

    Raises
    ------
    BadInput
        If there are several and none is requested, or there is no such series.
    """
    infos = [SeriesInfo.from_series(i + 1, candidate) for i, candidate in enumerate(series_list)]
    requested = str(series) if series is not None else None
    if requested is None and len(series_list) == 1:
        return series_list[0]
    matches = [i for i, info in enumerate(infos) if requested in (str(info.number), info.uid)]
    if len(matches) == 1:
        return series_list[matches[0]]
    listed = ", ".join(info.describe() for info in infos[:20]) + (", ..." if len(infos) > 20 else "")
    why = f"holds {len(series_list)} series: {listed}"
    if requested is not None:
        why = f"has no series {requested[:8]!r} of its own; it {why}"
    raise BadInput(path.name, why, "choose one with --series N")


def _as_dask(stack: FrameStack) -> Any:
    import dask.array as da

    return da.from_array(stack, chunks=stack.chunks, name=False, lock=False, meta=np.empty(0, stack.dtype))
