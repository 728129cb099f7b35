"""From frames to series: what belongs together, in which order, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.formats._common import reading
from napari_latentseg.formats._progress import tell
from napari_latentseg.formats.dicom_files import find_items, quiet_dicom, zip_kept_open
from napari_latentseg.formats.dicom_geometry import Place, same_plane, stack_matrix
from napari_latentseg.formats.dicom_header import Frame, Header, read_header
from napari_latentseg.formats.dicom_order import Arranged, arrange
from napari_latentseg.formats.dicom_pixels import is_colour
from napari_latentseg.scan import Geometry

__all__ = ["Series", "SeriesInfo", "find_series"]


@dataclass(frozen=True)
class Series:
    """Frames that make one scan.

    Attributes
    ----------
    header
        Of the first file.
    frames
        In the order of the array, slowest axis first.
    axes, leading
        Without channels, and the shape before rows and columns.
    geometry
        None where there is a problem.
    notes
        What one should know of how it was put together.
    problem
        Why it cannot be read as one scan.
    """

    header: Header
    frames: tuple[Frame, ...]
    axes: str = ""
    leading: tuple[int, ...] = ()
    geometry: Geometry | None = None
    notes: tuple[str, ...] = ()
    problem: BadInput | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array, channels last."""
        stored = self.frames[0].stored
        return (*self.leading, stored.rows, stored.columns, *((3,) if is_colour(stored) else ()))


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder, for a chooser.

    Attributes
    ----------
    number
        From 1; what `--series` takes.
    uid
        Eight digits that stand for the series, from a hash.
    description
        The scanner's words. For the screen alone: they may hold anything, and are not recorded.
    modality, axes, shape, spacing, units
        As of the scan; empty where there is a problem.
    count, size
        How many pictures it has, and their rows and columns.
    problem
        Why it cannot be read; empty where it can.
    """

    number: int
    uid: str
    description: str
    modality: str
    axes: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    units: tuple[str, ...]
    count: int
    size: tuple[int, int]
    problem: str = ""

    @classmethod
    def of(cls, number: int, series: Series) -> SeriesInfo:
        """What is to be shown of a series."""
        geometry = series.geometry
        return cls(
            number,
            series.header.series,
            series.header.description,
            series.header.modality,
            series.axes,
            series.shape,
            geometry.spacing if geometry else (),
            geometry.units if geometry else (),
            len(series.frames),
            (series.frames[0].stored.rows, series.frames[0].stored.columns),
            f"{series.problem.why}; {series.problem.remedy}" if series.problem else "",
        )

    def line(self) -> str:
        """In words that may be logged: ``"2 (MR, 22 of 320x280)"``."""
        rows, columns = self.size
        name = self.modality if self.modality.isalnum() and len(self.modality) < 8 else "?"
        return f"{self.number} ({name}, {self.count} of {rows}x{columns})"


def find_series(path: Path) -> tuple[list[Series], tuple[str, ...]]:
    """All series of a file, folder or zip; only headers are read.

    Parameters
    ----------
    path
        Of any of these.

    Returns
    -------
    series
        By the numbers of their headers; with a problem where they cannot be read.
    notes
        What was left out.

    Raises
    ------
    BadInput
        Where there is no picture at all, or a file is damaged.
    """
    headers: list[Header] = []
    skipped: list[str] = []
    with quiet_dicom(), zip_kept_open(path):
        items, notes = find_items(path)
        for done, item in enumerate(items):
            tell(done, len(items))
            with reading(Path(item.name), "a DICOM file"):
                header = read_header(item)
            if header.skip:
                skipped.append(header.skip)
            else:
                headers.append(header)
        if not headers:
            why = skipped[0] if len(items) == 1 else "holds no picture, only reports and the like"
            raise BadInput(path.name, why, "choose the file or folder of a scan")
        if skipped:
            notes.append(f"{len(skipped)} files that are no scans were passed over")
        found = [one for group in _groups(headers) for one in _series(path.name, *group)]
    # sorting is stable: equal numbers stay in the order of their files
    return sorted(found, key=lambda s: s.header.number), tuple(notes)


def _groups(headers: Sequence[Header]) -> list[tuple[Header, list[Frame]]]:
    """Frames of one series, one size, one frame of reference and one plane; without a place, of one file."""
    groups: list[tuple[Header, list[Frame]]] = []
    alike: dict[tuple[Any, ...], list[tuple[Place, list[Frame]]]] = {}
    for header in headers:
        if any(frame.place is None for frame in header.frames):
            groups.append((header, list(header.frames)))
            continue
        first = header.frames[0].stored
        key = (header.series, header.reference, first.rows, first.columns, is_colour(first))
        planes = alike.setdefault(key, [])
        for frame in header.frames:
            place = frame.place
            assert place is not None  # seen above
            for known, members in planes:
                if same_plane(known, place):
                    members.append(frame)
                    break
            else:
                planes.append((place, [frame]))
                groups.append((header, planes[-1][1]))
    return groups


def _series(name: str, header: Header, frames: list[Frame]) -> list[Series]:
    if frames[0].place is None:
        return [_flat(header, frames)]
    try:
        return [_placed(name, header, arranged) for arranged in arrange(name, frames)]
    except BadInput as problem:
        return [Series(header, tuple(frames), leading=(len(frames),), problem=problem)]


def _flat(header: Header, frames: list[Frame]) -> Series:
    flat = header.flat
    if flat is None:  # a header without frames has none, and no group either
        raise BadInput(header.item.name, "has no pixels", "export it again")
    leading = (len(frames),) if flat.axis else ()
    return Series(header, tuple(frames), f"{flat.axis}yx", leading, flat.geometry(), flat.notes)


def _placed(name: str, header: Header, arranged: Arranged) -> Series:
    stack = arranged.frames[: arranged.slices]
    times = len(arranged.frames) // arranged.slices
    series = Series(header, arranged.frames, notes=arranged.notes)
    try:
        matrix = stack_matrix(name, [frame.place for frame in stack if frame.place])
    except BadInput as problem:
        return replace(series, leading=(len(arranged.frames),), problem=problem)
    if times == 1:
        geometry = Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS")
        return replace(series, axes="zyx", leading=(arranged.slices,), geometry=geometry)
    step = arranged.step or (header.time_step if arranged.over == "time" else 0.0)
    full = np.eye(5)
    full[0, 0] = step or 1.0
    full[1:, 1:] = matrix
    units = ("s" if step else "pixel", "mm", "mm", "mm")
    geometry = Geometry.from_matrix(full, units, ("t", "z", "y", "x"), "LPS")
    return replace(series, axes="tzyx", leading=(times, arranged.slices), geometry=geometry)
