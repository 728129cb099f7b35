"""Objects that are pointed at and not accepted yet, one for each slice of each image."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.pointed_object import PointedObject

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentseg.inference.slice_part import SlicePart
    from napari_latentseg.widgets.point.engine import Answered, Question

__all__ = ["PendingObject", "PendingObjects"]

Mask = NDArray[np.bool_]


@dataclass
class PendingObject:
    """An object on one slice that is not accepted yet.

    Attributes
    ----------
    part
        The part of the slice in which it is answered: that on screen at the first click.
    pointed
        The steps.
    answered
        The answer to all steps; None while it is computed.
    was_answered
        Whether any of its steps was answered.
    carried
        What was proposed on this slice of a volume, `(H, W)`, which the steps correct.
    """

    part: SlicePart
    pointed: PointedObject = field(default_factory=PointedObject)
    answered: Answered | None = None
    was_answered: bool = False
    carried: Mask | None = None

    @property
    def accept_problem(self) -> str:
        """Why it cannot be accepted; empty where it can."""
        if self.answered is None:
            has_inside = self.pointed.places("inside") or self.pointed.boxes() or self.carried is not None
            return "The answer is being computed" if has_inside else "Click inside the structure, too"
        return "" if self.answered.answer.mask is not None else "Nothing was found here: click again"

    def forget_answer(self, *, of_any_step: bool = False) -> None:
        """Drop the answer to all steps; with `of_any_step`, that there was one."""
        self.answered = None
        self.was_answered = self.was_answered and not of_any_step

    def asked(self, question: Question) -> Question:
        """A question about all steps, from one about its part."""
        steps = PointedObject(list(self.pointed.steps))
        return replace(question, pointed=steps, carried=self.carried)

    def take(self, question: Question, answered: Answered) -> bool:
        """Take the answer to a question about it; whether it is that to all steps."""
        asked = question.pointed.steps if question.pointed is not None else []
        if not asked or asked != self.pointed.steps[: len(asked)]:
            return False  # a step was taken back meanwhile
        self.was_answered = True
        if len(asked) < len(self.pointed.steps):
            return False
        self.answered = answered
        return True


class PendingObjects:
    """The objects of all images of a viewer that are not accepted yet.

    They stay while another image or model is worked on.
    """

    def __init__(self) -> None:
        self._by_image: weakref.WeakKeyDictionary[Image, dict[tuple[int, ...], PendingObject]] = (
            weakref.WeakKeyDictionary()
        )
        self._versions: weakref.WeakKeyDictionary[Image, int] = weakref.WeakKeyDictionary()

    def of(self, image: Image | None) -> dict[tuple[int, ...], PendingObject]:
        """Those of an image, by the index of their slice along the axes before rows and columns."""
        return {} if image is None else self._by_image.setdefault(image, {})

    def version(self, image: Image) -> int:
        """How often the values of an image were replaced."""
        return self._versions.get(image, 0)

    def forget(self, image: Image) -> bool:
        """Remove those of an image whose values were replaced; returns whether there were any."""
        self._versions[image] = self.version(image) + 1
        return bool(self._by_image.pop(image, None))

    def forget_answers(self, image: Image) -> None:
        """Keep the steps of an image alone: another model answers them anew."""
        for pending in self.of(image).values():
            pending.forget_answer(of_any_step=True)
