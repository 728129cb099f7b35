"""The events of a training and of a fine-tuning: typed records, and JSON lines between processes.

The field ``event`` says which kind it is. `as_dict` gives what is written on a line; `parse_train_event` and
`parse_finetune_event` read one. None of them loads torch, so that a window can read events at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.models.comparison import Comparison, Verdict

__all__ = [
    "Caching",
    "Chosen",
    "FineTuneData",
    "FineTuneEpoch",
    "FineTuneEvent",
    "FineTuneSaved",
    "Judged",
    "Judging",
    "Preview",
    "PreviewCase",
    "TrainData",
    "TrainEpoch",
    "TrainEvent",
    "TrainJudging",
    "TrainSaved",
    "parse_finetune_event",
    "parse_train_event",
]

Fraction = Annotated[float, Field(ge=0, le=1)]


class _Event(FrozenModel):
    event: str

    def as_dict(self) -> dict[str, Any]:
        """What is written on a line, with the keys in their order."""
        return self.model_dump(mode="json")


class TrainData(_Event):
    """The data of a training.

    Attributes
    ----------
    images
        How many files there are.
    train, apart
        Training slices and validation slices.
    note
        What a person should know of the files; may be empty.
    """

    event: Literal["data"] = "data"
    images: int
    train: int
    apart: int
    note: str


class TrainEpoch(_Event):
    """An epoch of a training.

    Attributes
    ----------
    member
        Which member of several, from 1; None, and no key on the line, where there is one.
    stage
        Of a method that is trained in several; empty where there is one.
    epoch, epochs
        Which one of how many in the stage, from 1.
    losses
        Mean of each term over the epoch.
    learning_rate
        At the epoch's end.
    dsc
        Mean Dice on the validation slices, at working size and the card's threshold, in [0, 1]; None where it
        was not measured.
    best
        That of the weights that would be kept now.
    seconds
        Since the start of the stage.
    measured
        What else the method measures.
    """

    event: Literal["epoch"] = "epoch"
    member: int | None = None
    stage: str
    epoch: int
    epochs: int
    losses: dict[str, float]
    learning_rate: float
    dsc: float | None
    best: float | None
    seconds: float
    measured: dict[str, float] = Field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """What is written on a line, with the keys in their order."""
        return self.model_dump(mode="json", exclude={"member"} if self.member is None else None)


class TrainJudging(_Event):
    """The validation images are segmented, with this sampling source and number of samples."""

    event: Literal["judging"] = "judging"
    source: str
    samples: int


class TrainSaved(_Event):
    """The model was written.

    Attributes
    ----------
    folder
        Of the model.
    dsc
        Mean Dice of the validation images with the first source, in [0, 1].
    epochs
        How many there were, of all stages and members.
    stopped
        Whether it was stopped before the end.
    """

    event: Literal["saved"] = "saved"
    folder: str
    dsc: float
    epochs: int
    stopped: bool


class FineTuneData(_Event):
    """The data of a fine-tuning.

    Attributes
    ----------
    cases, planes
        How many cases and annotated slices there are.
    train, apart
        Training cases and validation cases.
    replay
        Patches of the model's own training.
    note
        What a person should know of it.
    """

    event: Literal["data"] = "data"
    cases: int
    planes: int
    train: int
    apart: int
    replay: int
    note: str


class Caching(_Event):
    """Images are encoded: the fraction done."""

    event: Literal["caching"] = "caching"
    done: Fraction


class FineTuneEpoch(_Event):
    """A validation of the weights after some steps; step 0 is the base.

    Attributes
    ----------
    epoch
        How often all patches were seen, rounded up.
    step, steps
        The step, and how many there will be; None where the first steps have not been timed yet.
    losses
        Mean of each term since the last validation.
    dsc, base_dsc, best
        Dice on the validation patches, in [0, 1]: now, of the base, and the best; None without such patches.
    replay_dsc, base_replay_dsc
        The same on validation patches of the model's own training (replay).
    seconds, left
        Seconds since the beginning, and left of the time that was given.
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
    """One case in three pictures, PNG in base64: with the mask of the base, of the model now, and yours."""

    case: int
    before: str
    now: str
    yours: str


class Preview(_Event):
    """Pictures of some cases, at the weights of this step."""

    event: Literal["preview"] = "preview"
    step: int
    cases: tuple[PreviewCase, ...]


class Chosen(_Event):
    """The interpolation of the weights: the fraction of the way from base to new weights that is kept."""

    event: Literal["chosen"] = "chosen"
    share: Fraction


class Judging(_Event):
    """Both models are scored on the same cases: the fraction done."""

    event: Literal["judging"] = "judging"
    done: Fraction


class Judged(_Event):
    """The comparison of both models: the verdict, its first line, and all of `comparison.json`."""

    event: Literal["judged"] = "judged"
    verdict: Verdict
    line: str
    comparison: Comparison


class FineTuneSaved(_Event):
    """The candidate was written.

    Attributes
    ----------
    folder, name, version, base
        Of the candidate, and the name of its base.
    stopped
        Whether it was stopped before the end.
    dsc
        Mean Dice on the validation cases, in [0, 1]; None where there are none.
    seconds
        Of the training, without the comparison.
    """

    event: Literal["saved"] = "saved"
    folder: str
    name: str
    base: str
    version: str
    stopped: bool
    dsc: float | None
    seconds: float


TrainEvent = TrainData | TrainEpoch | TrainJudging | TrainSaved
FineTuneEvent = FineTuneData | Caching | FineTuneEpoch | Preview | Chosen | Judging | Judged | FineTuneSaved

_TRAIN: TypeAdapter[TrainEvent] = TypeAdapter(Annotated[TrainEvent, Field(discriminator="event")])
_FINETUNE: TypeAdapter[FineTuneEvent] = TypeAdapter(Annotated[FineTuneEvent, Field(discriminator="event")])


def parse_train_event(line: str | bytes) -> TrainEvent:
    """An event of a training from its line.

    Raises
    ------
    pydantic.ValidationError
        Where the line is none.
    """
    return _TRAIN.validate_json(line)


def parse_finetune_event(line: str | bytes) -> FineTuneEvent:
    """An event of a fine-tuning from its line.

    Raises
    ------
    pydantic.ValidationError
        Where the line is none.
    """
    return _FINETUNE.validate_json(line)
