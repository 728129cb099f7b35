"""The mean probabilities of an evaluation beside the reference masks, image by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.labels import class_region
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.cases import UNKNOWN_CLASS
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.evaluation.case_figures import soft_dice
from napari_latentseg.evaluation.mean_calibration import CalibrationSums, MeanCalibration
from napari_latentseg.evaluation.scores import ImageScores
from napari_latentseg.inference.settings import InferenceSettings

__all__ = ["EvaluationCalibration"]


class EvaluationCalibration:
    """Collects what `MeanCalibration` reports.

    Parameters
    ----------
    classes
        Of the model.
    """

    def __init__(self, classes: Sequence[ClassInfo]) -> None:
        self._classes = classes
        self._sums = CalibrationSums()

    def add(self, segmentation: Segmentation, reference: NDArray[np.uint8], label_map: LabelMap) -> None:
        """Add an image: its mean probabilities slice by slice, and how sure the model is of its mask.

        Parameters
        ----------
        segmentation
            The result.
        reference
            Class numbers in the shape of its mask.
        label_map
            Which classes are annotated.
        """
        for index in np.ndindex(*reference.shape[:-2]):
            is_known = reference[index] != UNKNOWN_CLASS
            for k, class_mask in enumerate(label_map.iter_class_masks(reference[index])):
                if label_map.annotated[k]:
                    mean = np.asarray(segmentation.mean[(k, *index)])
                    self._sums.add(mean[is_known], class_mask[is_known])
        regions = [class_region(segmentation.mask, k, self._classes) for k in range(len(self._classes))]
        self._sums.add_confidence(
            [soft_dice(segmentation.mean[k], region) for k, region in enumerate(regions) if region.any()]
        )

    def report(self, scores: Sequence[ImageScores], settings: InferenceSettings) -> MeanCalibration:
        """The figures of all images, whose scores are in the order in which they were added."""
        return self._sums.calibration(
            [image.dsc for image in scores],
            images=len(scores),
            samples=settings.samples,
            source=settings.source,
            data="the images of this evaluation",
        )
