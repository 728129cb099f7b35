"""Calibration of a model on annotated images: of its mean probabilities, and of its volumes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.labels import class_region
from napari_latentseg.core.percent import percent
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.cases import UNKNOWN_CLASS, Case
from napari_latentseg.data.held_reads import HeldReads
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bfloat16_check import Bfloat16Check
from napari_latentseg.evaluation.calibration import (
    MIN_SAMPLES,
    Reliability,
    ReliabilityAccumulator,
    VolumeInterval,
    min_cases,
)
from napari_latentseg.evaluation.case_figures import CaseFigures, case_figures
from napari_latentseg.evaluation.contour_band import ContourBand
from napari_latentseg.evaluation.expected_dice import ExpectedDice
from napari_latentseg.evaluation.report import LeftOut
from napari_latentseg.inference.bfloat16 import Bfloat16Comparison
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.reference_masks import check_shape, label_map_for
from napari_latentseg.inference.segment_each import segment_each
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.measure.interval_basis import image_dimensions
from napari_latentseg.models.split import Split

__all__ = ["Calibration"]


@dataclass
class Calibration:
    """Calibration of a model on annotated images that it was not trained on.

    Parameters
    ----------
    predictor
        The model.
    settings
        Samples (three or more), sampling source, threshold.
    cases
        Images with their reference masks, as for `Evaluation`.
    split
        Training and validation images of the model. None of `cases` may be a training image.

    Attributes
    ----------
    left_out
        The images that could not be used, and why; they are no longer in `cases`.
    image_hashes
        `Scan.content_sha256` of each image, in the order of `cases`.
    sample_voxel_counts
        Voxels of each class in each sample, `(cases, n, K)`.
    reference_voxel_counts
        Voxels of each class in each reference mask, `(cases, K)`; NaN where a class is not annotated. As in a
        sample, no voxel counts for two classes.
    case_figures
        For each image what it says about each class, in the order of `cases`; None where the class is not
        annotated, or neither in the mask nor in the reference.
    bfloat16
        How much bfloat16 changes the results; None before `run` is done, and where the predictor does not
        compute in float32 or the hardware does not multiply bfloat16 natively.

    Raises
    ------
    BadInput
        If there are fewer than three samples or no images, or if an image was trained on.
    """

    predictor: Predictor
    settings: InferenceSettings
    cases: Sequence[Case]
    split: Split = field(default_factory=Split)
    left_out: list[LeftOut] = field(init=False, default_factory=list)
    image_hashes: list[str] = field(init=False, default_factory=list)
    sample_voxel_counts: NDArray[np.float64] = field(init=False)
    reference_voxel_counts: NDArray[np.float64] = field(init=False)
    case_figures: list[list[CaseFigures | None]] = field(init=False, default_factory=list)
    bfloat16: Bfloat16Check | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.settings.source == "none" or self.settings.samples < MIN_SAMPLES:
            raise BadInput(
                "samples",
                f"{self.settings.samples} from {self.settings.source!r} are too few to measure their spread",
                f"draw {MIN_SAMPLES} or more from a sampling source",
            )
        if not self.cases:
            raise BadInput("data", "holds no annotated image", "give images with reference masks")
        self._reference_readers: list[Callable[[], NDArray[np.uint8]]] = []
        self.cases = self._usable_cases()
        self.image_hashes = [case.content_sha256 for case in self.cases]
        self._parts = [self.split.part_of(case) for case in self.cases]
        trained_count = self._parts.count("train")
        if trained_count:
            raise BadInput(
                "data",
                f"{trained_count} of the {len(self.image_hashes)} images were used to train the model, so the"
                " result would look too good",
                "leave them out (--subset validation takes its validation images)",
            )
        classes = len(self.predictor.model.card.classes)
        self.sample_voxel_counts = np.zeros((len(self.cases), self.settings.samples, classes))
        self.reference_voxel_counts = np.full((len(self.cases), classes), np.nan)
        self._reliability_accumulator = ReliabilityAccumulator()
        self._dimensions: set[Literal[2, 3]] = set()

    def _usable_cases(self) -> list[Case]:
        """The images that can be read and have a mask that fits; the others are left out.

        All are read for it, so that what cannot be used is known before the hours that the samples take, and
        held for the samples as far as there is room.
        """
        usable, first_error, held = [], None, HeldReads()
        for case in self.cases:
            try:
                read_reference = partial(
                    case.read_class_numbers, label_map_for(self.predictor.model.card, case)
                )
                reference, scan = read_reference(), case.read_scan()
                check_shape(case, reference, scan)
                usable.append(held.hold_image(case, scan))
                self._reference_readers.append(held.hold(reference, reference.nbytes, read_reference))
            except BadInput as error:
                first_error = first_error or error
                self.left_out.append(LeftOut(name=case.name, reason=str(error)))
        if first_error is not None and not usable:
            raise first_error
        return usable

    def run(self) -> Iterator[float]:
        """Segment image after image, and collect probabilities and volumes.

        Yields
        ------
        float
            Fraction of the images that are done, in (0, 1].

        Raises
        ------
        BadInput
            If an image can no longer be read.
        """
        card = self.predictor.model.card
        settings = self.settings.replace(keep_samples=False)  # their volumes are counted as they are drawn
        read_scans = ((number, case.read_scan()) for number, case in enumerate(self.cases))
        scans = (((number, scan), scan) for number, scan in read_scans)
        comparison = Bfloat16Comparison(self.predictor, settings)
        total = len(self.cases) + comparison.image_count(len(self.cases))
        for (number, scan), segmentation in segment_each(self.predictor, scans, settings):
            if isinstance(segmentation, BadInput):
                raise segmentation
            label_map = label_map_for(card, self.cases[number])
            self._accumulate(number, segmentation, self._reference_readers[number](), label_map)
            comparison.keep(scan, segmentation)
            yield (number + 1) / total
        done = len(self.cases)
        for _ in comparison.run():
            done += 1
            yield done / total
        self.bfloat16 = comparison.check()
        if done < total:
            yield 1.0

    def _accumulate(
        self, number: int, segmentation: Segmentation, reference: NDArray[np.uint8], label_map: LabelMap
    ) -> None:
        """Add an image: voxel counts of samples and reference, and its mean probabilities plane by plane."""
        self._dimensions.add(image_dimensions(segmentation))
        voxel_volume, _ = segmentation.geometry.voxel_volume
        self.sample_voxel_counts[number] = np.round(segmentation.volumes / voxel_volume)
        annotated = np.array(label_map.annotated)
        is_known = reference != UNKNOWN_CLASS
        is_whole = bool(is_known.all())  # of a part nobody knows the volume
        if is_whole:
            voxel_counts = np.bincount(reference.ravel(), minlength=len(annotated) + 1)[1:]
            self.reference_voxel_counts[number, annotated] = voxel_counts[annotated]
        means = segmentation.mean.reshape(len(annotated), *reference.shape)
        no_figures: list[CaseFigures | None] = [None] * len(annotated)
        figures = self._figures(segmentation, reference, label_map) if is_whole else no_figures
        self.case_figures.append(figures)
        for plane, class_numbers in enumerate(reference):
            for k, class_mask in enumerate(label_map.iter_class_masks(class_numbers)):
                if annotated[k]:
                    known = is_known[plane]
                    mean = np.asarray(means[k, plane])
                    self._reliability_accumulator.add(mean[known], class_mask[known])

    def _figures(
        self, segmentation: Segmentation, reference: NDArray[np.uint8], label_map: LabelMap
    ) -> list[CaseFigures | None]:
        classes = self.predictor.model.card.classes
        figures: list[CaseFigures | None] = [None] * len(classes)
        if "t" in segmentation.geometry.axis_labels:  # a distance over time is no distance
            return figures
        reference_masks = label_map.iter_class_masks(reference.reshape(segmentation.mask.shape))
        for k, reference_mask in enumerate(reference_masks):
            if label_map.annotated[k]:
                region = class_region(segmentation.mask, k, classes)
                spacing = segmentation.geometry.spacing
                figures[k] = case_figures(segmentation.mean[k], region, reference_mask, spacing)
        return figures

    def reliability(self) -> Reliability:
        """Reliability of the mean probabilities over all images; nothing is fitted."""
        return self._reliability_accumulator.reliability(
            images=len(self.cases),
            samples=self.settings.samples,
            source=self.settings.source,
            data=self._data_description(len(self.cases)),
        )

    def fit_and_test_indices(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Split the images into halves: indices to fit on, and indices to test on.

        The split depends on nothing but the hashes of the image files, so that the interval on a card can be
        reproduced from the same files. Images with equal content are on the same side: their group is drawn
        by its smallest file hash.
        """
        files: dict[str, str] = {}
        for key, case in zip(self.image_hashes, self.cases, strict=True):
            files[key] = min(case.split_key, files.get(key, case.split_key))
        digests = [hashlib.sha256(f"halves:{files[key]}".encode()).hexdigest() for key in self.image_hashes]
        order = sorted(set(digests))
        fit_digests = set(order[: (len(order) + 1) // 2])
        is_fit = np.array([digest in fit_digests for digest in digests])
        return np.flatnonzero(is_fit), np.flatnonzero(~is_fit)

    def volume_interval(self, level: float = 0.9) -> VolumeInterval:
        """An interval for volumes, fitted on one half of the images and tested on the other.

        Parameters
        ----------
        level
            How often the interval should contain the reference, in (0, 1).

        Raises
        ------
        BadInput
            If a half has too few images for this level.
        """
        names = [c.name for c in self.predictor.model.card.classes]
        fit, test = self.fit_and_test_indices()
        required = min_cases(level)
        if len(fit) < required:
            raise BadInput(
                "cases",
                f"are {len(self.cases)}, half of them to fit on;"
                f" an interval of {percent(level)} needs {required}",
                "give more annotated images",
            )
        fitted = VolumeInterval.fit(
            names,
            self.sample_voxel_counts[fit],
            self.reference_voxel_counts[fit],
            level=level,
            samples=self.settings.samples,
            source=self.settings.source,
            threshold=self.settings.threshold,
            dimensions=next(iter(self._dimensions)) if len(self._dimensions) == 1 else None,
            precisions=self._precisions(),
            data=self._data_description(len(fit)),
        )
        return fitted.with_coverage(names, self.sample_voxel_counts[test], self.reference_voxel_counts[test])

    def contour_band(self, level: float = 0.9) -> ContourBand:
        """Inner and outer contours, fitted on all images and tested by leaving each out.

        Parameters
        ----------
        level
            In which fraction of images the true edge should lie between them, in (0, 1).

        Raises
        ------
        BadInput
            If there are too few images.
        """
        names = [c.name for c in self.predictor.model.card.classes]
        return ContourBand.fit(names, self.case_figures, self.image_hashes, level=level, **self._conditions())

    def expected_dice(self, level: float = 0.9) -> ExpectedDice:
        """The Dice to expect of a result, fitted on all images and tested by leaving each out.

        Parameters
        ----------
        level
            How often the Dice should be at least the lower bound, in (0, 1).

        Raises
        ------
        BadInput
            If there are too few images.
        """
        names = [c.name for c in self.predictor.model.card.classes]
        return ExpectedDice.fit(
            names, self.case_figures, self.image_hashes, level=level, **self._conditions()
        )

    def _conditions(self) -> dict[str, Any]:
        """What the figures of the card hold for."""
        return {
            "samples": self.settings.samples,
            "source": self.settings.source,
            "threshold": self.settings.threshold,
            "dimensions": next(iter(self._dimensions)) if len(self._dimensions) == 1 else None,
            "precisions": self._precisions(),
            "data": self._data_description(len(self.cases)),
        }

    def _precisions(self) -> tuple[str, ...]:
        """The precision of the results, and bfloat16 where it was shown to give the same."""
        if self.bfloat16 is not None and self.bfloat16.is_allowed:
            return ("bfloat16", "float32")
        return (self.predictor.compute.precision,)

    def _data_description(self, count: int) -> str:
        sets = self.predictor.model.card.training_data
        if len(sets) == 1 and set(self._parts) == {"validation"}:
            return f"{count} validation images of {sets[0].name}"
        provenance = (
            "never trained on" if self.split.is_known else "the model does not say what it was trained on"
        )
        return f"{count} images, {provenance}"
