"""The result of scoring a model on annotated images; no torch is needed to read it."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.evaluation.arrays import Empty
from napari_latentseg.evaluation.scores import ClassMean, ImageScores

__all__ = ["EvaluatedModel", "EvaluationReport", "ImageResult", "LeftOut", "MeanScores", "ScoreSpread"]


class EvaluatedModel(FrozenModel):
    """The model that was scored: name, version, and its method as it may be called."""

    name: str
    version: str
    method: str


class MeanScores(FrozenModel):
    """Means over images: `dsc` and `iou` in [0, 1], `hd95` in pixels."""

    dsc: float
    iou: float
    hd95: float


class ScoreSpread(FrozenModel):
    """Standard deviations over images (n - 1), in the units of `MeanScores`; None for a single image."""

    dsc: float | None
    iou: float | None
    hd95: float | None


class ImageResult(FrozenModel):
    """The scores of one image, by the name of its file without the suffix.

    `empty` says which mask is empty: ``"prediction"``, ``"truth"``, ``"both"``, or ``""`` for neither.
    `classes` holds the scores of each annotated class, of a model with several; those of a volume are of the
    whole volume.
    """

    name: str
    dsc: float
    iou: float
    hd95: float
    empty: Empty = ""
    classes: dict[str, ImageScores] = Field(default_factory=dict)


class LeftOut(FrozenModel):
    """An image that could not be used, by the name of its file without the suffix, and why."""

    name: str
    reason: str


class EvaluationReport(FrozenModel):
    """The scores of a model on annotated images; frozen.

    Attributes
    ----------
    model
        The model that was scored.
    mean, std
        Mean and standard deviation over the images.
    empty
        How many images have an empty mask, by which mask is empty: ``prediction``, ``truth``, ``both``. None
        for a model with several classes.
    image_count
        The number of images.
    training_count
        How many of them the model was trained on: the scores are too high by them.
    validation_count
        How many of them were validation images in training, so that the weights may have been chosen by them.
    samples, source, seed, threshold
        The settings: samples drawn per image, their source, the seed, and the probability threshold.
    conventions
        How the scores are defined, in plain words.
    images
        The scores of each image.
    left_out
        The images that could not be used; nothing above counts them.
    classes
        The mean scores of each class, of a model with several; see
        `napari_latentseg.evaluation.scores.class_means`. A class that is in no image is not there.

    Examples
    --------
    >>> from napari_latentseg import evaluate
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> report = evaluate("breast-ultrasound", write_annotated_phantoms("phantoms", 2), source="none")
    >>> [image.name for image in report.images], report.image_count
    (['phantom_0', 'phantom_1'], 2)
    >>> 0 < report.mean.iou < report.mean.dsc < 1
    True
    """

    _fields_shown: ClassVar[tuple[str, ...]] = ("model", "image_count", "samples", "source", "mean")

    model: EvaluatedModel
    mean: MeanScores
    std: ScoreSpread
    empty: dict[str, int] | None = None
    image_count: int = Field(serialization_alias="count")
    training_count: int = Field(serialization_alias="trained_on")
    validation_count: int = Field(serialization_alias="kept_apart")
    samples: int
    source: str
    seed: int
    threshold: float
    conventions: dict[str, str]
    images: tuple[ImageResult, ...]
    left_out: tuple[LeftOut, ...] = ()
    classes: dict[str, ClassMean] = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report with the keys of the JSON file that ``evaluate --out`` writes."""
        without = {name for name in ("empty", "left_out", "classes") if not getattr(self, name)}
        report: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude=without)
        for image in report["images"]:
            if not image["classes"]:
                del image["classes"]
        return report
