"""Calibrating a trained model on the results that it is judged by, so that no image is segmented twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.data.cases import Case
from napari_latentseg.evaluation.scores import ImageScores
from napari_latentseg.inference.bfloat16 import Bfloat16Comparison
from napari_latentseg.inference.calibration_figures import (
    CalibrationFigures,
    check_sample_count,
    uncalibrated,
)
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.reference_masks import label_map_for
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.split import Split

__all__ = ["JudgingCalibration"]


class JudgingCalibration:
    """Collects the figures of a calibration while validation images are segmented as the model is used.

    Parameters
    ----------
    predictor
        The model.
    settings
        Its default source and number of samples, with the mean as the model gives it.
    split
        Training and validation images.

    Raises
    ------
    BadInput
        If the model is used with fewer than three samples.
    """

    def __init__(self, predictor: Predictor, settings: InferenceSettings, split: Split) -> None:
        check_sample_count(settings)
        self._card = card = predictor.model.card
        self.settings = uncalibrated(settings)
        self._figures = CalibrationFigures(
            card.classes, card.training_data, settings, split, predictor.compute.precision
        )
        self._comparison = Bfloat16Comparison(predictor, self.settings.replace(keep_samples=False))

    def add(
        self, case: Case, scores: ImageScores, reference: NDArray[np.uint8], segmentation: Segmentation
    ) -> None:
        """Add an image that was scored; see `Evaluation.on_scored`."""
        self._figures.add(case, segmentation, reference, label_map_for(self._card, case))
        if self._comparison.takes_more:
            self._comparison.keep(case.read_scan(), segmentation)

    def compare_bfloat16(self) -> Iterator[None]:
        """Segment some images in bfloat16 too, where the hardware multiplies that natively."""
        yield from self._comparison.run()
        self._figures.bfloat16 = self._comparison.check()

    def card_updates(self) -> tuple[dict[str, Any], list[str]]:
        """See `CalibrationFigures.card_updates`."""
        return self._figures.card_updates()
