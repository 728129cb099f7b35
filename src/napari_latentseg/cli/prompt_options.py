"""The options of `segment` that point at a structure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.core.hints import Hint
    from napari_latentseg.core.prompts import Prompts

__all__ = [
    "Boxes",
    "HintPoints",
    "NotHintPoints",
    "NotPoints",
    "Points",
    "PromptsFile",
    "StructureSize",
    "Through",
    "parse_hints",
    "parse_prompts",
]

Points = Annotated[
    list[str] | None,
    typer.Option(
        "--point",
        help="A point inside the structure: Y,X in pixels from 0, and Z,Y,X in a volume. May be repeated;"
        " points are answered in the order in which they are given.",
    ),
]
NotPoints = Annotated[
    list[str] | None, typer.Option("--not", help="A point outside the structure, in the form of --point.")
]
Boxes = Annotated[
    list[str] | None,
    typer.Option("--around", help="A box around the structure: TOP,LEFT,BOTTOM,RIGHT, after Z in a volume."),
]
StructureSize = Annotated[
    str | None,
    typer.Option(
        "--structure-size",
        metavar="SIZE",
        help="Approximate length of the structure's longer side: in pixels (40), or with a unit where the"
        " image has a spacing (12mm). It says which of several structures around a point is meant."
        " Default: found by the model.",
    ),
]
PromptsFile = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        help='Points, boxes and size in a JSON file: {"positive": [[Y, X]], "negative": [[Y, X]],'
        ' "order": "+-", "boxes": [], "size": 40}.',
    ),
]
Through = Annotated[
    bool,
    typer.Option(
        "--through", help="Follow the structure through the slices of the volume, until it ends or is unsure."
    ),
]

HintPoints = Annotated[
    list[str] | None,
    typer.Option(
        "--hint",
        help="A point that belongs to what is segmented, Y,X or Z,Y,X in pixels from 0: samples that agree"
        " with it count more. For any model with samples; may be repeated.",
    ),
]
NotHintPoints = Annotated[
    list[str] | None,
    typer.Option("--hint-not", help="A point that does not belong to it, in the form of --hint."),
]


def parse_hints(inside: Sequence[str] | None, outside: Sequence[str] | None) -> tuple[Hint, ...]:
    """The hints that the options give.

    Raises
    ------
    BadInput
        If one cannot be read.
    """
    from napari_latentseg.core.hints import Hint

    given = (("hint", inside, True), ("hint-not", outside, False))
    return tuple(
        Hint(point=_numbers(option, text, (2, 3, 4)), inside=is_inside)
        for option, texts, is_inside in given
        for text in texts or ()
    )


def parse_prompts(
    points: Sequence[str] | None,
    outside: Sequence[str] | None,
    boxes: Sequence[str] | None,
    size: float | None,
    file: Path | None,
    order: Sequence[bool],
) -> Prompts | None:
    """The prompts that the options give; None without any.

    Parameters
    ----------
    points, outside, boxes, size, file
        The values of the options.
    order
        For each point, in the order of the command line, whether it is inside.

    Raises
    ------
    BadInput
        If one cannot be read, they contradict each other, or are given twice: in a file and as options.
    """
    from pydantic import ValidationError

    from napari_latentseg.core.prompts import Prompts, read_prompts
    from napari_latentseg.errors import first_validation_error

    given = [*(points or ()), *(outside or ()), *(boxes or ()), *(() if size is None else (size,))]
    if file is not None:
        if given:
            raise BadInput("prompts", "are in a file and in options", "give either of them")
        return read_prompts(file)
    if not given:
        return None
    inside_points = (_numbers("point", text, (2, 3)) for text in points or ())
    outside_points = (_numbers("not", text, (2, 3)) for text in outside or ())
    try:
        return Prompts.from_points(
            [(next(inside_points if is_inside else outside_points), is_inside) for is_inside in order],
            [_numbers("around", text, (4, 5)) for text in boxes or ()],
            size,
        )
    except ValidationError as error:
        _, why = first_validation_error(error)
        raise BadInput("prompts", why, "correct them") from error


def _numbers(option: str, text: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in counts or not all(map(math.isfinite, numbers)):
        forms = {"around": "TOP,LEFT,BOTTOM,RIGHT, or Z,TOP,LEFT,BOTTOM,RIGHT"}
        raise BadInput(option, f"{text!r} is none", f"write {forms.get(option, 'Y,X, or Z,Y,X in a volume')}")
    return numbers
