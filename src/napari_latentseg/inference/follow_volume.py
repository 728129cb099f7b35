"""One structure through a volume, from the slices that a person has decided: outwards, and between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.carry_on import (
    Answers,
    CarriedSlice,
    Greys,
    Start,
    carry_on,
    doubt_inside,
    next_prompts,
)
from napari_latentseg.inference.crossing_slices import CrossingSlices
from napari_latentseg.inference.fill_between import fill_between

__all__ = ["FollowedVolume", "StoppedAt"]

Mask = NDArray[np.bool_]
Point = tuple[float, float]


@dataclass(frozen=True)
class StoppedAt:
    """Where the structure was not followed any further.

    Attributes
    ----------
    plane
        The first slice that is left out, counted from 0.
    reason
        In words.
    """

    plane: int
    reason: str

    def describe(self) -> str:
        """A sentence for the window; slices are counted from 1."""
        return f"Stopped at slice {self.plane + 1}: {self.reason}"


@dataclass
class FollowedVolume:
    """Follows a structure through the slices of a volume. Iterate over it to compute.

    Beyond the outermost slices that a person has decided the answer of each slice points at the structure in
    the next (`carry_on`); between two of them it is filled (`fill_between`). A slice on which a person has
    decided that it is not there ends it.

    Parameters
    ----------
    answers
        Asked for each slice.
    greys
        Gives slices as grey images.
    decided
        Masks of the slices that a person has decided, `(H, W)`, by the number of the slice.
    count
        Of the slices of the volume.
    threshold
        The mask is where the mean is above it.
    spacing
        Of slices, rows and columns.
    outside
        Points of the person that are not part of the structure, `(y, x)`, by the number of their slice.
    beyond
        Whether it is followed beyond the outermost decided slices.
    between
        Whether it is filled between them.
    crossing
        The slices across, which are asked as well where it is followed beyond; None to leave them out.

    Attributes
    ----------
    stops
        Where it was stopped, the lowest slice first; complete once all is computed.

    Raises
    ------
    BadInput
        If no slice is decided, or nothing is left to do.
    """

    answers: Answers
    greys: Greys
    decided: Mapping[int, Mask]
    count: int
    threshold: float = 0.5
    spacing: Sequence[float] = (1.0, 1.0, 1.0)
    outside: Mapping[int, Sequence[Point]] = field(default_factory=dict)
    beyond: bool = True
    between: bool = True
    crossing: CrossingSlices | None = None
    stops: list[StoppedAt] = field(default_factory=list)
    _starts: dict[int, Start] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        reason = nothing_to_follow(
            [plane for plane, mask in self.decided.items() if mask.any()], beyond=self.beyond
        )
        if reason:
            raise BadInput("volume", reason, "point at the structure on a slice, and accept it")
        self._parts = self._gaps()

    @property
    def most(self) -> int:
        """How many slices are computed, at most."""
        return sum(len(planes) for planes, _ in self._parts)

    def __iter__(self) -> Iterator[CarriedSlice]:
        for _, compute in self._parts:
            yield from compute()
        self.stops.sort(key=lambda stop: stop.plane)

    def _gaps(self) -> list[tuple[range, Callable[[], Iterator[CarriedSlice]]]]:
        """The slices between, before and after the decided ones, with what computes them."""
        parts: list[tuple[range, Callable[[], Iterator[CarriedSlice]]]] = []
        planes = sorted(self.decided)
        for a, b in zip([-1, *planes], [*planes, self.count], strict=True):
            has_a, has_b = (p in self.decided and bool(self.decided[p].any()) for p in (a, b))
            if b - a < 2 or not (has_a or has_b):
                continue
            if has_a and has_b:
                if self.between:
                    parts.append((range(a + 1, b), lambda a=a, b=b: self._fill(a, b)))  # type: ignore[misc]
            elif self.beyond:
                start, slices = (a, range(a + 1, b)) if has_a else (b, range(b - 1, a, -1))
                parts.append((slices, lambda start=start, slices=slices: self._carry(start, slices)))  # type: ignore[misc]
        return parts

    def _fill(self, first: int, last: int) -> Iterator[CarriedSlice]:
        return fill_between(
            self.answers, self.greys, self.decided, (first, last), self.spacing, self.threshold
        )

    def _start(self, plane: int) -> Start:
        """What is carried on from a decided slice, in either direction."""
        if plane not in self._starts:
            mask, outside = self.decided[plane], tuple(self.outside.get(plane, ()))
            prompts, shrunk = next_prompts(mask, outside)
            mean = self.answers(plane, prompts, shrunk.astype(np.float32)).mean
            doubt = doubt_inside(mean, mean > self.threshold)
            across = None if self.crossing is None else self.crossing.from_slice(plane, mask)
            self._starts[plane] = Start(plane, mask, doubt, outside, across)
        return self._starts[plane]

    def _carry(self, first: int, planes: range) -> Iterator[CarriedSlice]:
        last = first
        slices = carry_on(self.answers, self.greys, self._start(first), planes, self.threshold)
        while True:
            try:
                carried = next(slices)
            except StopIteration as stop:
                if stop.value:
                    self.stops.append(StoppedAt(last + planes.step, stop.value))
                return
            last = carried.plane
            yield carried


def nothing_to_follow(planes: Sequence[int], *, beyond: bool) -> str:
    """Why a structure cannot be followed, or filled between; empty where it can.

    Parameters
    ----------
    planes
        The slices on which it is decided.
    beyond
        Whether it is followed beyond them too.
    """
    if not planes:
        return "The structure is on no slice yet"
    ordered = sorted(planes)
    if not beyond and not any(b - a > 1 for a, b in pairwise(ordered)):
        return "It needs two slices that are not neighbours"
    return ""
