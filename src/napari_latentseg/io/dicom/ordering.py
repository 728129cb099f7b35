"""Sort frames of one orientation into volumes: by position, and by what differs at each position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom.geometry import SlicePose, distance_along_normal
from napari_latentseg.io.dicom.header import Frame
from napari_latentseg.io.dicom.pixels import decode, value_dtype

__all__ = ["OrderedFrames", "order_frames"]

_SAME_POSITION_MM = 0.01  # positions are written with two decimals at least
_EVEN_TOLERANCE = 0.05  # of the mean step: trigger times vary by a few per cent with the heart rate
# Frames at one position that differ in the first are separate scans; in the second, steps of one time series.
_SPLITTING_ATTRIBUTES = ("kind", "stack", "echo")
_SERIES_ATTRIBUTES = ("time", "b-value", "trigger", "acquisition", "clock")
_MONOTONIC_ATTRIBUTES = ("trigger", "clock")  # these may differ between slices, but increase at each position


@dataclass(frozen=True)
class OrderedFrames:
    """Frames in the order of an array.

    Attributes
    ----------
    frames
        Volume after volume, each along the normal.
    slices
        Number of slices of each volume.
    varying_attribute
        What differs between volumes: ``"time"``, ``"b-value"`` and the like; empty for one volume.
    step_seconds
        Time between volumes in seconds; 0 if unknown.
    notes
        For people.
    """

    frames: tuple[Frame, ...]
    slices: int
    varying_attribute: str = ""
    step_seconds: float = 0.0
    notes: tuple[str, ...] = ()


def order_frames(name: str, frames: Sequence[Frame]) -> list[OrderedFrames]:
    """Sort frames of one orientation into one volume, one series of volumes, or several scans.

    Parameters
    ----------
    name
        For messages.
    frames
        All with a position, of the same directions and pixel spacing.

    Returns
    -------
    list of OrderedFrames
        One for each scan.

    Raises
    ------
    BadInput
        If different images are at one position and no attribute distinguishes them.
    """
    ordered = _order(frames)
    if ordered:
        return ordered
    unique_frames = _without_duplicates(frames)
    ordered = _order(unique_frames) if len(unique_frames) < len(frames) else None
    if not ordered:
        raise BadInput(
            name,
            "holds different images at the same positions, and no attribute distinguishes them",
            "give a folder with one of them",
        )
    note = f"{len(frames) - len(unique_frames)} duplicate slices were left out"
    return [
        OrderedFrames(a.frames, a.slices, a.varying_attribute, a.step_seconds, (note, *a.notes))
        for a in ordered
    ]


def _order(frames: Sequence[Frame]) -> list[OrderedFrames] | None:
    positions = _group_by_position(frames)
    if all(len(members) == 1 for members in positions):
        return [OrderedFrames(tuple(members[0] for members in positions), len(positions))]
    for attribute in _SPLITTING_ATTRIBUTES:
        parts = _split_by_attribute(frames, positions, attribute)
        if parts:
            ordered_parts = [_order(part) for part in parts]
            if all(ordered_parts):
                return [ordered_frames for group in ordered_parts if group for ordered_frames in group]
    for attribute in _SERIES_ATTRIBUTES:
        parts = _split_by_attribute(frames, positions, attribute) or (
            _split_by_rank(positions, attribute) if attribute in _MONOTONIC_ATTRIBUTES else None
        )
        if not parts or any(len(part) != len(positions) for part in parts):
            continue
        ordered = [frame for part in parts for members in _group_by_position(part) for frame in members]
        note = f"the first axis runs over {len(parts)} steps of {attribute}"
        return [
            OrderedFrames(tuple(ordered), len(positions), attribute, _step_seconds(parts, attribute), (note,))
        ]
    return None


def _group_by_position(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group frames by position, sorted along the normal."""
    poses = _poses(frames)
    distances = distance_along_normal(poses)
    groups: list[list[Frame]] = []
    corners: list[Any] = []
    for i in np.argsort(distances, kind="stable"):
        point = np.array(poses[i].position)
        if groups and np.linalg.norm(point - corners[-1]) <= _SAME_POSITION_MM:
            groups[-1].append(frames[i])
        else:
            groups.append([frames[i]])
            corners.append(point)
    return groups


def _poses(frames: Sequence[Frame]) -> list[SlicePose]:
    return [frame.pose for frame in frames if frame.pose]


def _split_by_attribute(
    frames: Sequence[Frame], positions: Sequence[Sequence[Frame]], attribute: str
) -> list[list[Frame]] | None:
    """Frames by the value of an attribute, sorted; None unless it is equally frequent everywhere."""
    values: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        values[frame.distinguishing_attributes.get(attribute)].append(frame)
    if len(values) < 2 or None in values:
        return None
    for members in positions:
        position_values = [frame.distinguishing_attributes[attribute] for frame in members]
        if any(position_values.count(value) * len(positions) != len(part) for value, part in values.items()):
            return None
    try:
        return [values[value] for value in sorted(values)]
    except TypeError:  # numbers and text do not sort
        return None


def _split_by_rank(positions: Sequence[Sequence[Frame]], attribute: str) -> list[list[Frame]] | None:
    """The first frame of each position, the second of each, and so on, sorted by an attribute."""
    if len({len(members) for members in positions}) != 1:
        return None
    steps: list[list[Frame]] = [[] for _ in positions[0]]
    for members in positions:
        values = [frame.distinguishing_attributes.get(attribute) for frame in members]
        if None in values or len(set(values)) < len(values):
            return None
        for rank, frame in enumerate(sorted(members, key=lambda f: f.distinguishing_attributes[attribute])):
            steps[rank].append(frame)
    return steps


def _step_seconds(parts: Sequence[Sequence[Frame]], attribute: str) -> float:
    """Seconds between volumes, from trigger times (milliseconds) with even steps; else 0."""
    if attribute != "trigger":
        return 0.0
    gaps = np.diff(
        [np.mean([frame.distinguishing_attributes[attribute] for frame in part]) for part in parts]
    )
    is_even = gaps.min() > 0 and gaps.max() - gaps.min() <= _EVEN_TOLERANCE * gaps.mean()
    return float(gaps.mean()) / 1000 if is_even else 0.0


def _without_duplicates(frames: Sequence[Frame]) -> list[Frame]:
    """Leave out duplicates: frames with the same position, attributes and pixels."""
    unique_frames: list[Frame] = []
    for members in _group_by_position(frames):
        unique_here: list[Frame] = []
        for frame in members:
            if not any(_is_duplicate(frame, other) for other in unique_here):
                unique_here.append(frame)
        unique_frames.extend(unique_here)
    return unique_frames


def _is_duplicate(frame: Frame, other: Frame) -> bool:
    if frame.distinguishing_attributes != other.distinguishing_attributes or (
        frame.slope,
        frame.intercept,
    ) != (other.slope, other.intercept):
        return False
    dtype = value_dtype([frame, other])
    return bool(np.array_equal(decode(frame, dtype), decode(other, dtype), equal_nan=dtype.kind == "f"))
