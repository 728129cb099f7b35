"""How well a model answers clicks, on annotated images; no torch is needed to read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, ValidationError

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bootstrap import Interval
from napari_latentseg.evaluation.report import EvaluatedModel, LeftOut

__all__ = ["REACHED", "ClickReport", "ClickedObject", "read_click_report"]

REACHED = 0.9
"""The Dice from which tools are compared by the number of clicks."""


class ClickedObject(FrozenModel):
    """The scores of an object that was pointed at.

    Attributes
    ----------
    image
        The name of its image without the suffix.
    dsc
        Dice in [0, 1] after one click, two, and so on.

    Examples
    --------
    >>> from napari_latentseg import ClickedObject
    >>> ClickedObject(image="scan", dsc=(0.81, 0.93)).dsc[-1]
    0.93
    """

    image: str
    dsc: tuple[float, ...]


class ClickReport(FrozenModel):
    """The Dice after each click of a simulated person; frozen.

    Attributes
    ----------
    model
        The model that answered.
    samples
        Of each answer; what is scored is the mask of their mean.
    image_count, object_count
        Images with at least one object that was pointed at, and these objects: of each class of an image the
        three largest; of a volume those in the slice of the class's largest area.
    training_count
        How many of the images the model has learnt from.
    dsc
        Mean Dice over objects in [0, 1], after one click, two, and so on.
    intervals
        Its bootstrapped 95 % intervals over images; None of a single image.
    reached
        Share of the objects that had a Dice of 0.9 after any of the clicks.
    objects
        Each object.
    left_out
        The images that could not be used.

    Examples
    --------
    >>> from napari_latentseg import evaluate_clicks
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> report = evaluate_clicks("any-structure", write_annotated_phantoms("phantoms", 2), clicks=2)
    >>> report.image_count, len(report.dsc)
    (2, 2)
    """

    _fields_shown: ClassVar[tuple[str, ...]] = ("model", "object_count", "dsc")

    model: EvaluatedModel
    samples: int
    image_count: int
    object_count: int
    training_count: int
    dsc: tuple[float, ...]
    intervals: tuple[Interval, ...] | None
    reached: float = Field(ge=0, le=1)
    objects: tuple[ClickedObject, ...]
    left_out: tuple[LeftOut, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as the command line writes it."""
        return self.model_dump(mode="json", exclude=set() if self.left_out else {"left_out"})

    def rows(self) -> list[tuple[str, ...]]:
        """A table in words: a row for each number of clicks."""
        rows: list[tuple[str, ...]] = [("clicks", "Dice", "95 % interval")]
        for number, dsc in enumerate(self.dsc, start=1):
            interval = (
                "" if self.intervals is None else "{:.4f} to {:.4f}".format(*self.intervals[number - 1])
            )
            rows.append((str(number), f"{dsc:.4f}", interval))
        return rows


def read_click_report(path: Path) -> ClickReport:
    """A report that ``evaluate --out`` wrote.

    Raises
    ------
    BadInput
        If it cannot be read, or is no such file.
    """
    remedy = "evaluate the model again"
    try:
        return ClickReport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})", remedy) from error
    except ValidationError as error:
        raise BadInput(path, "holds no scores of clicks", remedy) from error
