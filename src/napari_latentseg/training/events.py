"""The events of a training and of a fine-tuning: typed records, and JSON lines between processes.

The field ``event`` names the kind. `as_dict` gives the content of a line; `parse_train_event` and
`parse_finetune_event` read one. None of them loads torch, so that a window can read events at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from napari_latentseg.core.event_record import EventRecord
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.models.comparison import Comparison, Verdict
from napari_latentseg.training.progress_events import (
    FineTuneProgress,
    Fraction,
    MemberEvent,
    TrainMemory,
    TrainProgress,
)

__all__ = [
    "Caching",
    "Chosen",
    "FineTuneCheckpoint",
    "FineTuneData",
    "FineTuneEpoch",
    "FineTuneEvent",
    "FineTuneProgress",
    "FineTuneSaved",
    "Judged",
    "Judging",
    "Preview",
    "PreviewCase",
    "TrainData",
    "TrainEpoch",
    "TrainEvent",
    "TrainJudging",
    "TrainMemory",
    "TrainProgress",
    "TrainSaved",
    "parse_finetune_event",
    "parse_train_event",
]


class TrainData(EventRecord):
    """The data of a training.

    Attributes
    ----------
    images
        Number of image files.
    train, apart
        Number of training slices and of validation slices.
    note
        Remarks on the files for the user; may be empty.
    left_out
        Why an image was left out, for each one that cannot be read; no key on the line where there is none.
    """

    event: Literal["data"] = "data"
    images: int
    train: int
    apart: int
    note: str
    left_out: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The content of a JSON line, with the keys in a fixed order."""
        return self.model_dump(mode="json", exclude=None if self.left_out else {"left_out"})


class TrainEpoch(MemberEvent):
    """An epoch of a training.

    Attributes
    ----------
    member
        Number of the member of an ensemble, from 1; None, and no key on the line, for a single model.
    stage
        Name of the training stage; empty for a method with a single stage.
    epoch, epochs
        Number of the epoch in the stage, from 1, and number of epochs of the stage.
    losses
        Mean of each loss term over the epoch.
    learning_rate
        At the end of the epoch.
    dsc
        Mean Dice on the validation slices, at working size and the card's threshold, in [0, 1]; None where it
        was not measured.
    best
        `dsc` of the weights that would be saved if training ended now; None before the first validation.
    seconds
        Since the start of the stage.
    measured
        Further figures of the method, by name.
    """

    event: Literal["epoch"] = "epoch"
    stage: str
    epoch: int
    epochs: int
    losses: dict[str, float]
    learning_rate: float
    dsc: float | None
    best: float | None
    seconds: float
    measured: dict[str, float] = Field(default_factory=dict)


class TrainJudging(EventRecord):
    """Progress of segmenting the validation images with a sampling source.

    Attributes
    ----------
    source, samples
        The source, and the number of samples of each image.
    done
        Fraction of the samples that are drawn; 0, and no key on the line, where it begins.
    """

    event: Literal["judging"] = "judging"
    source: str
    samples: int
    done: Fraction = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The content of a JSON line, with the keys in a fixed order."""
        return self.model_dump(mode="json", exclude=None if self.done else {"done"})


class TrainSaved(EventRecord):
    """The model was written.

    Attributes
    ----------
    folder
        Of the model.
    dsc
        Mean Dice of the validation images with the first source, in [0, 1]; None where they were not
        segmented.
    epochs
        Number of epochs trained, over all stages and members.
    stopped
        Whether it was stopped before the end.
    notes
        A sentence on each figure of the card that its validation images are too few for; no key on the line
        where there is none.
    """

    event: Literal["saved"] = "saved"
    folder: str
    dsc: float | None
    epochs: int
    stopped: bool
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The content of a JSON line, with the keys in a fixed order."""
        return self.model_dump(mode="json", exclude=None if self.notes else {"notes"})


