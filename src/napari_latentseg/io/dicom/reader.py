"""DICOM: a file, a folder or a zip, read in place; results beside it as NIfTI, or DICOM-SEG (`dicom_seg`)."""

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
RESULT_SUFFIX = ".nii.gz"  # holds a variance, and every geometry that is read here, to the last digit

_MAX_PROBED_FILES = 10_000


def is_ours(path: Path) -> bool:
    """Whether a file begins as DICOM; of a folder, whether one of its first ten thousand files does."""
    if path.is_dir():
        files = (Path(parent, name) for parent, _, names in os.walk(path) for name in sorted(names))
        return any(is_ours(file) for file in islice(files, _MAX_PROBED_FILES))
    return begins_as_dicom(path)


def list_series(path: Path) -> list[SeriesInfo]:
    """What a file, folder or zip holds, in the order of `read`'s numbers; no pixel is decoded.

    Parameters
    ----------
    path
        Of any of these.

    Raises
    ------
    BadInput
        Where there is no picture at all, or a file is damaged.
    """
    return SeriesIndex.from_path(Path(path)).series_infos


def read(path: Path, series: int | str | None = None) -> Scan:
    """Read one series, in place: `zyx` in millimetres and LPS where the file says where it lies.

    Slices are sorted along their normal, whatever their numbers say. Several frames at each place (time
    points, b-values) give `tzyx`. A picture that does not lie in the patient is `yx`, a film of them `tyx`,
    with the spacing that the file gives, or in pixels. More than one frame comes as a dask array, a frame
    a chunk, decoded when it is looked at; the first is decoded at once, to see that it can be.

    Parameters
    ----------
    path
        A file, a folder at any depth, or a zip. Files that are not scans are passed over, with a note.
    series
        Which, where there are several: its number (from 1) or its eight digits, as `list_series` has them.

    Returns
    -------
    Scan
        `properties` holds the series' eight digits, by which `dicom_seg` finds it again.

    Raises
    ------
    BadInput
        Where there are several series and none is chosen; slices are missing, unevenly far apart, or
        different ones lie at one place; a file is damaged, cut short, or compressed in a way that is not
        read. Only the file's own name is told.
    """
    return SeriesIndex.from_path(Path(path)).read(series)


@dataclass(frozen=True)
class SeriesIndex:
    """What a file, folder or zip holds, by its headers; so that choosing one does not read them again.

    Attributes
    ----------
    series_list
        The series, in the order of their numbers.
    notes
        What was left out.
    """

    path: Path
    series_list: tuple[Series, ...]
    notes: tuple[str, ...]

    @classmethod
    def from_path(cls, path: Path) -> SeriesIndex:
        """Read the headers; raises as `list_series` does."""
        series_list, notes = find_series(path)
        return cls(path, tuple(series_list), notes)

    @property
    def series_infos(self) -> list[SeriesInfo]:
        """As `list_series` gives them."""
        return [
            SeriesInfo.from_series(i + 1, found_series) for i, found_series in enumerate(self.series_list)
        ]

    def read(self, series: int | str | None = None) -> Scan:
        """One of them; as the function `read` of this module, and raises as it does."""
        chosen_series = select_series(self.path, self.series_list, series)
        if chosen_series.problem:
            raise chosen_series.problem
        if chosen_series.geometry is None:
            raise BadInput(self.path.name, "does not say where it lies", "export it again")
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
    """The series that is asked for, or the only one.

    Raises
    ------
    BadInput
        Where there are several and none is asked for, or the one asked for is not there.
    """
    infos = [SeriesInfo.from_series(i + 1, found_series) for i, found_series in enumerate(series_list)]
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
