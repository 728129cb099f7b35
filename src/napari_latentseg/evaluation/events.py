"""The events of an evaluation: typed records, and JSON lines between processes, as those of a training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from napari_latentseg.core.event_record import EventRecord

__all__ = ["EvaluationEvent", "EvaluationNote", "EvaluationProgress", "parse_evaluation_event"]


class EvaluationProgress(EventRecord):
    """The fraction of the images that is done, of both models where two are compared, in [0, 1]."""

    event: Literal["progress"] = "progress"
    done: Annotated[float, Field(ge=0, le=1)]


class EvaluationNote(EventRecord):
    """What was passed over in the folder, in words."""

    event: Literal["note"] = "note"
    text: str


EvaluationEvent = EvaluationProgress | EvaluationNote

_EVENT: TypeAdapter[EvaluationEvent] = TypeAdapter(Annotated[EvaluationEvent, Field(discriminator="event")])


def parse_evaluation_event(line: str | bytes) -> EvaluationEvent:
    """An event of an evaluation from its line.

    Raises
    ------
    pydantic.ValidationError
        If the line is not such an event.
    """
    return _EVENT.validate_json(line)
