"""Frames of one plane, in order: by place, and by what differs at each place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.formats.dicom_geometry import Place, along_normal
from napari_latentseg.formats.dicom_header import Frame
from napari_latentseg.formats.dicom_pixels import decode, value_dtype

__all__ = ["Arranged", "arrange"]

_ONE_PLACE = 0.01  # mm
_EVEN = 0.05
# What makes pictures at one place another scan, and what makes them steps of one.
_APART = ("kind", "stack", "echo")
_STEPS = ("time", "b-value", "trigger", "acquisition", "clock")
_RANKED = ("trigger", "clock")  # these may differ from slice to slice, but grow at each


@dataclass(frozen=True)
class Arranged:
    """Frames in the order of an array.

    Attributes
    ----------
    frames
        Step by step, each along the normal.
    slices
        In each step.
    over
        What the steps run over: ``"time"``, ``"b-value"`` and the like; empty for one volume.
    step
        Seconds from step to step; 0 where that is not known.
    notes
        In plain words.
    """

    frames: tuple[Frame, ...]
    slices: int
    over: str = ""
    step: float = 0.0
    notes: tuple[str, ...] = ()


def arrange(name: str, frames: Sequence[Frame]) -> list[Arranged]:
    """Bring frames of one plane into one volume, one series of volumes, or several scans.

    Parameters
    ----------
    name
        For messages.
    frames
        All with a place, of the same directions and spacing.

    Raises
    ------
    BadInput
        Where different pictures lie at one place and nothing says how they differ.
    """
    found = _arranged(frames)
    if found:
        return found
    fewer = _without_repeats(frames)
    found = _arranged(fewer) if len(fewer) < len(frames) else None
    if not found:
        raise BadInput(
            name,
            "holds different pictures of the same places, and does not say in what they differ",
            "give a folder with one of them",
        )
    note = f"{len(frames) - len(fewer)} repeated slices, the same to the pixel, were left out"
    return [Arranged(a.frames, a.slices, a.over, a.step, (note, *a.notes)) for a in found]


def _arranged(frames: Sequence[Frame]) -> list[Arranged] | None:
    places = _by_place(frames)
    if all(len(members) == 1 for members in places):
        return [Arranged(tuple(members[0] for members in places), len(places))]
    for mark in _APART:
        parts = _parts(frames, places, mark)
        if parts:
            inner = [_arranged(part) for part in parts]
            if all(inner):
                return [one for group in inner if group for one in group]
    for mark in _STEPS:
        parts = _parts(frames, places, mark) or (_ranks(places, mark) if mark in _RANKED else None)
        if not parts or any(len(part) != len(places) for part in parts):
            continue
        ordered = [frame for part in parts for members in _by_place(part) for frame in members]
        note = f"the first axis runs over {len(parts)} steps of {mark}"
        return [Arranged(tuple(ordered), len(places), mark, _step(parts, mark), (note,))]
    return None


def _by_place(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames in order along the normal, those at one place together."""
    spots = _spots(frames)
    far = along_normal(spots)
    groups: list[list[Frame]] = []
    corners: list[Any] = []
    for i in np.argsort(far, kind="stable"):
        point = np.array(spots[i].position)
        if groups and np.linalg.norm(point - corners[-1]) <= _ONE_PLACE:
            groups[-1].append(frames[i])
        else:
            groups.append([frames[i]])
            corners.append(point)
    return groups


def _spots(frames: Sequence[Frame]) -> list[Place]:
    return [frame.place for frame in frames if frame.place]


def _parts(frames: Sequence[Frame], places: Sequence[Sequence[Frame]], mark: str) -> list[list[Frame]] | None:
    """Frames by the value of a mark, in its order; None unless each value is there at all places alike."""
    values: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        values[frame.marks.get(mark)].append(frame)
    if len(values) < 2 or None in values:
        return None
    for members in places:
        here = [frame.marks[mark] for frame in members]
        if any(here.count(value) * len(places) != len(part) for value, part in values.items()):
            return None
    try:
        return [values[value] for value in sorted(values)]
    except TypeError:  # numbers and text do not sort
        return None


def _ranks(places: Sequence[Sequence[Frame]], mark: str) -> list[list[Frame]] | None:
    """The first of each place, the second of each place, and so on, by a mark that grows."""
    if len({len(members) for members in places}) != 1:
        return None
    steps: list[list[Frame]] = [[] for _ in places[0]]
    for members in places:
        values = [frame.marks.get(mark) for frame in members]
        if None in values or len(set(values)) < len(values):
            return None
        for rank, frame in enumerate(sorted(members, key=lambda f: f.marks[mark])):
            steps[rank].append(frame)
    return steps


def _step(parts: Sequence[Sequence[Frame]], mark: str) -> float:
    """Seconds between steps, for a mark in milliseconds whose steps are even."""
    if mark != "trigger":
        return 0.0
    gaps = np.diff([np.mean([frame.marks[mark] for frame in part]) for part in parts])
    even = gaps.min() > 0 and gaps.max() - gaps.min() <= _EVEN * gaps.mean()
    return float(gaps.mean()) / 1000 if even else 0.0


def _without_repeats(frames: Sequence[Frame]) -> list[Frame]:
    """Leave out what is at one place twice, with the same marks and the same pixels."""
    kept: list[Frame] = []
    for members in _by_place(frames):
        own: list[Frame] = []
        for frame in members:
            if not any(_same(frame, other) for other in own):
                own.append(frame)
        kept.extend(own)
    return kept


def _same(one: Frame, other: Frame) -> bool:
    if one.marks != other.marks or (one.slope, one.intercept) != (other.slope, other.intercept):
        return False
    dtype = value_dtype([one, other])
    return bool(np.array_equal(decode(one, dtype), decode(other, dtype), equal_nan=dtype.kind == "f"))
