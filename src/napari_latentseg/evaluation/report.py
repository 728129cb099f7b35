"""The result of scoring a model on annotated images; no torch is needed to read it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.evaluation.arrays import Empty
from napari_latentseg.evaluation.bootstrap import Interval
from napari_latentseg.evaluation.expected_dice import MISSED_DICE
from napari_latentseg.evaluation.intervals import Intervals
from napari_latentseg.evaluation.mean_calibration import MeanCalibration
from napari_latentseg.evaluation.objects import ObjectScores
from napari_latentseg.evaluation.readers import ReaderReport
from napari_latentseg.evaluation.scores import ClassMean, ImageScores

__all__ = [
    "EvaluatedModel",
    "EvaluationReport",
    "ImageResult",
    "LeftOut",
    "MeanScores",
    "PairedReport",
    "PairedScore",
    "PooledScores",
    "ProtocolReport",
    "ReconstructionReport",
    "SampleCountScores",
    "ScoreSpread",
    "StabilityReport",
]


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
    whole volume. `image_sha256` and `mask_sha256` are those of the image's content and of the reference in
    class numbers, by which another evaluation is known to be of the same; empty in earlier files.
    """

    name: str
    dsc: float
    iou: float
    hd95: float
    empty: Empty = ""
    classes: dict[str, ImageScores] = Field(default_factory=dict)
    image_sha256: str = ""
    mask_sha256: str = ""


class LeftOut(FrozenModel):
    """An image that could not be used, by the name of its file without the suffix, and why."""

    name: str
    reason: str


class PooledScores(FrozenModel):
    """Dice and IoU of the pixels of all images together, in [0, 1]; the mean over classes of several."""

    dsc: float
    iou: float


class ProtocolReport(FrozenModel):
    """The figures of a paper's protocol, see `napari_latentseg.evaluation.protocols.Protocol`.

    Attributes
    ----------
    name
        Of the protocol.
    size
        Side of the images that were scored, in pixels; None at the size of the files.
    precision
        Of the networks' arithmetic.
    aggregation
        Which of the figures is the paper's: ``"image"``, ``"pooled"`` or ``"class"``.
    mean
        Over images, or over classes where the aggregation is by class.
    pooled
        Over the pixels of all images.
    soft_dsc
        Mean Dice of the probabilities, without a threshold; None where the paper has none.
    classes
        The mean scores of each class over the images in which it was scored.
    empty
        How many masks were empty, by which: ``prediction``, ``truth``, ``both``.
    """

    name: str
    size: int | None
    precision: str
    aggregation: Literal["image", "pooled", "class"]
    mean: MeanScores
    pooled: PooledScores
    soft_dsc: float | None = None
    classes: dict[str, ClassMean] = Field(default_factory=dict)
    empty: dict[str, int] = Field(default_factory=dict)


class SampleCountScores(FrozenModel):
    """The mean scores where only the first `samples` samples of each image are averaged."""

    samples: int
    dsc: float
    iou: float
    hd95: float


class StabilityReport(FrozenModel):
    """How alike the samples of an image are: each against the first, as SDSeg's Table 5 has it.

    Attributes
    ----------
    pairs
        Pairs of slices that were compared.
    skipped
        Pairs left out because one of the two masks is empty.
    identical
        Pairs with equal masks; they have no finite PSNR and do not count in `mask_psnr`.
    mask_psnr, mask_ssim
        Of the binary masks; PSNR in dB, SSIM up to 1. None where no pair has a value.
    probability_psnr, probability_ssim
        Of the probability maps.
    """

    pairs: int
    skipped: int
    identical: int
    mask_psnr: float | None
    mask_ssim: float | None
    probability_psnr: float | None
    probability_ssim: float | None


class PairedScore(FrozenModel):
    """The differences of one score between two models on the same images.

    Attributes
    ----------
    images
        How many count.
    mean_difference, interval
        The mean of model minus other model, and its bootstrapped 95 % interval; None for a single image.
    p_value
        Of the Wilcoxon signed-rank test, two-sided; None where no image differs.
    better, worse, equal
        In how many images the model is better than the other, worse, or equal.
    """

    images: int
    mean_difference: float
    interval: Interval | None = None
    p_value: float | None = None
    better: int
    worse: int
    equal: int


