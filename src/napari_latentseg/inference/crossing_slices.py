"""Log odds of a structure on slices across the acquired ones, from one slice on which it is decided.

A slice across a decided one meets it in a line, on which the structure is known: the model is pointed at it
there, and answers how far the structure reaches to both sides. Each of these answers is found on its own, so
that errors do not add up from slice to slice as they do where one slice points at the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.resize import resize
from napari_latentseg.inference.appearance import log_odds
from napari_latentseg.inference.prompt_session import PromptAnswer, PromptSession
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import Compute

__all__ = ["Across", "CrossingSlices"]

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
Window = tuple[slice, slice]

_MOST_STEP = 3.0  # times the pixels, between slices; of thicker ones a slice across shows steps alone
_LEAST_SLICES = 16  # pixels of a slice across, along the axis; less is too little for a view
# Chosen so that the time is bounded; none of these was compared with other values.
_MARGIN = 1.0  # times the longer side of the mask: what is seen beside it, and above and below
_LEAST_MARGIN = 20  # pixels, for structures of a few pixels
_MOST_ACROSS = 24  # slices in each direction, each a few tenths of a second; between them is interpolated
_BESIDE = 2  # pixels beside the structure that a point outside lies
_MOST_PARTS = 3  # of a structure on the line where the planes meet; the longest are pointed at

Answer = Callable[[Array, Prompts, Array], PromptAnswer]
"""Answers prompts on an image `(3, H, W)` in [0, 1]; the last is the probability of the answer before."""


@dataclass(frozen=True)
class Across:
    """Log odds of a structure from the slices across, in a part of a volume.

    Attributes
    ----------
    first
        The first slice of the part.
    window
        Its rows and columns.
    odds
        `(n, h, w)`; 0 where no slice across meets the structure.
    """

    first: int
    window: Window
    odds: Array

    def on(self, plane: int, shape: tuple[int, int]) -> Array:
        """The log odds on a slice `(H, W)`; 0 outside the part."""
        whole = np.zeros(shape, np.float32)
        if 0 <= plane - self.first < len(self.odds):
            whole[self.window] = self.odds[plane - self.first]
        return whole


@dataclass(frozen=True)
class CrossingSlices:
    """The slices of a volume along its rows and columns.

    Attributes
    ----------
    colours
        Gives an acquired slice, `(H, W, 3)` in [0, 1].
    count
        Of the acquired slices.
    step
        Between acquired slices, in pixels.
    answer
        Of the model.

    Notes
    -----
    Dice of these slices alone over a training volume of the hippocampus, from the mask of the middle slice of
    its two parts: with the points on the line, and the line itself as the answer before, 0.874 and 0.547, in
    1.2 s of a core. The points alone, answered in stages at several scales, had 0.829 and 0.641, in 11 s.
    """

    colours: Callable[[int], Array]
    count: int
    step: float
    answer: Answer

    @classmethod
    def of_planes(cls, planes: Planes, model: Model, compute: Compute, samples: int) -> CrossingSlices:
        """Those of a volume.

        Parameters
        ----------
        planes
            The acquired slices, with the spacing of their scan.
        model, compute
            As for `PromptSession`.
        samples
            Of each answer.
        """

        def answer(image: Array, prompts: Prompts, previous: Array) -> PromptAnswer:
            return PromptSession(model, image, compute).answer(prompts, samples, previous)

        between, *in_plane = planes.scan.geometry.spacing[-3:]
        return cls(planes.__getitem__, len(planes), between / min(in_plane), answer)

    @property
    def are_of_use(self) -> bool:
        """Whether the acquired slices are many and close enough for slices across them to be of use."""
        return self.step <= _MOST_STEP and self.count * self.step >= _LEAST_SLICES

    def from_slice(self, plane: int, mask: Mask) -> Across | None:
        """Log odds of a structure that is decided on an acquired slice.

        Parameters
        ----------
        plane
            Number of the slice.
        mask
            The structure there, `(H, W)`; not empty.

        Returns
        -------
        Across or None
            None where the slices are too few or too far from each other.
        """
        if not self.are_of_use:
            return None
        planes, window = self._part(plane, mask)
        part = np.stack([self.colours(number)[window] for number in planes])
        at, known = plane - planes.start, mask[window]
        by_rows = self._along(part, at, known)
        by_columns = self._along(part.swapaxes(1, 2), at, known.T).swapaxes(1, 2)
        odds = ((by_rows + by_columns) / 2).astype(np.float32)
        return Across(planes.start, window, odds)

    def _part(self, plane: int, mask: Mask) -> tuple[range, Window]:
        """The slices, rows and columns that are looked at."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        side = max(np.ptp(rows), np.ptp(columns)) + 1
        margin = int(max(_LEAST_MARGIN, _MARGIN * side))
        reach = int(np.ceil((side + margin) / self.step))
        window = (
            slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
            slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
        )
        return range(max(0, plane - reach), min(self.count, plane + reach + 1)), window

    def _along(self, part: Array, at: int, known: Mask) -> Array:
        """Log odds `(n, h, w)` from the slices of the rows of a part `(n, h, w, 3)`."""
        odds = np.zeros(part.shape[:3], np.float32)
        rows = np.flatnonzero(known.any(axis=1))
        places = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_ACROSS)).round()
        chosen = np.unique(rows[places.astype(int)])
        found = np.stack([self._of_row(part[:, row], at, known[row]) for row in chosen], axis=1)
        for row in rows:
            after = int(np.searchsorted(chosen, row))
            before = after if chosen[after] == row else after - 1
            share = (row - chosen[before]) / max(1, chosen[after] - chosen[before])
            odds[:, row] = (1 - share) * found[:, before] + share * found[:, after]
        return odds

    def _of_row(self, image: Array, at: int, known: Mask) -> Array:
        """Log odds `(n, w)` of a slice across `(n, w, 3)` that meets the decided one at its row `at`."""
        count, width = image.shape[:2]
        height = max(1, round(count * self.step))
        coloured = resize(np.ascontiguousarray(image.transpose(2, 0, 1)), (height, width))
        row = min(height - 1, (at + 0.5) * height / count - 0.5)
        line = np.zeros((height, width), np.float32)
        line[max(0, round(row) - 1) : round(row) + 2] = known
        mean = self.answer(coloured, _points_on_line(known, row), line).mean
        return log_odds(resize(mean, (count, width)))


def _points_on_line(known: Mask, row: float) -> Prompts:
    """The middle of each part of the line that is in the structure, and points beside it that are not."""
    parts, count = ndimage.label(known)
    runs = sorted((np.flatnonzero(parts == number + 1) for number in range(count)), key=len, reverse=True)
    inside = [(row, float(run[len(run) // 2])) for run in runs[:_MOST_PARTS]]
    beside = [place for run in runs[:_MOST_PARTS] for place in (run[0] - _BESIDE, run[-1] + _BESIDE)]
    outside = [(row, float(place)) for place in beside if 0 <= place < len(known) and not known[place]]
    return Prompts(positive=tuple(inside), negative=tuple(dict.fromkeys(outside)))
