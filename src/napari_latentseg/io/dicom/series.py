"""Group the frames of many files to series, each of which is one scan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors
from napari_latentseg.io._notes import no_thickness_note
from napari_latentseg.io._progress import report_progress
from napari_latentseg.io.dicom.files import DicomFile, find_dicom_files, silence_dicom_loggers, zip_kept_open
from napari_latentseg.io.dicom.geometry import SlicePose, is_same_orientation, stack_matrix
from napari_latentseg.io.dicom.header import Frame, Header, read_header, short_hash
from napari_latentseg.io.dicom.ordering import OrderedFrames, order_frames
from napari_latentseg.io.dicom.pixels import is_colour
from napari_latentseg.utils.counts import count_text

__all__ = ["NoImageError", "Series", "SeriesInfo", "find_series"]

_UNNAMED_NOTE = "the files have no UID of their series: they form one by size, orientation and position"


class NoImageError(BadInput):
    """The DICOM files are all reports, settings of the display and the like."""


@dataclass(frozen=True)
class Series:
    """Frames that form one scan.

    Attributes
    ----------
    header
        Of the first file.
    frames
        In C order of the leading axes.
    axes, leading
        The axes without channels, and the lengths of those before rows and columns.
    geometry
        None if there is a problem.
    notes
        What was assumed, for people.
    problem
        Why it cannot be read as one scan; None if it can.
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
        """Shape of the array, channels last."""
        stored = self.frames[0].encoding
        return (*self.leading, stored.rows, stored.columns, *((3,) if is_colour(stored) else ()))


