"""Scores of a model on annotated images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.cases import UNKNOWN_CLASS, Case
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.arrays import Mask
from napari_latentseg.evaluation.metrics import CONVENTIONS
from napari_latentseg.evaluation.objects import (
    OBJECT_CONVENTIONS,
    ObjectCounts,
    match_objects,
    summarise_objects,
)
from napari_latentseg.evaluation.protocols import Protocol, ProtocolScores
from napari_latentseg.evaluation.readers import READER_CONVENTIONS
from napari_latentseg.evaluation.report import (
    EvaluatedModel,
    EvaluationReport,
    LeftOut,
    MeanScores,
    SampleCountScores,
    ScoreSpread,
)
from napari_latentseg.evaluation.scores import (
    ImageScores,
    class_means,
    mean_of_classes,
    score,
)
from napari_latentseg.evaluation.stability import StabilityScores
from napari_latentseg.inference.evaluation_calibration import EvaluationCalibration
from napari_latentseg.inference.evaluation_summary import (
    image_results,
    mean_scores,
    metric_record,
    summarise_images,
)
from napari_latentseg.inference.fewer_samples import masks_of_first_samples
from napari_latentseg.inference.mask_content import MaskContent
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.protocol_size import at_size, protocol_size
from napari_latentseg.inference.reader_scores import ReaderScores
from napari_latentseg.inference.reference_masks import ReferenceMasks, read_reference_masks
from napari_latentseg.inference.segment_each import segment_each
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.card import MetricRecord
from napari_latentseg.models.split import Split

__all__ = ["Evaluation"]


@dataclass
class Evaluation:
    """Scores of a model on images with reference masks, at the size of the files or of a paper's protocol.

    Parameters
    ----------
    predictor
        The model.
    settings
        Samples, sampling source, threshold.
    cases
        Images with their reference masks. For a model with one class, every nonzero value of a mask is the
        class. For several classes, a mask has the labels of the model, or those of a training data set whose
        labels the card lists.
        Where they have masks of several readers, samples are compared with these too, see `ReaderScores`.
    split
        Training and validation images of the model, to report how many of these images it has seen.
    protocol
        The protocol of a paper; None for the conventions of this package.
    sample_counts
        Fewer numbers of samples whose scores are reported too, from the same run.
    with_stability
        Whether the samples of each image are compared with each other.
    with_calibration
        Whether the mean probabilities are compared with the reference masks too.
    with_objects
        Whether the objects of the masks are matched too, see `match_objects`.
    on_sample
        Called when a sample of a slice was drawn; what it raises ends the evaluation.
    on_scored
        Called for each image that was scored with its case, its scores, its reference mask in class numbers
        and the segmentation, which have the same shape.

    Attributes
    ----------
    scores
        One for each image that could be used, in the order of `cases`. Several classes are averaged, over
        those that the reference annotates and that are in the reference or in the prediction.
    class_scores
        Of each of these images, the scores of every annotated class by its name.
    scored_cases
        The images of `scores`.
    left_out
        The images that could not be used, and why.
    sample_count
        How many samples of slices were drawn so far, of all images together.
    mask_content
        What the reference masks of these images hold.
    training_image_count, validation_image_count
        How many of the images scored so far the model was trained on, and how many were its validation
        images.
    """

    predictor: Predictor
    settings: InferenceSettings
    cases: Sequence[Case]
    split: Split = field(default_factory=Split)
    protocol: Protocol | None = None
    sample_counts: tuple[int, ...] = ()
    with_stability: bool = False
    with_calibration: bool = False
    with_objects: bool = False
    on_sample: Callable[[], None] = lambda: None
    on_scored: Callable[[Case, ImageScores, NDArray[np.uint8], Segmentation], None] = lambda *_: None
    scores: list[ImageScores] = field(init=False, default_factory=list)
    class_scores: list[dict[str, ImageScores]] = field(init=False, default_factory=list)
    scored_cases: list[Case] = field(init=False, default_factory=list)
    left_out: list[LeftOut] = field(init=False, default_factory=list)
    sample_count: int = field(init=False, default=0)
    training_image_count: int = field(init=False, default=0)
    validation_image_count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        card = self.predictor.model.card
        self._size = protocol_size(self.protocol, card) if self.protocol else None
        self._tally = self._new_tally()
        self._scores_by_count: dict[int, list[ImageScores]] = {n: [] for n in self.sample_counts}
        self._stability = StabilityScores(self.settings.sample_threshold) if self.with_stability else None
        self._calibration = EvaluationCalibration(card.classes) if self.with_calibration else None
        self.mask_content = MaskContent()
        self._object_counts: list[dict[str, ObjectCounts]] = []
        self._engine = ""
        has_readers = any(case.reader_mask_files for case in self.cases)
        self._readers = ReaderScores(card, self.settings.sample_threshold) if has_readers else None

    def _new_tally(self) -> ProtocolScores | None:
        names = [c.name for c in self.predictor.model.card.classes]
        return ProtocolScores(self.protocol, names) if self.protocol else None

    def run(self) -> Iterator[float]:
        """Score image after image; one that cannot be used is left out, and the others are scored.

        Yields
        ------
        float
            Fraction of the images that are done, in (0, 1].

        Raises
        ------
        BadInput
            If no image can be used; the reason is that of the first.
        """
        first_error: BadInput | None = None
        needs_samples = bool(self.sample_counts or self.with_stability or self._readers)
        settings = self.settings.replace(keep_samples=needs_samples)  # else only the mask is scored
        results = segment_each(self.predictor, self._read(), settings, self._count_sample)
        for number, (case_masks, result) in enumerate(results):
            if isinstance(result, BadInput):
                first_error = first_error or result
                self.left_out.append(LeftOut(name=case_masks.case.name, reason=str(result)))
            else:
                self._score_case(case_masks, result)
            yield (number + 1) / len(self.cases)
        if first_error is not None and not self.scores:
            raise first_error

    def _count_sample(self) -> None:
        self.sample_count += 1
        self.on_sample()

    def _read(self) -> Iterator[tuple[ReferenceMasks, Scan | BadInput]]:
        """Each image with its mask, or what is wrong with them; the networks compute the one before."""
        for case in self.cases:
            try:
                yield self._read_case(case)
            except BadInput as error:
                yield ReferenceMasks(case), error

    def _read_case(self, case: Case) -> tuple[ReferenceMasks, Scan]:
        """An image with its masks; raises `BadInput` for one that cannot be scored."""
        masks, scan = read_reference_masks(case, self.predictor.model.card)
        assert masks.reference is not None
        if self.protocol is not None:
            is_volume = len(scan.spatial_axes) > 2
            self.protocol.check_dimensions(case.file_name, len(masks.reference), is_volume=is_volume)
        if self._size is not None:
            window = self.predictor.model.card.preprocess.window
            scan, reference = at_size(scan, masks.reference, self._size, window)
            masks = replace(masks, reference=reference)
        return masks, scan

    def segment_again(self, case: Case) -> tuple[Scan, NDArray[np.uint8], Segmentation]:
        """One image as it was scored, its reference mask in class numbers, and its result.

        Raises
        ------
        BadInput
            If it can no longer be read.
        """
        case_masks, scan = self._read_case(case)
        assert case_masks.reference is not None
        result = self.predictor.segment(scan, self.settings.replace(keep_samples=False))
        return scan, case_masks.reference.reshape(result.mask.shape), result

    def _score_case(self, case_masks: ReferenceMasks, segmentation: Segmentation) -> None:
        assert case_masks.reference is not None
        assert case_masks.label_map is not None
        reference = case_masks.reference.reshape(segmentation.mask.shape)
        means = np.asarray(segmentation.mean) if self.protocol and self.protocol.has_soft_dice else None
        class_scores = self._score_classes(
            segmentation.mask, reference, case_masks.label_map, self._tally, means
        )
        if not class_scores:
            reason = f"{case_masks.case.file_name}: holds no class of the model that can be scored"
            self.left_out.append(LeftOut(name=case_masks.case.name, reason=reason))
            return
        self._engine = segmentation.record.engine
        self.mask_content.add(case_masks.case, reference, case_masks.mask_sha256)
        self.class_scores.append(class_scores)
        if self.with_objects:
            masks = self._class_masks(segmentation.mask, reference, case_masks.label_map)
            self._object_counts.append({name: match_objects(p, r) for _, name, p, r in masks})
        self.scores.append(self._mean_of(class_scores))
        self.scored_cases.append(case_masks.case)
        part = self.split.part_of(case_masks.case)
        self.training_image_count += part == "train"
        self.validation_image_count += part == "validation"
        self._compare_samples(case_masks, segmentation, reference)
        self.on_scored(case_masks.case, self.scores[-1], reference, segmentation)
        if self._calibration is not None:
            self._calibration.add(segmentation, reference, case_masks.label_map)

    def _compare_samples(
        self, case_masks: ReferenceMasks, segmentation: Segmentation, reference: NDArray[np.uint8]
    ) -> None:
        """The scores with fewer samples, how alike the samples are, and how like the readers' masks."""
        if not (self.sample_counts or self._stability or self._readers):
            return
        maps = segmentation.sample_maps
        if maps is None or not maps.is_complete:
            why = "its samples do not fit into memory, so they cannot be compared"
            raise BadInput(case_masks.case.file_name, why, "evaluate smaller images, or fewer samples")
        assert case_masks.label_map is not None
        masks = masks_of_first_samples(segmentation, self.sample_counts, self.settings.sample_threshold)
        for count, mask in masks:
            class_scores = self._score_classes(mask, reference, case_masks.label_map, self._new_tally())
            self._scores_by_count[count].append(self._mean_of(class_scores))
        if self._stability is not None:
            for number in range(len(maps)):
                self._stability.add(maps.plane_samples(number))
        if self._readers is not None:
            self._readers.add(case_masks.case.name, segmentation, case_masks.readers, case_masks.label_map)

    def _mean_of(self, class_scores: dict[str, ImageScores]) -> ImageScores:
        """The scores of an image with those of its classes."""
        is_single = len(self.predictor.model.card.classes) == 1
        return next(iter(class_scores.values())) if is_single else mean_of_classes(class_scores)

    def _score_classes(
        self,
        prediction: NDArray[np.uint8],
        reference: NDArray[np.uint8],
        label_map: LabelMap,
        tally: ProtocolScores | None,
        means: NDArray[np.float32] | None = None,
    ) -> dict[str, ImageScores]:
        """The scores of each class that the reference annotates, by its name.

        Those that the protocol leaves out are not there. `means` are the probabilities of the classes.
        """
        class_scores: dict[str, ImageScores] = {}
        for k, name, predicted, referenced in self._class_masks(prediction, reference, label_map):
            if tally is None:
                class_scores[name] = score(predicted, referenced)
            elif scored := tally.add(k, predicted, referenced, None if means is None else means[k]):
                class_scores[name] = scored
        return class_scores

    def _class_masks(
        self, prediction: NDArray[np.uint8], reference: NDArray[np.uint8], label_map: LabelMap
    ) -> Iterator[tuple[int, str, Mask, Mask]]:
        """Number, name, predicted and reference mask of each class that the reference annotates."""
        classes = self.predictor.model.card.classes
        class_numbers = LabelMap.for_model(classes).to_class_numbers(prediction)
        class_numbers[reference == UNKNOWN_CLASS] = 0  # as in the reference: nothing is scored there
        masks = zip(
            label_map.iter_class_masks(class_numbers), label_map.iter_class_masks(reference), strict=True
        )
        for k, (info, (predicted, referenced)) in enumerate(zip(classes, masks, strict=True)):
            if label_map.annotated[k]:
                yield k, info.name, predicted, referenced

    def report(self) -> EvaluationReport:
        """Mean, spread, the scores of each image, and the conventions.

        Raises
        ------
        BadInput
            If no image was scored.
        """
        card = self.predictor.model.card
        mean, std, empty = summarise_images(
            self.scores, has_plain_scores=len(card.classes) == 1 and self.protocol is None
        )
        is_multiclass = len(card.classes) > 1
        precision = self.predictor.compute.precision
        conventions = dict(CONVENTIONS) | {"size": "at the size of the image files", "hd95_unit": "pixel"}
        protocol_report = None
        if self._tally is not None:
            protocol_report = self._tally.report(self._size, precision)
            mean = protocol_report.mean.model_dump()
            conventions = self._tally.protocol.conventions(self._size)
        if self._readers is not None:
            conventions = conventions | READER_CONVENTIONS
        if self.with_objects:
            conventions = conventions | OBJECT_CONVENTIONS
        return EvaluationReport(
            model=EvaluatedModel(name=card.name, version=card.version, method=card.method_title),
            mean=MeanScores(**mean),
            std=ScoreSpread(**std),
            empty=empty,
            image_count=len(self.scores),
            training_count=self.training_image_count,
            validation_count=self.validation_image_count,
            samples=self.settings.samples,
            source=self.settings.source,
            seed=self.settings.seed,
            threshold=self.settings.threshold,
            conventions=conventions,
            images=image_results(
                self.scored_cases,
                self.scores,
                self.class_scores if is_multiclass else None,
                self.mask_content.hashes,
            ),
            left_out=tuple(self.left_out),
            classes=class_means(self.class_scores) if is_multiclass else {},
            protocol=protocol_report,
            by_samples=tuple(
                SampleCountScores(samples=count, **mean_scores(scores))
                for count, scores in self._scores_by_count.items()
            ),
            stability=None if self._stability is None else self._stability.report(),
            readers=None if self._readers is None else self._readers.report(),
            objects=summarise_objects(self._object_counts),
            precision=precision,
            engine=self._engine,
            calibration=None
            if self._calibration is None
            else self._calibration.report(self.scores, self.settings),
        )

    def record(self, data: str) -> MetricRecord:
        """The mean scores for a model card.

        Parameters
        ----------
        data
            Name of the data set.
        """
        return metric_record(self.report(), self.settings, data)