class FineTuneData(EventRecord):
    """The data of a fine-tuning.

    Attributes
    ----------
    cases, planes
        Number of cases and of annotated slices.
    train, apart
        Number of training cases and of validation cases.
    replay
        Number of replayed training patches of the model's first training.
    note
        Remarks on the data for the user; may be empty.
    left_out
        Why an image was left out, for each one that cannot be read; no key on the line where there is none.
    """

    event: Literal["data"] = "data"
    cases: int
    planes: int
    train: int
    apart: int
    replay: int
    note: str
    left_out: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The content of a JSON line, with the keys in a fixed order."""
        return self.model_dump(mode="json", exclude=None if self.left_out else {"left_out"})


class Caching(EventRecord):
    """Progress of encoding the images, as the fraction done."""

    event: Literal["caching"] = "caching"
    done: Fraction


class FineTuneEpoch(EventRecord):
    """A validation of the weights after some optimizer steps; at step 0, of the base model.

    Attributes
    ----------
    epoch
        Number of passes over all patches, rounded up.
    step, steps
        The step, and the number of steps planned; None until the first steps have been timed.
    losses
        Mean of each loss term since the last validation.
    dsc, base_dsc, best
        Dice on the validation patches, in [0, 1]: now, of the base model, and the best so far; None without
        such patches.
    replay_dsc, base_replay_dsc
        The same on the replayed validation patches of the model's first training.
    seconds, left
        Seconds since the start, and seconds left of the time limit.
    """

    event: Literal["epoch"] = "epoch"
    epoch: int
    step: int
    steps: int | None
    losses: dict[str, float]
    dsc: float | None
    base_dsc: float | None
    replay_dsc: float | None
    base_replay_dsc: float | None
    best: float | None
    seconds: float
    left: float


class PreviewCase(FrozenModel):
    """One case as three PNG images in base64.

    Attributes
    ----------
    case
        Index of the case.
    before, now, yours
        With the mask of the base model, of the model at this step, and the annotated one.
    """

    case: int
    before: str
    now: str
    yours: str


class Preview(EventRecord):
    """Images of some cases, segmented with the weights of this step."""

    event: Literal["preview"] = "preview"
    step: int
    cases: tuple[PreviewCase, ...]


class FineTuneCheckpoint(EventRecord):
    """The state was saved, from which the fine-tuning can be resumed if it is ended from outside.

    Attributes
    ----------
    name, folder
        Of the new model, and of the checkpoint.
    seconds
        Seconds of training that it holds.
    """

    event: Literal["checkpoint"] = "checkpoint"
    name: str
    folder: str
    seconds: float


class Chosen(EventRecord):
    """The interpolation of the weights and the threshold that were chosen.

    Attributes
    ----------
    share
        0: the weights of the base model; 1: the fine-tuned weights.
    threshold
        Of probabilities before they are calibrated; None in events of earlier versions.
    """

    event: Literal["chosen"] = "chosen"
    share: Fraction
    threshold: Fraction | None = None


class Judging(EventRecord):
    """Progress of scoring both models on the same cases, as the fraction done."""

    event: Literal["judging"] = "judging"
    done: Fraction


class Judged(EventRecord):
    """The comparison of both models: the verdict, its summary in one line, and all of `comparison.json`."""

    event: Literal["judged"] = "judged"
    verdict: Verdict
    line: str
    comparison: Comparison


class FineTuneSaved(EventRecord):
    """The candidate was written.

    Attributes
    ----------
    folder, name, version, base
        Of the candidate; `base` is the name of its base model.
    stopped
        Whether it was stopped before the end.
    dsc
        Mean Dice on the validation cases, in [0, 1]; None where there are none.
    seconds
        Duration of the fine-tuning, without the comparison.
    """

    event: Literal["saved"] = "saved"
    folder: str
    name: str
    base: str
    version: str
    stopped: bool
    dsc: float | None
    seconds: float


TrainEvent = TrainData | TrainMemory | TrainProgress | TrainEpoch | TrainJudging | TrainSaved
FineTuneEvent = (
    FineTuneData
    | Caching
    | FineTuneProgress
    | FineTuneEpoch
    | FineTuneCheckpoint
    | Preview
    | Chosen
    | Judging
    | Judged
    | FineTuneSaved
)

_TRAIN: TypeAdapter[TrainEvent] = TypeAdapter(Annotated[TrainEvent, Field(discriminator="event")])
_FINETUNE: TypeAdapter[FineTuneEvent] = TypeAdapter(Annotated[FineTuneEvent, Field(discriminator="event")])


def parse_train_event(line: str | bytes) -> TrainEvent:
    """An event of a training from its line.

    Raises
    ------
    pydantic.ValidationError
        If the line is not such an event.
    """
    return _TRAIN.validate_json(line)


def parse_finetune_event(line: str | bytes) -> FineTuneEvent:
    """An event of a fine-tuning from its line.

    Raises
    ------
    pydantic.ValidationError
        If the line is not such an event.
    """
    return _FINETUNE.validate_json(line)