@dataclass(frozen=True)
class SeriesInfo:
    """Summary of a series, for choosing one.

    Attributes
    ----------
    number
        From 1; the value for `--series`.
    uid
        Eight digits that identify the series: the start of a hash of its UID.
    description
        As the scanner wrote it. Shown on screen only, never recorded: it may hold anything.
    title
        The description where it does not name the patient, else empty; for names of layers.
    patient
        As of the header: tells whether series in two folders are of one patient.
    modality, axes, shape, spacing, units
        As of the scan; empty if there is a problem.
    count, size
        The number of frames, and their rows and columns.
    problem
        Why it cannot be read; empty if it can.
    is_result
        Whether this program has written it, as the variance or doubt of a result.
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
    title: str = ""
    patient: str = field(default="", repr=False)
    is_result: bool = False

    @classmethod
    def from_series(cls, number: int, series: Series) -> SeriesInfo:
        """Summarize a series."""
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
            (series.frames[0].encoding.rows, series.frames[0].encoding.columns),
            f"{series.problem.why}; {series.problem.remedy}" if series.problem else "",
            series.header.title,
            series.header.patient,
            series.header.is_result,
        )

    def describe(self) -> str:
        """A line without patient data, for messages and logs: ``"2 (MR, 22 of 320x280)"``."""
        rows, columns = self.size
        name = self.modality if self.modality.isalnum() and len(self.modality) < 8 else "?"
        return f"{self.number} ({name}, {self.count} of {rows}x{columns})"


def find_series(path: Path) -> tuple[list[Series], tuple[str, ...]]:
    """All series of a file, folder or zip; only headers are read.

    Parameters
    ----------
    path
        A file, folder or zip.

    Returns
    -------
    series : list of Series
        Sorted by series number; those that cannot be read have a `problem`.
    notes : tuple of str
        What was left out.

    Raises
    ------
    BadInput
        If there is no image, or a file is damaged.
    """
    headers: list[Header] = []
    skip_reasons: list[str] = []
    with silence_dicom_loggers(), zip_kept_open(path):
        items, notes = find_dicom_files(path)
        for files_done, item in enumerate(items):
            report_progress(files_done, len(items))
            with read_errors(Path(item.name), "a DICOM file"):
                header = read_header(item)
            if header.skip_reason:
                skip_reasons.append(header.skip_reason)
            else:
                headers.append(header)
        if not headers:
            why = skip_reasons[0] if len(items) == 1 else "holds no image, only reports and the like"
            raise NoImageError(path.name, why, "choose the file or folder of a scan")
        if skip_reasons:
            notes.append(f"skipped {count_text(len(skip_reasons), 'file')}: no image")
        headers_by_item = {header.item: header for header in headers}
        series_list = [
            series
            for group in _with_distinct_digits(_group_frames(headers))
            for series in _build_series(path.name, *group, headers_by_item)
        ]
    # a stable sort: series of equal number stay in the order of their files
    return sorted(series_list, key=lambda s: s.header.number), tuple(notes)


def _group_frames(headers: Sequence[Header]) -> list[tuple[Header, list[Frame]]]:
    """Group frames by series, frame of reference, size and orientation; without position, by file.

    Patient, study and modality count too, since some programs give all series one UID when they anonymise.
    Files without a UID of their series are grouped by folder, and by what files of one series share.
    """
    groups: list[tuple[Header, list[Frame]]] = []
    groups_by_key: dict[tuple[Any, ...], list[tuple[SlicePose, list[Frame]]]] = {}
    for header in headers:
        if any(frame.pose is None for frame in header.frames):
            groups.append((header, list(header.frames)))
            continue
        first = header.frames[0].encoding
        series = (header.unnamed_series, header.item.folder) if header.unnamed_series else (header.series,)
        key = (
            *series,
            header.patient,
            header.study,
            header.modality,
            header.frame_of_reference,
            first.rows,
            first.columns,
            is_colour(first),
        )
        planes = groups_by_key.setdefault(key, [])
        for frame in header.frames:
            pose = frame.pose
            assert pose is not None  # checked above
            for known_pose, members in planes:
                if is_same_orientation(known_pose, pose):
                    members.append(frame)
                    break
            else:
                planes.append((pose, [frame]))
                groups.append((header, planes[-1][1]))
    return groups


def _with_distinct_digits(
    groups: Sequence[tuple[Header, list[Frame]]],
) -> Iterator[tuple[Header, list[Frame]]]:
    """The groups, of which none has the digits of a series of another patient or study."""
    studies: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for header, _ in groups:
        studies[header.series].add((header.patient, header.study))
    for header, frames in groups:
        is_shared = len(studies[header.series]) > 1
        digits = header.series
        if is_shared:
            digits = short_hash(f"{header.series} {header.patient} {header.study}")
        yield replace(header, series=digits), frames


def _build_series(
    name: str, header: Header, frames: list[Frame], headers: Mapping[DicomFile, Header]
) -> list[Series]:
    items = list(dict.fromkeys(frame.item for frame in frames))
    problem = next((headers[item].problem for item in items if headers[item].problem), None)
    if problem:
        return [Series(header, tuple(frames), leading=(len(frames),), problem=problem)]
    if frames[0].pose is None:
        return [_unpositioned_series(header, frames)]
    if not header.unnamed_series or len(items) == 1:
        return _arranged_series(name, header, frames)
    stack = _arranged_series(name, replace(header, series=header.unnamed_series), frames)
    is_stack = len(stack) == 1 and stack[0].axes == "zyx" and len(stack[0].frames) == len(frames)
    if is_stack and stack[0].problem is None:
        return [replace(stack[0], notes=(*stack[0].notes, _UNNAMED_NOTE))]
    # without a UID, only a complete stack is taken for one series: files of several patients are never mixed
    return [
        series
        for item in items
        for series in _arranged_series(name, headers[item], [frame for frame in frames if frame.item == item])
    ]


def _arranged_series(name: str, header: Header, frames: list[Frame]) -> list[Series]:
    try:
        return [_positioned_series(name, header, arranged) for arranged in order_frames(name, frames)]
    except BadInput as problem:
        return [Series(header, tuple(frames), leading=(len(frames),), problem=problem)]


def _unpositioned_series(header: Header, frames: list[Frame]) -> Series:
    unpositioned = header.unpositioned
    if unpositioned is None:  # for the type checker: only headers without frames have none
        raise BadInput(header.item.name, "has no pixels", "export it again")
    leading = (len(frames),) if unpositioned.frame_axis else ()
    return Series(
        header,
        tuple(frames),
        f"{unpositioned.frame_axis}yx",
        leading,
        unpositioned.geometry(),
        (*header.notes, *unpositioned.notes),
    )


def _positioned_series(name: str, header: Header, ordered: OrderedFrames) -> Series:
    first_volume = ordered.frames[: ordered.slices]
    volume_count = len(ordered.frames) // ordered.slices
    poses = [frame.pose for frame in first_volume if frame.pose]
    thickness_notes = () if len(poses) > 1 or poses[0].thickness else (no_thickness_note(),)
    series = Series(header, ordered.frames, notes=(*header.notes, *ordered.notes, *thickness_notes))
    try:
        matrix = stack_matrix(name, poses)
    except BadInput as problem:
        return replace(series, leading=(len(ordered.frames),), problem=problem)
    if volume_count == 1:
        geometry = Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS")
        return replace(series, axes="zyx", leading=(ordered.slices,), geometry=geometry)
    step = ordered.step_seconds or (header.time_step if ordered.varying_attribute == "time" else 0.0)
    matrix_with_time = np.eye(5)
    matrix_with_time[0, 0] = step or 1.0
    matrix_with_time[1:, 1:] = matrix
    units = ("s" if step else "pixel", "mm", "mm", "mm")
    geometry = Geometry.from_matrix(matrix_with_time, units, ("t", "z", "y", "x"), "LPS")
    return replace(series, axes="tzyx", leading=(volume_count, ordered.slices), geometry=geometry)
