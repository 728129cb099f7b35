"""Events between the epochs of a training and of a fine-tuning: memory, and progress.

See `napari_latentseg.training.events`, which reads and lists all events.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from napari_latentseg.core.event_record import EventRecord

__all__ = [
    "FineTuneProgress",
    "Fraction",
    "MemberEvent",
    "TrainMemory",
    "TrainProgress",
    "duration_text",
]

Fraction = Annotated[float, Field(ge=0, le=1)]


class MemberEvent(EventRecord):
    """An event of one member of an ensemble.

    Attributes
    ----------
    member
        Its number, from 1; None, and no key on the line, for a single model.
    """

    member: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The content of a JSON line, with the keys in a fixed order."""
        return self.model_dump(mode="json", exclude={"member"} if self.member is None else None)


class TrainMemory(MemberEvent):
    """How many images are computed at once, before the first step of a stage or when memory ran out.

    Attributes
    ----------
    stage
        Name of the training stage; empty for a method with a single stage.
    batch_size
        Images of a batch that this process computes.
    part_size
        How many of them are computed at once.
    total_bytes
        What the process is expected to use in a step, about.

    Examples
    --------
    >>> TrainMemory(stage="", batch_size=8, part_size=1, total_bytes=4_700_000_000).text
    'batch of 8 in parts of 1, about 4.7 GB'
    """

    event: Literal["memory"] = "memory"
    stage: str
    batch_size: int
    part_size: int
    total_bytes: int

    @property
    def text(self) -> str:
        """The event in a few words."""
        parts = "" if self.part_size >= self.batch_size else f" in parts of {self.part_size}"
        return f"batch of {self.batch_size}{parts}, about {self.total_bytes / 1e9:.1f} GB"


class TrainProgress(MemberEvent):
    """Progress inside an epoch, about once a second.

    Attributes
    ----------
    stage, epoch, epochs
        As in `TrainEpoch`; the epoch is not complete.
    step, steps
        Batches of the epoch that are done, and that it has.
    fraction
        Of the stage, in [0, 1], to the image.
    loss
        Mean of the sum of all loss terms over the epoch so far; None before its first step.
    images_per_second
        Speed since the stage began or was resumed, without validations.
    seconds_left
        Of the stage, about, with validations; None where it is not known.
    """

    event: Literal["progress"] = "progress"
    stage: str
    epoch: int
    epochs: int
    step: int
    steps: int
    fraction: Fraction
    loss: float | None
    images_per_second: float
    seconds_left: float | None

    @property
    def text(self) -> str:
        """The event in a few words.

        Examples
        --------
        >>> TrainProgress(
        ...     stage="", epoch=3, epochs=50, step=12, steps=64, fraction=0.04, loss=0.4321,
        ...     images_per_second=0.44, seconds_left=8100,
        ... ).text
        'epoch 3 of 50, step 12 of 64, loss 0.432, 0.44 images/s, about 2 h 15 min left'
        """
        position = f"epoch {self.epoch} of {self.epochs}, step {self.step} of {self.steps}"
        return _progress_text(position, self.loss, self.images_per_second, self.seconds_left)


class FineTuneProgress(EventRecord):
    """Progress between two validations, about once a second.

    Attributes
    ----------
    step, steps
        Optimizer steps done, and planned; None until the first steps have been timed.
    loss
        Mean of the sum of all loss terms since the last validation; None before the first step after it.
    images_per_second
        Patches that are learnt from in a second, without validations.
    seconds, left
        Seconds since the start, and seconds left of the time limit.
    """

    event: Literal["progress"] = "progress"
    step: int
    steps: int | None
    loss: float | None
    images_per_second: float
    seconds: float
    left: float

    @property
    def text(self) -> str:
        """The event in a few words.

        Examples
        --------
        >>> FineTuneProgress(
        ...     step=120, steps=400, loss=0.0451, images_per_second=512, seconds=40, left=80
        ... ).text
        'step 120 of 400, loss 0.0451, 512 images/s, about 1 min left'
        """
        planned = "" if self.steps is None else f" of {self.steps}"
        return _progress_text(f"step {self.step}{planned}", self.loss, self.images_per_second, self.left)


def _progress_text(
    position: str, loss: float | None, images_per_second: float, seconds_left: float | None
) -> str:
    parts = [
        position,
        None if loss is None else f"loss {loss:.3g}",
        f"{images_per_second:.3g} images/s",
        None if seconds_left is None else f"about {duration_text(seconds_left)} left",
    ]
    return ", ".join(part for part in parts if part)


def duration_text(seconds: float) -> str:
    """A duration in words, as exact as an estimate is.

    Examples
    --------
    >>> [duration_text(s) for s in (0.4, 42, 90, 8100, 200_000)]
    ['1 s', '42 s', '2 min', '2 h 15 min', '2 d 8 h']
    """
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"
