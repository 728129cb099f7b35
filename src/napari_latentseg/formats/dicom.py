"""DICOM: a file, a folder or a zip, read in place; results beside it as NIfTI, or DICOM-SEG (`dicom_seg`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.formats._common import reading
from napari_latentseg.formats.dicom_files import begins_as_dicom, quiet_dicom
from napari_latentseg.formats.dicom_pixels import FrameStack, is_colour, value_dtype
from napari_latentseg.formats.dicom_series import Series, SeriesInfo, find_series
from napari_latentseg.formats.nifti import write
from napari_latentseg.scan import CHANNEL, Scan

__all__ = [
    "NAME",
    "RESULT_SUFFIX",
    "SUFFIXES",
    "SeriesInfo",
    "Survey",
    "knows",
    "list_series",
    "read",
    "write",
]

NAME = "dicom"
SUFFIXES = (".dicom", ".dcm", ".ima", ".zip")
RESULT_SUFFIX = ".nii.gz"  # holds a variance, and every geometry that is read here, to the last digit

_LOOKED_AT = 10_000


def knows(path: Path) -> bool:
    """Whether a file begins as DICOM; of a folder, whether one of its first ten thousand files does."""
    if path.is_dir():
        files = (Path(at, name) for at, _, names in os.walk(path) for name in sorted(names))
        return any(knows(file) for file in islice(files, _LOOKED_AT))
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
    return Survey.of(Path(path)).infos


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
    return Survey.of(Path(path)).read(series)


@dataclass(frozen=True)
class Survey:
    """What a file, folder or zip holds, by its headers; so that choosing one does not read them again.

    Attributes
    ----------
    found
        The series, in the order of their numbers.
    notes
        What was left out.
    """

    path: Path
    found: tuple[Series, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> Survey:
        """Read the headers; raises as `list_series` does."""
        found, notes = find_series(path)
        return cls(path, tuple(found), notes)

    @property
    def infos(self) -> list[SeriesInfo]:
        """As `list_series` gives them."""
        return [SeriesInfo.of(i + 1, one) for i, one in enumerate(self.found)]

    def read(self, series: int | str | None = None) -> Scan:
        """One of them; as the function `read` of this module, and raises as it does."""
        one = choose(self.path, self.found, series)
        if one.problem:
            raise one.problem
        if one.geometry is None:
            raise BadInput(self.path.name, "does not say where it lies", "export it again")
        with quiet_dicom(), reading(Path(self.path.name), "a DICOM series"):
            stack = FrameStack(one.frames, one.leading, value_dtype(one.frames))
            first = stack[(0,) * len(one.leading)]
            return Scan(
                _lazy(stack) if len(one.frames) > 1 else first.reshape(stack.shape),
                one.axes + (CHANNEL if is_colour(one.frames[0].stored) else ""),
                one.geometry,
                modality=one.header.modality,
                format=NAME,
                properties={"dicom_series": one.header.series},
                source=self.path,
                notes=(*self.notes, *one.notes),
            )


def choose(path: Path, found: Sequence[Series], series: int | str | None) -> Series:
    """The series that is asked for, or the only one.

    Raises
    ------
    BadInput
        Where there are several and none is asked for, or the one asked for is not there.
    """
    infos = [SeriesInfo.of(i + 1, one) for i, one in enumerate(found)]
    wanted = str(series) if series is not None else None
    if wanted is None and len(found) == 1:
        return found[0]
    matches = [i for i, info in enumerate(infos) if wanted in (str(info.number), info.uid)]
    if len(matches) == 1:
        return found[matches[0]]
    listed = ", ".join(info.line() for info in infos[:20]) + (", ..." if len(infos) > 20 else "")
    what = f"holds {len(found)} series: {listed}"
    if wanted is not None:
        what = f"has no series {wanted[:8]!r} of its own; it {what}"
    raise BadInput(path.name, what, "choose one with --series N")


def _lazy(stack: FrameStack) -> Any:
    import dask.array as da

    return da.from_array(stack, chunks=stack.chunks, name=False, lock=False, meta=np.empty(0, stack.dtype))
