"""Prompts: where a person points, to say which structure is meant."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, FiniteFloat, ValidationError, model_validator

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput, first_validation_error
from napari_latentseg.utils.argument_types import as_path

__all__ = ["MAX_ANSWER_SAMPLES", "Prompts", "read_prompts"]

MAX_ANSWER_SAMPLES = 64


def _refuse_bool(value: object) -> object:
    """Python counts True as 1, but no place is meant by it."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


Coordinate = Annotated[FiniteFloat, BeforeValidator(_refuse_bool)]
Point = Annotated[tuple[Coordinate, ...], Field(min_length=2, max_length=3)]
Box = Annotated[tuple[Coordinate, ...], Field(min_length=4, max_length=5)]

_SIGNS = {True: "+", False: "-"}  # of points inside and outside
_MAX_BYTES = 1 << 20  # of a file of prompts: tens of thousands of clicks


class Prompts(FrozenModel):
    """Clicks and boxes on a slice, or on several slices of a volume, in voxels of the image.

    The centre of the first voxel is 0. Points are ``(y, x)``, and in a volume ``(z, y, x)``; boxes are
    ``(y0, x0, y1, x1)``, and in a volume ``(z, y0, x0, y1, x1)``, with two opposite corners in any order.

    Attributes
    ----------
    positive
        Points inside the structure. A model answers one point after the other, each correcting the answer
        before.
    negative
        Points that are not part of it.
    boxes
        Boxes around it; answered first.
    order
        The order in which the points were given and are answered: a ``+`` for the next of `positive` and a
        ``-`` for the next of `negative`, so ``"+-+"`` where the second of three clicks was outside. Empty
        where those inside come first.
    size
        About how large the structure is on a slice: the longer side of its box, in voxels, 1 or more. It says
        at which scale the points are answered. None where the model finds that out itself, and with boxes,
        which say it.

    Raises
    ------
    ValueError
        If nothing is inside on a slice (no positive point and no box), points and boxes are of images and
        volumes mixed, a box has no size, a point is both inside and outside, the order is of other points, or
        a size is under a voxel or given beside a box.

    Examples
    --------
    >>> prompts = Prompts(positive=[(40, 52.5)], negative=[(10, 10)])
    >>> prompts.plane is None, prompts.on_plane((96, 128)).positive
    (True, ((40.0, 52.5),))
    >>> Prompts(boxes=[(3, 10, 10, 60, 80)]).plane
    3
    >>> Prompts(positive=[(3, 40, 52), (9, 44, 50)]).planes
    (3, 9)
    >>> Prompts(positive=[(40, 52)], size=24).size
    24.0
    >>> clicks = Prompts(positive=[(40, 52), (60, 50)], negative=[(10, 10)], order="+-+")
    >>> clicks.points[1]
    ((10.0, 10.0), False)
    """

    positive: tuple[Point, ...] = ()
    negative: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    order: str = ""
    size: Coordinate | None = None

    @classmethod
    def from_points(
        cls,
        points: Iterable[tuple[Sequence[float], bool]],
        boxes: Iterable[Sequence[float]] = (),
        size: float | None = None,
    ) -> Prompts:
        """Prompts with points in the order in which they were given.

        Parameters
        ----------
        points
            Each with whether it is inside the structure.
        boxes, size
            As the attributes.

        Raises
        ------
        ValidationError
            As `Prompts`.

        Examples
        --------
        >>> Prompts.from_points([((40, 52), True), ((10, 10), False), ((60, 50), True)]).order
        '+-+'
        """
        given = list(points)
        signs = [bool(is_inside) for _, is_inside in given]
        is_inside_first = signs == sorted(signs, reverse=True)
        return cls(
            positive=tuple(tuple(point) for point, is_inside in given if is_inside),
            negative=tuple(tuple(point) for point, is_inside in given if not is_inside),
            boxes=tuple(tuple(box) for box in boxes),
            order="" if is_inside_first else "".join(_SIGNS[sign] for sign in signs),
            size=size,
        )

    @model_validator(mode="after")
    def _check(self) -> Prompts:
        if not (self.positive or self.boxes):
            raise ValueError("nothing points at a structure: give a point inside it, or a box around it")
        points = (*self.positive, *self.negative)
        dimensions = {len(point) for point in points} | {len(box) - 2 for box in self.boxes}
        if len(dimensions) > 1:
            raise ValueError("points and boxes of an image (y, x) and of a volume (z, y, x) are mixed")
        if dimensions == {3}:
            pointed_at = {round(place[0]) for place in (*self.positive, *self.boxes)}
            for plane in sorted({round(point[0]) for point in self.negative} - pointed_at):
                raise ValueError(f"slice {plane} has points outside alone: point at the structure there too")
        for box in self.boxes:
            y0, x0, y1, x1 = box[-4:]
            if abs(y1 - y0) < 1 or abs(x1 - x0) < 1:
                raise ValueError("a box has no size: its sides must be a voxel or more")
        # sorted, + comes before -
        if self.order and "".join(sorted(self.order)) != "+" * len(self.positive) + "-" * len(self.negative):
            raise ValueError(
                f"the order {self.order[:40]!r} is of other points: give a + for each point inside, in the"
                " order of all points, and a - for each outside"
            )
        if self.size is not None:
            if self.size < 1:
                raise ValueError("the size of the structure is under a voxel: give its longer side in voxels")
            if self.boxes:
                raise ValueError("a box says how large the structure is: leave its size out")
        positive = {_voxel(point) for point in self.positive}
        for point in self.negative:
            if _voxel(point) in positive:
                voxel = ", ".join(str(index) for index in _voxel(point))
                raise ValueError(f"the voxel ({voxel}) is both inside and outside: take a click back")
        return self

    @property
    def points(self) -> tuple[tuple[tuple[float, ...], bool], ...]:
        """All points in their order, each with whether it is inside."""
        if not self.order:
            return (*((point, True) for point in self.positive), *((p, False) for p in self.negative))
        inside, outside = iter(self.positive), iter(self.negative)
        return tuple(
            (next(inside), True) if sign == _SIGNS[True] else (next(outside), False) for sign in self.order
        )

    @property
    def plane(self) -> int | None:
        """The index of the slice, of several the lowest; None in a single image."""
        return self.planes[0] if self.planes else None

    @property
    def planes(self) -> tuple[int, ...]:
        """The indices of the slices in ascending order; none in a single image."""
        places = [place for place in (*self.positive, *self.boxes) if len(place) in (3, 5)]
        return tuple(sorted({round(place[0]) for place in places}))

    def of_plane(self, plane: int) -> Prompts:
        """The prompts on one slice of a volume, still with its index.

        Parameters
        ----------
        plane
            One of `planes`.
        """
        return Prompts.from_points(
            [(point, is_inside) for point, is_inside in self.points if round(point[0]) == plane],
            [box for box in self.boxes if round(box[0]) == plane],
            self.size,
        )

    def on_plane(self, shape: Sequence[int]) -> Prompts:
        """The prompts of a slice, without its index; of several slices choose one with `of_plane` first.

        Parameters
        ----------
        shape
            Of the image `(H, W)`, or of the volume `(D, H, W)`.

        Raises
        ------
        BadInput
            If they are not of such an image, on several slices, or outside it. A box may reach beyond it, and
            is cut.
        """
        if len(self.planes) > 1:
            numbers = ", ".join(str(plane) for plane in self.planes)
            raise BadInput(
                "prompts", f"are on several slices ({numbers})",
                "follow the structure through the volume (--through), or point at one slice",
            )  # fmt: skip
        is_volume = self.plane is not None
        if len(shape) != 2 + is_volume:
            kind = "a volume, and need a slice: z, y, x" if len(shape) == 3 else "a single image: y, x"
            raise BadInput("prompts", f"do not fit the image, which is {kind}", "give them so")
        height, width = shape[-2:]
        if self.plane is not None and not 0 <= self.plane < shape[0]:
            raise BadInput(
                "prompts", f"are on slice {self.plane}, and the volume has slices 0 to {shape[0] - 1}",
                "point at one of them",
            )  # fmt: skip
        for point in (*self.positive, *self.negative):
            y, x = point[-2:]
            if not (-0.5 <= y < height - 0.5 and -0.5 <= x < width - 0.5):
                raise BadInput(
                    "prompts", f"the point ({y:g}, {x:g}) is outside the image of {height} x {width} pixels",
                    "point inside the image",
                )  # fmt: skip
        if self.size is not None and self.size > max(height, width):
            raise BadInput(
                "prompts",
                f"a structure of {self.size:g} pixels is larger than the slice: {height} x {width}",
                "give the longer side of the structure in pixels, or leave it out",
            )
        boxes = [_cut_box(box[-4:], height, width) for box in self.boxes]
        points = [(point[-2:], is_inside) for point, is_inside in self.points]
        return Prompts.from_points(points, boxes, self.size)

    def moved(self, rows: float, columns: float) -> Prompts:
        """The same prompts in an image whose first voxel lies elsewhere, such as a crop box.

        Parameters
        ----------
        rows, columns
            What is added to y and x.
        """
        points = [((*p[:-2], p[-2] + rows, p[-1] + columns), is_inside) for p, is_inside in self.points]
        boxes = [(*b[:-4], b[-4] + rows, b[-3] + columns, b[-2] + rows, b[-1] + columns) for b in self.boxes]
        return Prompts.from_points(points, boxes, self.size)