class PairedReport(FrozenModel):
    """The model beside another one on the same images.

    Attributes
    ----------
    against, against_mean
        The other model, and its mean scores.
    samples, source, threshold, precision
        Its settings.
    training_count, validation_count
        How many of the images it was trained on, and how many it was validated on.
    unit, units
        What is resampled and tested: images, or patients with all of theirs.
    dsc, iou, hd95
        The differences; for HD95 a negative one is better.
    classes
        The differences of Dice by class, of models with several: the images count that have the class in the
        reference or in a prediction of either model.
    against_dsc
        The other model's Dice of each image, in the order of `EvaluationReport.images`.
    """

    against: EvaluatedModel
    against_mean: MeanScores
    samples: int
    source: str
    threshold: float
    precision: str
    training_count: int = Field(serialization_alias="trained_on")
    validation_count: int = Field(serialization_alias="kept_apart")
    unit: Literal["image", "patient"] = "image"
    units: int
    dsc: PairedScore
    iou: PairedScore
    hd95: PairedScore
    classes: dict[str, PairedScore] = Field(default_factory=dict)
    against_dsc: tuple[float, ...]


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
        How many of them were validation images in training, so that weights, threshold or
        calibration may have been chosen by them.
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
    protocol
        The figures of the paper's protocol that was asked for; `mean`, `std` and `images` are by it too.
    by_samples
        The scores with fewer samples, from the same run.
    stability
        How alike the samples are, where that was asked for.
    readers
        How far the samples agree with the masks of several readers, where these were given.
    objects
        How well the objects of each class are found, where that was asked for.
    subset
        Which part of a list of images was scored, such as ``"test"``; empty without a list.
    precision, engine
        Of the networks' arithmetic, and what computed them.
    median
        The median scores over the images.
    intervals
        The bootstrapped 95 % intervals of `mean`, `median` and `classes`; None for a single image.
    calibration
        How reliable the mean probabilities are; None unless a page was written.
    paired
        The model beside another one, where that was asked for.

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
    protocol: ProtocolReport | None = None
    by_samples: tuple[SampleCountScores, ...] = ()
    stability: StabilityReport | None = None
    readers: ReaderReport | None = None
    objects: dict[str, ObjectScores] = Field(default_factory=dict)
    subset: str = ""
    precision: str = "float32"
    engine: str = ""
    median: MeanScores | None = None
    intervals: Intervals | None = None
    calibration: MeanCalibration | None = None
    paired: PairedReport | None = None

    @property
    def missed_count(self) -> int:
        """In how many images the mask is missing or in the wrong place: their Dice is below `MISSED_DICE`."""
        return sum(image.dsc < MISSED_DICE for image in self.images)

    def to_json(self) -> dict[str, Any]:
        """The report with the keys of the JSON file that ``evaluate --out`` writes."""
        optional = (
            "empty",
            "left_out",
            "classes",
            "protocol",
            "by_samples",
            "stability",
            "readers",
            "objects",
            "subset",
            "engine",
            "median",
            "intervals",
            "calibration",
            "paired",
        )
        without = {name for name in optional if not getattr(self, name)}
        if self.precision == "float32":
            without.add("precision")  # what it has always been
        report: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude=without)
        for image in report["images"]:
            for name in ("classes", "image_sha256", "mask_sha256"):
                if not image[name]:
                    del image[name]
        return report


class ReconstructionReport(FrozenModel):
    """What is left of images and masks that a model's autoencoders encode and decode; frozen.

    It bounds what the model can reach: no mask can be predicted better than it is decoded.

    Attributes
    ----------
    model
        The model whose autoencoders were used.
    slice_count, mask_count
        Slices, and masks of a class that were not empty; the means are over these.
    image_psnr, image_ssim
        Of the decoded images, PSNR in dB (None where all are reproduced exactly) and SSIM up to 1.
    mask_dsc, mask_iou
        Of the decoded masks, cut at 0.5; None where no mask holds anything.
    mask_psnr, mask_ssim
        Of the decoded probabilities.
    left_out
        The images that could not be used.

    Examples
    --------
    >>> from napari_latentseg import evaluate_reconstruction
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> report = evaluate_reconstruction("breast-ultrasound", write_annotated_phantoms("phantoms", 2))
    >>> report.slice_count, report.mask_dsc > 0.9
    (2, True)
    """

    _fields_shown: ClassVar[tuple[str, ...]] = ("model", "slice_count", "image_psnr", "mask_dsc")

    model: EvaluatedModel
    slice_count: int
    mask_count: int
    image_psnr: float | None
    image_ssim: float
    mask_dsc: float | None
    mask_iou: float | None
    mask_psnr: float | None
    mask_ssim: float | None
    left_out: tuple[LeftOut, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as the command line writes it."""
        return self.model_dump(mode="json", exclude=set() if self.left_out else {"left_out"})

    def rows(self) -> list[tuple[str, ...]]:
        """A table in words, as MedSegLatDiff's Table I."""

        def text(value: float | None, digits: int) -> str:
            return "" if value is None else f"{value:.{digits}f}"

        return [
            ("", "count", "Dice", "IoU", "SSIM", "PSNR (dB)"),
            ("images", str(self.slice_count), "", "", text(self.image_ssim, 4), text(self.image_psnr, 1)),
            (
                "masks", str(self.mask_count), text(self.mask_dsc, 4), text(self.mask_iou, 4),
                text(self.mask_ssim, 4), text(self.mask_psnr, 1),
            ),
        ]  # fmt: skip
