"""The card of a model: what it is, what it is for, and how good it was where it was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.record import SamplingSource
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.label_map import LabelTarget
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.errors import BadInput, first_validation_error
from napari_latentseg.evaluation.calibration import Reliability, VolumeInterval

__all__ = ["CARD", "Ancestor", "MetricRecord", "ModelCard", "TrainingData", "read_card"]

CARD = "card.json"
# As the papers spell them; here, so that a card can be shown without loading torch.
_METHOD_SPELLINGS = {
    "gms": "GMS",
    "wave-gms": "Wave-GMS",
    "sdseg": "SDSeg",
    "medseglatdiff": "MedSegLatDiff",
    "guided": "Guided latent diffusion",
}
NAME_PATTERN = r"[a-z0-9][a-z0-9._-]*"


class TrainingData(FrozenModel):
    """One set that a model learned from.

    Where its masks do not hold the model's own numbers, `labels` says which class each of theirs is, for the
    folder of that name.
    """

    name: str
    licence: str
    reference: str = ""
    images: int = Field(ge=0)
    validation_images: int = Field(ge=0, alias="kept_apart")
    split: str = ""
    folder: str = ""
    labels: dict[int, LabelTarget] = Field(default_factory=dict)


class MetricRecord(FrozenModel):
    """Figures with how they were measured.

    Attributes
    ----------
    data
        Which images, and that none was trained on.
    images
        How many.
    samples, source
        The ensemble that was cut; 1 and ``"none"`` for a single pass.
    values, spread
        Mean and standard deviation over images, by metric (``dsc`` and ``iou`` in [0, 1], ``hd95`` in
        `unit`).
    unit
        Of HD95.
    conventions
        In plain words.
    """

    data: str
    images: int = Field(ge=1)
    samples: int = Field(ge=1)
    source: SamplingSource
    values: dict[str, float]
    spread: dict[str, float] = Field(default_factory=dict)
    unit: str = "pixel"
    conventions: dict[str, str] = Field(default_factory=dict)


class Ancestor(FrozenModel):
    """A model that another was taught from, by name, version and the SHA-256 of its weights."""

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    version: str
    sha256: str


class ModelCard(FrozenModel):
    """What a model is.

    Attributes
    ----------
    name
        The key under which it is chosen.
    title
        For people.
    version, parent
        Its version, and the name and version that it was taught from.
    lineage
        All that it goes back to, the oldest first; the last is the parent.
    method, deviations_from_paper
        The method, and what differs from its paper; a variant is never called by the paper's name alone.
    settings
        The method's own, validated by it.
    codec
        Which codec its latents belong to; None where the model brings its own.
    preprocess, augment
        How a plane is brought to working size, and the ranges it was varied in; test-time augmentation stays
        inside them.
    modality, classes
        What it looks at and what it finds.
    sources
        The sampling sources that it offers; the first is the default.
    members
        How many predictors it has, on one codec; the source ``"members"`` draws each sample from another.
    default_samples, threshold
        Where the widget begins.
    training_data, licence
        What it learned from, and what the weights may be used for.
    metrics
        How good it was.
    reliability
        Whether its mean probabilities are what they say; None where that was not measured.
    volume_interval
        Makes an interval for an area or volume of those of the samples; None where it was not calibrated.
    intended_use, limits
        In plain words.
    files
        SHA-256 of every other file of the folder.
    """

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    title: str
    version: str = "1"
    parent: str = ""
    lineage: tuple[Ancestor, ...] = ()
    method: str
    deviations_from_paper: str = Field("", alias="variant")
    settings: dict[str, Any] = Field(default_factory=dict)
    codec: CodecSpec | None
    preprocess: Preprocess
    augment: AugmentationConfig
    modality: str = ""
    classes: tuple[ClassInfo, ...] = Field(min_length=1)
    sources: tuple[SamplingSource, ...] = Field(min_length=1)
    members: int = Field(1, ge=1)
    default_samples: int = Field(5, ge=1)
    threshold: float = Field(0.5, gt=0, lt=1)
    training_data: tuple[TrainingData, ...] = ()
    licence: str = ""
    metrics: tuple[MetricRecord, ...] = ()
    reliability: Reliability | None = None
    volume_interval: VolumeInterval | None = None
    intended_use: str = "Research. Not a medical device."
    limits: str = ""
    files: dict[str, str] = Field(default_factory=dict)
    format: Literal[1] = 1

    @field_validator("classes")
    @classmethod
    def _check_unique_classes(cls, classes: tuple[ClassInfo, ...]) -> tuple[ClassInfo, ...]:
        for field_name in ("label", "name"):
            if len({getattr(c, field_name) for c in classes}) < len(classes):
                raise ValueError(f"two classes have the same {field_name}")
        names = {c.name for c in classes}
        for c in classes:
            if not set(c.includes) <= names - {c.name}:
                raise ValueError(f"{c.name} includes what is no other class")
        return classes

    @model_validator(mode="after")
    def _check_interval_classes(self) -> ModelCard:
        interval_factors = self.volume_interval.factors if self.volume_interval else {}
        if unknown := set(interval_factors) - {c.name for c in self.classes}:
            raise ValueError(f"volume_interval has a factor of {sorted(unknown)[0]}, which is no class")
        return self

    @model_validator(mode="after")
    def _check_members(self) -> ModelCard:
        if "members" in self.sources and self.members < 2:
            raise ValueError("members is a source, but there is only one")
        return self

    @property
    def headline_metrics(self) -> MetricRecord | None:
        """The figures of the model as it is used unless told otherwise: with samples of its first source."""
        default_source_metrics = [m for m in self.metrics if m.source == self.sources[0] and m.samples > 1]
        return next(iter([*default_source_metrics, *self.metrics]), None)

    @property
    def method_name(self) -> str:
        """The method as its paper spells it; the key where that is not known."""
        return _METHOD_SPELLINGS.get(self.method, self.method)

    @property
    def method_title(self) -> str:
        """The method as it may be called: by its name, or as a variant of it."""
        deviations = self.deviations_from_paper
        return f"{self.method_name} variant ({deviations})" if deviations else self.method_name

    def write(self, path: Path) -> None:
        """Write as JSON that a person can read."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        path.write_text(text + "\n", "utf-8")


def read_card(folder: Path) -> ModelCard:
    """The card of a model folder; no weights are read.

    Raises
    ------
    BadInput
        Where there is none, or a field is not valid.
    """
    path = Path(folder) / CARD
    try:
        return ModelCard.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise BadInput(folder, f"holds no {CARD}", "give the folder of a model, or its name") from error
    except ValidationError as error:
        field, why = first_validation_error(error)
        raise BadInput(f"{path}, {field or 'the file'}", why, "install the model again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(path, "cannot be read", "install the model again") from error