def read_prompts(path: str | Path) -> Prompts:
    """Read prompts from a JSON file: an object with the attributes of `Prompts`.

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    Prompts
        As in the file.

    Raises
    ------
    BadInput
        If the file cannot be read, or its prompts are not possible.

    Examples
    --------
    >>> from napari_latentseg import read_prompts
    >>> _ = Path("prompts.json").write_text('{"positive": [[14, 120, 96]]}')
    >>> read_prompts("prompts.json").plane
    14
    """
    path = as_path("prompts", path)
    try:
        size = path.stat().st_size
        text = path.read_text("utf-8-sig", errors="replace") if size <= _MAX_BYTES else ""
    except OSError as error:
        raise BadInput(path, "cannot be read", "check the name and the permissions of the file") from error
    if size > _MAX_BYTES:
        raise BadInput(path, "is too large for a file of prompts", "give one of points and boxes")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(path, "is not valid JSON", 'write e.g. {"positive": [[40, 52]]}') from error
    try:
        return Prompts.model_validate(content)
    except ValidationError as error:
        field, why = first_validation_error(error)
        subject = f"{path.name}, {field}" if field else path.name
        raise BadInput(subject, why, "correct it") from error


def _voxel(point: Sequence[float]) -> tuple[int, ...]:
    return tuple(round(value) for value in point)


def _cut_box(box: Sequence[float], height: int, width: int) -> tuple[float, float, float, float]:
    (y0, y1), (x0, x1) = sorted((box[0], box[2])), sorted((box[1], box[3]))
    cut = (max(y0, -0.5), max(x0, -0.5), min(y1, height - 0.5), min(x1, width - 0.5))
    if cut[2] - cut[0] < 1 or cut[3] - cut[1] < 1:
        raise BadInput(
            "prompts", f"a box is outside the image of {height} x {width} pixels", "draw it inside the image"
        )
    return cut
