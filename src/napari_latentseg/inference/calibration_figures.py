"""The figures of a calibration, collected image by image from results and reference masks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo, with_parts
from napari_latentseg.core.labels import class_region
from napari_latentseg.core.percent import percent
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.core.temperature import NO_TEMPERATURE, Temperature
from napari_latentseg.data.cases import UNKNOWN_CLASS, Case
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bfloat16_check import Bfloat16Check
from napari_latentseg.evaluation.calibration import MIN_SAMPLES, VolumeInterval, min_cases
from napari_latentseg.evaluation.case_figures import CaseFigures, case_figures
from napari_latentseg.evaluation.contour_band import ContourBand
from napari_latentseg.evaluation.expected_dice import ExpectedDice
from napari_latentseg.evaluation.mean_histogram import MeanHistogram
from napari_latentseg.evaluation.reliability import Reliability, ReliabilityAccumulator
from napari_latentseg.evaluation.temperature_fit import TemperatureFit, fit_temperature
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.measure.interval_basis import image_dimensions
from napari_latentseg.models.card import TrainingData
from napari_latentseg.models.split import Split

__all__ = ["CalibrationFigures", "check_sample_count", "uncalibrated"]


def uncalibrated(settings: InferenceSettings) -> InferenceSettings:
    """The same settings with the mean as the model gives it, and the threshold of the same masks."""
    return settings.replace(threshold=settings.sample_threshold, temperature=NO_TEMPERATURE)


def check_sample_count(settings: InferenceSettings) -> None:
    """Refuse settings whose samples have no spread.

    Raises
    ------
    BadInput
        If there are fewer than three samples.
    """
    if settings.source == "none" or settings.samples < MIN_SAMPLES:
        raise BadInput(
            "samples",
            f"{settings.samples} from {settings.source!r} are too few to measure their spread",
            f"draw {MIN_SAMPLES} or more from a sampling source",
        )


@dataclass
class _ImageSums:
    """What is kept of one image and class, from which its figures follow at any temperature.

    Attributes
    ----------
    all, inside
        Voxels by their mean probability: all of them, and those of the mask.
    figures
        As `case_figures`, of the mean as the model gives it; None where the class does not count.
    """

    all: MeanHistogram = field(default_factory=MeanHistogram)
    inside: MeanHistogram = field(default_factory=MeanHistogram)
    figures: CaseFigures | None = None

    def figures_at(self, temperature: Temperature) -> CaseFigures | None:
        if self.figures is None or temperature.is_identity or not self.figures.size:
            return self.figures
        total = self.all.calibrated_sum(temperature) + float(self.inside.counts.sum())
        return replace(self.figures, soft_dice=2 * self.inside.calibrated_sum(temperature) / total)


class CalibrationFigures:
    """What the card of a model says about the reliability of its results.

    The results are those with the mean as the model gives it, see `uncalibrated`. The figures are those of
    the calibrated mean: that of the temperature of `settings`, until `fit_temperature` finds another.

    Parameters
    ----------
    classes, training_data
        Of the model.
    settings
        As the model is used: three or more samples.
    split
        Training and validation images of the model, to describe the images.
    precision
        That the results are computed in.

    Attributes
    ----------
    cases
        The images that were added.
    temperature
        What the mean is calibrated with.
    image_hashes
        `Scan.content_sha256` of each image, in the order of `cases`.
    bfloat16
        How much bfloat16 changes the results; None where that is not known.
    """

    def __init__(
        self,
        classes: Sequence[ClassInfo],
        training_data: Sequence[TrainingData],
        settings: InferenceSettings,
        split: Split,
        precision: str,
    ) -> None:
        self.settings, self.split = settings, split
        self.temperature = settings.temperature
        self.bfloat16: Bfloat16Check | None = None
        self.cases: list[Case] = []
        self.image_hashes: list[str] = []
        self._classes, self._training_data, self._precision = classes, training_data, precision
        self._raw_threshold = settings.sample_threshold
        self._sample_voxel_counts: list[NDArray[np.float64]] = []
        self._reference_voxel_counts: list[NDArray[np.float64]] = []
        self._images: list[list[_ImageSums]] = []
        self._parts: set[str] = set()  # parts of the split that the images belong to
        self._reliability_accumulator = ReliabilityAccumulator()  # of the mean as the model gives it
        self._fitted_reliability: Reliability | None = None
        self._dimensions: set[Literal[2, 3]] = set()

    @property
    def names(self) -> list[str]:
        """The names of the classes."""
        return [c.name for c in self._classes]

    @property
    def threshold(self) -> float:
        """The threshold of the calibrated mean, at which the masks are those of `settings`."""
        if self.temperature == self.settings.temperature:
            return self.settings.threshold
        return self.temperature.calibrated_threshold(self._raw_threshold)

    @property
    def sample_voxel_counts(self) -> NDArray[np.float64]:
        """Voxels of each class in each sample, `(cases, n, K)`."""
        return np.array(self._sample_voxel_counts).reshape(-1, self.settings.samples, len(self._classes))

    @property
    def reference_voxel_counts(self) -> NDArray[np.float64]:
        """Voxels of each class in each reference mask, `(cases, K)`; NaN where it is not annotated.

        As in a sample, no voxel counts for two classes.
        """
        return np.array(self._reference_voxel_counts).reshape(-1, len(self._classes))

    @property
    def case_figures(self) -> list[list[CaseFigures | None]]:
        """For each image what it says about each class, in the order of `cases`.

        None where the class is not annotated, or neither in the mask nor in the reference.
        """
        return [[sums.figures_at(self.temperature) for sums in image] for image in self._images]

    def add(
        self, case: Case, segmentation: Segmentation, reference: NDArray[np.uint8], label_map: LabelMap
    ) -> None:
        """Add an image: voxel counts of samples and reference, and its mean probabilities slice by slice.

        Parameters
        ----------
        case
            The image.
        segmentation
            Its result with `uncalibrated` settings.
        reference
            Its reference mask in class numbers, `(N, H, W)`, or in the shape of the result.
        label_map
            Which classes are annotated.
        """
        reference = reference.reshape(-1, *reference.shape[-2:])
        self.cases.append(case)
        self.image_hashes.append(case.content_sha256)
        self._parts.add(self.split.part_of(case))
        self._dimensions.add(image_dimensions(segmentation))
        voxel_volume, _ = segmentation.geometry.voxel_volume
        sample_counts = np.round(segmentation.volumes / voxel_volume)
        self._sample_voxel_counts.append(with_parts(sample_counts, self._classes))
        annotated = np.array(label_map.annotated)
        is_known = reference != UNKNOWN_CLASS
        is_whole = bool(is_known.all())  # the volume of a part is not known
        reference_counts = np.full(len(annotated), np.nan)
        if is_whole:
            voxel_counts = np.bincount(reference.ravel(), minlength=len(annotated) + 1)[1:]
            # a part that is not annotated has no voxels: they carry the label of what includes it
            voxel_counts = with_parts(voxel_counts * annotated, self._classes)
            reference_counts[annotated] = voxel_counts[annotated]
        self._reference_voxel_counts.append(reference_counts)
        images = [_ImageSums() for _ in annotated]
        self._images.append(images)
        means = segmentation.mean.reshape(len(annotated), *reference.shape)
        masks = np.asarray(segmentation.mask).reshape(reference.shape)
        for plane, class_numbers in enumerate(reference):
            known = is_known[plane]
            for k, class_mask in enumerate(label_map.iter_class_masks(class_numbers)):
                if annotated[k]:
                    mean, is_class = np.asarray(means[k, plane])[known], class_mask[known]
                    region = class_region(masks[plane], k, self._classes)[known]
                    self._reliability_accumulator.add(mean, is_class)
                    images[k].all.add(mean, is_class)
                    images[k].inside.add(mean[region], is_class[region])
        # there are no distances for a time series
        if is_whole and "t" not in segmentation.geometry.axis_labels:
            self._add_figures(images, segmentation, reference, label_map)

    def _add_figures(
        self,
        images: Sequence[_ImageSums],
        segmentation: Segmentation,
        reference: NDArray[np.uint8],
        label_map: LabelMap,
    ) -> None:
        reference_masks = label_map.iter_class_masks(reference.reshape(segmentation.mask.shape))
        for k, reference_mask in enumerate(reference_masks):
            if label_map.annotated[k]:
                region = class_region(segmentation.mask, k, self._classes)
                spacing = segmentation.geometry.spacing
                images[k].figures = case_figures(segmentation.mean[k], region, reference_mask, spacing)

    def fit_temperature(self) -> TemperatureFit:
        """Fit the temperature of the mean to all images, test it by halves, and use it from then on.

        Raises
        ------
        BadInput
            If there are too few images, or no temperature helps; that of `settings` is used then.
        """
        halves = self.fit_and_test_indices()
        histograms = [sum((sums.all for sums in image), MeanHistogram()) for image in self._images]
        self.temperature, fit, self._fitted_reliability = fit_temperature(
            histograms,
            halves,
            samples=self.settings.samples,
            source=self.settings.source,
            data=self._data_description(len(self.cases)),
        )
        return fit

    def reliability(self) -> Reliability:
        """Reliability of the calibrated mean probabilities over all images.

        After `fit_temperature`, each image counts at the temperature that was fitted on the other half.
        """
        if self._fitted_reliability is not None:
            return self._fitted_reliability
        accumulator = self._reliability_accumulator
        if not self.temperature.is_identity:
            accumulator = ReliabilityAccumulator()
            for image in self._images:
                for sums in image:
                    sums.all.add_to(accumulator, self.temperature)
        return accumulator.reliability(
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
        is_fit = np.array([digest in fit_digests for digest in digests], dtype=bool)
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
        fit, test = self.fit_and_test_indices()
        required = min_cases(level)
        if len(fit) < required:
            raise BadInput(
                "cases",
                f"are {len(self.cases)}, half of them to fit on;"
                f" an interval of {percent(level)} needs {required}",
                "give more annotated images",
            )
        samples, reference = self.sample_voxel_counts, self.reference_voxel_counts
        conditions = self._conditions() | {"data": self._data_description(len(fit)), "with_parts": True}
        fitted = VolumeInterval.fit(self.names, samples[fit], reference[fit], level=level, **conditions)
        return fitted.with_coverage(self.names, samples[test], reference[test])

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
        conditions = self._conditions()
        return ContourBand.fit(self.names, self.case_figures, self.image_hashes, level=level, **conditions)

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
        conditions = self._conditions()
        return ExpectedDice.fit(self.names, self.case_figures, self.image_hashes, level=level, **conditions)

    def _conditions(self) -> dict[str, Any]:
        """What the figures of the card hold for."""
        return {
            "samples": self.settings.samples,
            "source": self.settings.source,
            "threshold": self.threshold,
            "dimensions": next(iter(self._dimensions)) if len(self._dimensions) == 1 else None,
            "precisions": self._precisions(),
            "data": self._data_description(len(self.cases)),
        }

    def _precisions(self) -> tuple[str, ...]:
        """The precision of the results, and bfloat16 where it was shown to give the same."""
        if self.bfloat16 is not None and self.bfloat16.is_allowed:
            return ("bfloat16", "float32")
        return (self._precision,)

    def _data_description(self, count: int) -> str:
        sets = self._training_data
        if len(sets) == 1 and self._parts == {"validation"}:
            return f"{count} validation images of {sets[0].name}"
        provenance = (
            "never trained on" if self.split.is_known else "the model does not say what it was trained on"
        )
        return f"{count} images, {provenance}"

    def card_updates(self, level: float = 0.9) -> tuple[dict[str, Any], list[str]]:
        """The changed fields of the model's card, and a sentence on each figure that cannot be computed.

        Parameters
        ----------
        level
            As of the single figures.
        """
        updates: dict[str, Any] = {}
        notes: list[str] = []
        try:
            fit = self.fit_temperature()
        except BadInput as error:
            notes.append(f"no temperature: {error}")
        else:
            updates |= {
                "temperature": self.temperature, "threshold": self.threshold, "temperature_fit": fit,
            }  # fmt: skip
        updates["reliability"] = self.reliability()
        figures = (
            ("volume_interval", "interval", self.volume_interval),
            ("contour_band", "contours", self.contour_band),
            ("expected_dice", "expected Dice", self.expected_dice),
        )
        for name, title, compute in figures:
            updates[name] = None
            try:
                updates[name] = compute(level)
            except BadInput as error:
                notes.append(f"no {title}: {error}")
        if self.bfloat16 is not None:
            updates["bfloat16"] = self.bfloat16
        return updates, notes
