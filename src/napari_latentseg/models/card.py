"""The model card (`card.json`): what a model is, what it is for, and its measured performance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.record import MEMBER_SOURCES, PROMPT_SOURCE, SamplingSource
from napari_latentseg.core.temperature import NO_TEMPERATURE, Temperature
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.label_map import LabelTarget
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.errors import BadInput, first_validation_error, system_failure
from napari_latentseg.evaluation.bfloat16_check import Bfloat16Check
from napari_latentseg.evaluation.calibration import VolumeInterval
from napari_latentseg.evaluation.contour_band import ContourBand
from napari_latentseg.evaluation.expected_dice import ExpectedDice
from napari_latentseg.evaluation.fit import FitReference
from napari_latentseg.evaluation.reliability import Reliability
from napari_latentseg.evaluation.sample_agreement import SampleAgreement
from napari_latentseg.evaluation.temperature_fit import TemperatureFit

__all__ = ["CARD", "Ancestor", "MetricRecord", "ModelCard", "TrainingData", "read_card"]

CARD = "card.json"
# Short names of the methods, as their papers spell them; here and not in methods/, so that a card can be
# shown without loading torch.
_METHOD_SPELLINGS = {
    "gms": "GMS",
    "wave-gms": "Wave-GMS",
    "sdseg": "SDSeg",
    "medseglatdiff": "MedSegLatDiff",
    "guided": "Guided latent diffusion",
    "prompted": "Prompted latent mapping",
}
NAME_PATTERN = r"[a-z0-9][a-z0-9._-]*"
MemberParts = Literal["all", "predictor"]
"""What each further member of a model has of its own: all of its trained parts, or its predictor alone."""

MAX_MEMBERS = 200  # each is a file of weights; ensembles have 5 or 10


class TrainingData(FrozenModel):
    """One data set that a model was trained on.

    Attributes
    ----------
    name, licence, reference
        Name and licence of the data set, and where to find it.
    images, validation_images
        Numbers of training images and of validation images (key ``"kept_apart"`` in JSON).
    split
        How validation images were chosen, as text, e.g. "20%".
    folder
        Name of the folder that it was read from.
    labels
        Class of each label value of its masks; empty if they use the label values of the model.
    readers
        How many readers' masks each image has, of which one was drawn at random in every step; 0 where there
        was one mask.
    """

    name: str
    licence: str
    reference: str = ""
    images: int = Field(ge=0)
    validation_images: int = Field(ge=0, alias="kept_apart")
    split: str = ""
    folder: str = ""
    labels: dict[int, LabelTarget] = Field(default_factory=dict)
    readers: int = Field(0, ge=0)


class MetricRecord(FrozenModel):
    """Segmentation metrics of a model on one set of images, and how they were measured.

    Attributes
    ----------
    data
        The images, in words; none of them was trained on.
    images
        Number of images.
    samples, source
        Size and sampling source of the ensemble whose mean probability was thresholded; 1 and ``"none"`` for
        a single pass without randomness.
    values, spread
        Mean and standard deviation over images, by metric: ``dsc`` and ``iou`` in [0, 1], ``hd95`` in `unit`.
    unit
        Unit of HD95.
    conventions
        How each metric treats special cases such as empty masks, in words.
    base_values
        The means of the base model on the same images, of a fine-tuned model that was compared with it.
    classes
        Of a model with several classes, the means of each class by its name, over the ``images`` that hold it
        in the reference or in the prediction; empty where not measured.
    intervals
        Bootstrapped 95 % intervals of the means over images, by metric; empty where not computed.
    missed
        In how many images the Dice is below 0.1, the mask being missing or in the wrong place; None where
        not counted.
    """

    data: str
    images: int = Field(ge=1)
    samples: int = Field(ge=1)
    source: SamplingSource
    values: dict[str, float]
    spread: dict[str, float] = Field(default_factory=dict)
    unit: str = "pixel"
    conventions: dict[str, str] = Field(default_factory=dict)
    base_values: dict[str, float] = Field(default_factory=dict)
    classes: dict[str, dict[str, float]] = Field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    missed: int | None = Field(None, ge=0)


class Ancestor(FrozenModel):
    """A model that another was fine-tuned from: name, version and SHA-256 of its weights."""

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    version: str
    sha256: str


class ModelCard(FrozenModel):
    """The card of a model.

    Attributes
    ----------
    name
        Key of the model in commands and folders.
    title
        Its name for display.
    version, parent
        Its version; name and version of the base model it was fine-tuned from, empty for a new model.
    lineage
        All models it was fine-tuned from, directly or not, the oldest first; the last is the base model.
    method
        Key of its method, e.g. ``"gms"``.
    deviations_from_paper
        What differs from the paper of the method, in words (key ``"variant"`` in JSON); a model with
        deviations is called a variant. Empty for the published method.
    settings
        Settings of the method, validated by its `config_class`.
    codec
        The pretrained codec its latents belong to; None if the model has its own.
    preprocess
        How a slice is resized or tiled for the network.
    augment
        Ranges of the training augmentation; test-time augmentation uses the same.
    modality, classes
        Imaging modality, e.g. ``"US"``, and the classes of its label maps.
    sources
        Sampling sources that it can use; the first is the default.
    members
        Number of ensemble members, which share one codec; the source ``"members"`` draws each sample from
        another member.
    member_parts
        ``"all"``: each has networks of its own. ``"predictor"``: all use the conditioner of the first, so
        that an image is encoded once for all of them, and the files of the others hold a predictor alone.
    member_dsc
        Dice of each member on the validation slices in training, that of the first first: all other sources
        use the first member. Empty for a model of one, and of earlier versions.
    sample_agreement
        How alike the samples of the method's own sources are. One whose samples are as good as equal is not
        in `sources`. Empty where not measured.
    default_samples, threshold
        Default number of samples, and threshold of the mean probability in (0, 1).
    temperature
        What the mean probability is calibrated with; None where it was not fitted.
    training_data, licence
        The data sets it was trained on, and what the weights may be used for.
    metrics
        Its measured performance.
    unjudged
        Why not all of its performance was measured, in words; empty where it was, or where nobody tried.
    reliability
        Calibration of its mean probability, at its temperature, against observed frequencies; None where not
        measured.
    temperature_fit
        What the temperature was fitted on, and what it gains; None where it was not fitted.
    volume_interval
        Calibration of the intervals of areas and volumes; None where not calibrated.
    fit
        What its training images were like, to tell whether another image is like them; None where not
        known.
    contour_band
        Inner and outer contours that enclose the true edge in most images; None where not calibrated.
    expected_dice
        The Dice to expect of a result, with a lower bound; None where not calibrated.
    bfloat16
        How much bfloat16 changes its results; None where not measured.
    intended_use, limits
        What it is for, and its known limitations, as text.
    files
        SHA-256 of every other file in its folder, by name.
    format
        Version of the card's format.

    Examples
    --------
    >>> from napari_latentseg import list_models
    >>> card = list_models()["breast-ultrasound"]
    >>> [segmented.name for segmented in card.classes], card.method_name
    (['lesion'], 'GMS')
    """

    _fields_shown: ClassVar[tuple[str, ...]] = ("name", "version", "method", "title")

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
    members: int = Field(1, ge=1, le=MAX_MEMBERS)
    member_parts: MemberParts = "all"
    member_dsc: tuple[float, ...] = ()
    sample_agreement: tuple[SampleAgreement, ...] = ()
    default_samples: int = Field(5, ge=1)
    threshold: float = Field(0.5, gt=0, lt=1)
    temperature: Temperature | None = None
    training_data: tuple[TrainingData, ...] = ()
    licence: str = ""
    metrics: tuple[MetricRecord, ...] = ()
    unjudged: str = ""
    reliability: Reliability | None = None
    temperature_fit: TemperatureFit | None = None
    volume_interval: VolumeInterval | None = None
    fit: FitReference | None = None
    contour_band: ContourBand | None = None
    expected_dice: ExpectedDice | None = None
    bfloat16: Bfloat16Check | None = None
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
                raise ValueError(f"{c.name} includes a class that does not exist")
        return classes

    @model_validator(mode="after")
    def _check_calibrated_classes(self) -> ModelCard:
        calibrated_classes: dict[str, set[str]] = {
            "volume_interval": set(self.volume_interval.factors) if self.volume_interval else set(),
            "contour_band": set(self.contour_band.classes) if self.contour_band else set(),
            "expected_dice": set(self.expected_dice.classes) if self.expected_dice else set(),
        }
        for field, names in calibrated_classes.items():
            if unknown := names - {c.name for c in self.classes}:
                raise ValueError(f"{field} has a factor for {sorted(unknown)[0]}, which is not a class")
        return self

    @model_validator(mode="after")
    def _check_members(self) -> ModelCard:
        for source in MEMBER_SOURCES:
            if source in self.sources and self.members < 2:
                raise ValueError(f"{source} is a sampling source, but the model has only one member")
        return self

    @property
    def raw_threshold(self) -> float:
        """The threshold of probabilities as the networks give them, before they are calibrated."""
        return (self.temperature or NO_TEMPERATURE).raw_threshold(self.threshold)

    @property
    def takes_prompts(self) -> bool:
        """Whether it segments what a person points at, and nothing without that."""
        return PROMPT_SOURCE in self.sources

    @property
    def headline_metrics(self) -> MetricRecord | None:
        """The metrics to show first: of an ensemble from the default sampling source, if measured."""
        default_source_metrics = [m for m in self.metrics if m.source == self.sources[0] and m.samples > 1]
        return next(iter([*default_source_metrics, *self.metrics]), None)

    @property
    def allows_bfloat16(self) -> bool:
        """Whether ``--precision auto`` may be bfloat16: it was shown to give the same masks."""
        return self.bfloat16 is not None and self.bfloat16.is_allowed

    @property
    def method_name(self) -> str:
        """The method as its paper spells it; its key for an unknown method."""
        return _METHOD_SPELLINGS.get(self.method, self.method)

    @property
    def method_title(self) -> str:
        """Name of the method to show; with deviations from the paper, as a variant."""
        deviations = self.deviations_from_paper
        return f"{self.method_name} variant ({deviations})" if deviations else self.method_name

    def write(self, path: Path) -> None:
        """Write as indented JSON."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        path.write_text(text + "\n", "utf-8")


def read_card(folder: Path) -> ModelCard:
    """Read the card of a model folder, without its weights.

    Raises
    ------
    BadInput
        If the folder has no card, or a field of it is not valid.
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
        # without access, or on a disk that is gone, there is nothing wrong with the file
        failure = system_failure(error) if isinstance(error, OSError) else None
        raise failure or BadInput(path, "cannot be read", "install the model again") from error
