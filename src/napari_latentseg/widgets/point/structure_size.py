"""How large the structure is that a person points at: found by the model, or chosen by steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_latentseg.errors import BadInput
from napari_latentseg.measure.measurement import display_unit, format_value
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.plain_text import show_info

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentseg.widgets.point.pending import PendingObject

__all__ = ["StructureSize"]

_STEP = 1.5  # an answer is like a size up to a factor of 1.4, so that each step asks for another structure
_SMALLEST = 6  # pixels that are read; the narrowest view is little more than twice as wide
_SAME = 1.02  # a step that changes less than this is none


class PointedAt(Protocol):
    """The part of `Pointing` that `StructureSize` uses."""

    image: Image | None

    @property
    def pending(self) -> PendingObject | None:
        """The object on the slice on screen."""
        ...

    def choose_size(self, size: float | None) -> None:
        """Answer its clicks as those of a structure of a size in voxels."""
        ...


class StructureSize:
    """The size of the structure on the slice on screen.

    Parameters
    ----------
    pointing
        What is pointed at.
    """

    def __init__(self, pointing: PointedAt) -> None:
        self._pointing = pointing

    @property
    def text(self) -> str:
        """The size in words, and who chose it."""
        pending = self._pointing.pending
        chosen, size = _chosen(pending), _present(pending)
        if pending is not None and pending.pointed.boxes():
            return "as the box"
        about = "" if size is None else f"about {self._length_text(size)}"
        if chosen is not None:
            return about
        return f"automatic, {about}" if about else "automatic"

    def problem(self, *, larger: bool) -> str:
        """Why no smaller or larger structure can be looked for; empty where one can."""
        pending = self._pointing.pending
        reason = self._problem_with_choice(pending)
        if reason or pending is None:
            return reason
        size = _present(pending)
        if size is None:
            return "The answer is being computed" if pending.answered is None else "Nothing was found here"
        smallest, largest = _limits(pending)
        if larger and size * _SAME >= largest:
            return "A larger structure would not fit into the part of the image that is used"
        if not larger and size <= smallest * _SAME:
            return "A smaller structure has too few pixels, or does not hold all clicks inside"
        return ""

    @property
    def automatic_problem(self) -> str:
        """Why the choice cannot be left to the model; empty where it can."""
        pending = self._pointing.pending
        reason = self._problem_with_choice(pending)
        return reason or ("" if _chosen(pending) is not None else "The model finds the size itself already")

    def step(self, *, larger: bool) -> None:
        """Answer the clicks on this slice as those of a smaller or larger structure."""
        reason, pending = self.problem(larger=larger), self._pointing.pending
        if reason or pending is None:
            show_info(f"{reason}.")
            return
        size, (smallest, largest) = _present(pending), _limits(pending)
        assert size is not None
        stepped = size * _STEP if larger else size / _STEP
        self._pointing.choose_size(float(np.clip(stepped, smallest, largest)))

    def leave_to_model(self) -> None:
        """Answer the clicks on this slice at the scale that the model finds."""
        if not self.automatic_problem:
            self._pointing.choose_size(None)

    @staticmethod
    def _problem_with_choice(pending: PendingObject | None) -> str:
        if pending is None:
            return "Nothing was clicked on this slice"
        if pending.pointed.boxes():
            return "The box says how large the structure is"
        if pending.carried is not None:
            return "The proposal on this slice says how large the structure is"
        return "" if pending.pointed.places("inside") else "Click inside the structure, too"

    def _length_text(self, size: float) -> str:
        """A length in voxels of the slice in the unit of the image."""
        image = self._pointing.image
        if image is not None:
            try:
                geometry = scan_from_layer(image).geometry
            except BadInput:
                return f"{size:.0f} pixels"
            (row, column), units = geometry.spacing[-2:], set(geometry.units[-2:])
            if units != {"pixel"} and len(units) == 1 and np.isclose(row, column, rtol=0.01):
                return f"{format_value(size * row)} {display_unit(geometry.units[-1])}"
        return f"{size:.0f} pixels"


def _chosen(pending: PendingObject | None) -> float | None:
    return None if pending is None else pending.pointed.size


def _present(pending: PendingObject | None) -> float | None:
    """The chosen size, otherwise the longer side of the answer, in voxels; None where neither is known."""
    size = _chosen(pending)
    if size is not None or pending is None or pending.answered is None:
        return size
    mask = pending.answered.answer.mask
    return None if mask is None else float(max(mask.values.shape))


def _limits(pending: PendingObject) -> tuple[float, float]:
    """The smallest and the largest size that can be looked for, in voxels."""
    top, left, bottom, right = pending.part.box
    largest = float(max(bottom - top, right - left))
    inside = np.array(pending.pointed.places("inside"))
    return min(largest, max(_SMALLEST * pending.part.step, float(np.ptp(inside, axis=0).max()))), largest
