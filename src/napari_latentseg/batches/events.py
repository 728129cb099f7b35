"""The events of a batch: typed records, and JSON lines between processes, as those of a training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from napari_latentseg.batches.case import State
from napari_latentseg.core.event_record import EventRecord

__all__ = ["BatchEnd", "BatchEvent", "BatchStart", "CaseEnd", "CaseProgress", "parse_batch_event"]


class BatchStart(EventRecord):
    """The cases are known, and the first of them begins."""

    event: Literal["start"] = "start"
    cases: int


class CaseProgress(EventRecord):
    """The fraction of a case that is done, in [0, 1]."""

    event: Literal["progress"] = "progress"
    case: str
    done: Annotated[float, Field(ge=0, le=1)]


class CaseEnd(EventRecord):
    """A case ended.

    Attributes
    ----------
    case, state, reason, seconds
        As of `napari_latentseg.batches.case.CaseOutcome`.
    result
        The path of the record of its result; empty where it failed.
    """

    event: Literal["case"] = "case"
    case: str
    state: State
    reason: str
    seconds: float
    result: str


class BatchEnd(EventRecord):
    """The batch ended; the number of cases in each state, and whether it was stopped before the last case."""

    event: Literal["end"] = "end"
    done: int
    failed: int
    skipped: int
    stopped: bool


BatchEvent = BatchStart | CaseProgress | CaseEnd | BatchEnd

_EVENT: TypeAdapter[BatchEvent] = TypeAdapter(Annotated[BatchEvent, Field(discriminator="event")])


def parse_batch_event(line: str | bytes) -> BatchEvent:
    """An event of a batch from its line.

    Raises
    ------
    pydantic.ValidationError
        If the line is not such an event.
    """
    return _EVENT.validate_json(line)
