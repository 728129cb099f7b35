"""Pictures of an object that was pointed at: the image, the reference, and the first and the last answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_latentseg.evaluation.click_report import ClickReport
from napari_latentseg.report.pictures import Panels, background_of, side_by_side, with_outlines
from napari_latentseg.report.slice_parts import part_to_show, slice_part, slice_title

if TYPE_CHECKING:
    from napari_latentseg.inference.click_scores import AnsweredObject  # which loads torch

__all__ = ["ANSWER_COLOR", "REFERENCE_COLOR", "ObjectPicture", "draw_objects"]

REFERENCE_COLOR, ANSWER_COLOR = "#e69f00", "#56b4e9"
"""Orange and blue of Okabe and Ito, which all people can tell apart."""


@dataclass(frozen=True)
class ObjectPicture:
    """Four pictures of an object side by side.

    Attributes
    ----------
    title, name
        Which object it is: the worst, the median, the best; and the name of its image in the report.
    text
        Its Dice, and which slice or part is shown.
    panels
        The pictures.
    """

    title: str
    name: str
    text: str
    panels: Panels

    @property
    def values(self) -> dict[str, Any]:
        """What the template needs of it."""
        return {"title": self.title, "name": self.name, "text": self.text, **self.panels.values}


def draw_objects(report: ClickReport, answer_again: Callable[[int], AnsweredObject]) -> list[ObjectPicture]:
    """Draw the object with the worst last answer, the one at the median, and the best.

    Parameters
    ----------
    report
        The evaluation.
    answer_again
        Gives an object of it, by its number, with its answers.

    Raises
    ------
    BadInput
        If an image can no longer be read.
    """
    order = sorted(range(len(report.objects)), key=lambda i: report.objects[i].dsc[-1])
    chosen = {"Worst": order[0], "Median": order[(len(order) - 1) // 2], "Best": order[-1]}
    pictures: dict[int, ObjectPicture] = {}
    for title, number in chosen.items():
        if number not in pictures:
            pictures[number] = _draw(title, report, number, answer_again(number))
    return list(pictures.values())


def _draw(title: str, report: ClickReport, number: int, answered: AnsweredObject) -> ObjectPicture:
    scored, geometry = report.objects[number], answered.scan.geometry
    shape = answered.scan.spatial_shape
    index = tuple(int(i) for i in np.unravel_index(answered.plane, shape[:-2])) if len(shape) > 2 else ()
    marked = answered.reference | answered.first | answered.last
    part = slice_part(index, *part_to_show(marked), geometry)
    crop = part.plane[-2:]
    background = background_of(answered.scan, part.plane, answered.reference[crop].astype(float))
    background = background.resize(part.size, Image.Resampling.BICUBIC)
    outlined = [
        with_outlines(background, mask[crop], [(True, color)])
        for mask, color in (
            (answered.reference, REFERENCE_COLOR),
            (answered.first, ANSWER_COLOR),
            (answered.last, ANSWER_COLOR),
        )
    ]
    text = f"Dice {scored.dsc[0]:.4f} after one click, {scored.dsc[-1]:.4f} after {len(scored.dsc)}"
    if index:
        text += f"; {slice_title(geometry, index, shape).lower()}"
    if part.shape != marked.shape:
        text += f"; a part of the {'slice' if index else 'image'}"
    return ObjectPicture(title, scored.image, text, side_by_side([background, *outlined]))
