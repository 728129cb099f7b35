"""One structure while a person points at it: each click, box, scribble and choice can be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ValidationError

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.errors import BadInput

__all__ = ["PointedObject", "PromptStep"]

Place = tuple[float, float]


@dataclass(frozen=True)
class PromptStep:
    """One action of a person who points at a structure.

    Attributes
    ----------
    kind
        ``"inside"`` or ``"outside"`` for points, ``"box"`` for two opposite corners, ``"size"`` for a choice
        of how large the structure is.
    places
        Points ``(y, x)`` in voxels of the slice; a scribble has many, a box two, a choice of size none.
    size
        About how large the structure is: its longer side, in voxels of the slice; None where the model finds
        that out.
    """

    kind: Literal["inside", "outside", "box", "size"]
    places: tuple[Place, ...] = ()
    size: float | None = None


@dataclass
class PointedObject:
    """The steps with which a person points at one structure of a slice.

    Attributes
    ----------
    steps
        In their order.

    Examples
    --------
    >>> pointed = PointedObject()
    >>> pointed.add_points([(40, 52)], is_inside=True)
    >>> pointed.add_points([(10, 10)], is_inside=False)
    >>> pointed.take_back(), pointed.prompts().negative
    (True, ())
    """

    steps: list[PromptStep] = field(default_factory=list)

    def add_points(self, points: Sequence[Place], *, is_inside: bool) -> None:
        """Add a click, or the points of a scribble.

        Raises
        ------
        BadInput
            If one of them contradicts an earlier one.
        """
        places = tuple((float(y), float(x)) for y, x in points)
        self._add(PromptStep("inside" if is_inside else "outside", places))

    def add_box(self, first: Place, second: Place) -> None:
        """Add a box with two opposite corners.

        Raises
        ------
        BadInput
            If it has no size.
        """
        (y0, x0), (y1, x1) = first, second
        corners = (float(min(y0, y1)), float(min(x0, x1))), (float(max(y0, y1)), float(max(x0, x1)))
        self._add(PromptStep("box", corners))

    def choose_size(self, size: float | None) -> None:
        """Say how large the structure is, or leave that to the model.

        All steps before are then answered at this scale, as if they had been the first.

        Parameters
        ----------
        size
            Its longer side, in voxels of the slice, 1 or more; None leaves it to the model.

        Raises
        ------
        BadInput
            If the size is not possible.
        """
        if size is not None and not size >= 1:
            raise BadInput("structure size", f"is {size:g} voxels", "choose 1 or more")
        self._add(PromptStep("size", size=size))

    def _add(self, step: PromptStep) -> None:
        if not step.places and step.kind != "size":
            return
        PointedObject([*self.steps, step]).prompts()
        self.steps.append(step)

    def take_back(self) -> bool:
        """Remove the last step; False where there is none."""
        return bool(self.steps and self.steps.pop())

    def clear(self) -> None:
        """Remove all steps."""
        self.steps.clear()

    def places(self, kind: str) -> list[Place]:
        """All points of a kind; of boxes, all corners."""
        return [place for step in self.steps if step.kind == kind for place in step.places]

    def boxes(self) -> list[tuple[float, float, float, float]]:
        """The boxes: top, left, bottom, right."""
        return [(*step.places[0], *step.places[1]) for step in self.steps if step.kind == "box"]

    @property
    def size_steps(self) -> int:
        """How many steps there were when the size was chosen last, with that choice; 0 without one."""
        return max((n for n, step in enumerate(self.steps, 1) if step.kind == "size"), default=0)

    @property
    def size(self) -> float | None:
        """The chosen size in voxels; None where the model finds it out, or a box says it."""
        return None if self.boxes() or not self.size_steps else self.steps[self.size_steps - 1].size

    def prompts(self, origin: Place = (0.0, 0.0), step: int = 1) -> Prompts | None:
        """The prompts for a part of the slice, with the points in the order of the steps.

        None where nothing inside the structure is given yet.

        Parameters
        ----------
        origin
            The centre of the first pixel of the part.
        step
            Every how many rows and columns of the slice the part has one.

        Raises
        ------
        BadInput
            If a point is both inside and outside, or a box has no size.
        """

        def moved(y: float, x: float) -> Place:
            return (y - origin[0]) / step, (x - origin[1]) / step

        points = [
            (moved(*place), done.kind == "inside")
            for done in self.steps
            if done.kind in ("inside", "outside")
            for place in done.places
        ]
        boxes = [(*moved(*box[:2]), *moved(*box[2:])) for box in self.boxes()]
        if not (boxes or any(is_inside for _, is_inside in points)):
            return None
        size = None if self.size is None else max(1.0, self.size / step)
        try:
            return Prompts.from_points(points, boxes, size)
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise BadInput("prompts", *_why_and_remedy(why)) from error


def _why_and_remedy(text: str) -> tuple[str, str]:
    why, _, remedy = text.partition(": ")
    return why, remedy
