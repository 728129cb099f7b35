"""The scores of a trained competitor on the validation images, by this package's own evaluation."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.api.evaluation_statistics import with_intervals
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.scan import Scan
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.evaluation.mean_calibration import CalibrationSums
from napari_latentseg.evaluation.metrics import CONVENTIONS
from napari_latentseg.evaluation.report import (
    EvaluatedModel,
    EvaluationReport,
    ImageResult,
    MeanScores,
    ScoreSpread,
)
from napari_latentseg.evaluation.scores import ImageScores, class_means, mean_of_classes, score
from peer_models.data import ImageCase, Images

THRESHOLD = 0.5  # for all: thresholds that were fitted would favour those that fit one
MISSED_BELOW = 0.1  # Dice


@dataclass(frozen=True)
class Trained:
    """A trained competitor.

    Attributes
    ----------
    probabilities
        Of a scan, float32 `(K, *spatial)` at the size of the file.
    trainable
        Number of trainable parameters.
    steps, batch
        Of the training.
    note
        What else is to be known of it.
    """

    probabilities: Callable[[Scan], NDArray[np.float32]]
    trainable: int
    steps: int
    batch: int
    note: str = ""


def score_validation(name: str, trained: Trained, images: Images) -> dict[str, Any]:
    """Segment and score all validation images."""
    sums = CalibrationSums()
    results: list[ImageResult] = []
    seconds = 0.0
    for image in images.validation:
        scan = image.case.read_scan()
        start = time.process_time()
        means = trained.probabilities(scan)
        seconds += time.process_time() - start
        results.append(_score_image(image, means, images, sums))
    table = np.array([[r.dsc, r.iou, r.hd95] for r in results])
    spread = table.std(axis=0, ddof=1) if len(table) > 1 else [None] * 3
    names = ("dsc", "iou", "hd95")
    units = [image.unit for image in images.validation]
    report = EvaluationReport(
        model=EvaluatedModel(name=name, version="1", method=name),
        mean=MeanScores(**dict(zip(names, table.mean(axis=0).tolist(), strict=True))),
        std=ScoreSpread(**dict(zip(names, map(_number, spread), strict=True))),
        image_count=len(results),
        training_count=0,
        validation_count=len(results),
        samples=1,
        source="none",
        seed=0,
        threshold=THRESHOLD,
        conventions=dict(CONVENTIONS) | {"size": "at the size of the image files", "hd95_unit": "pixel"},
        images=tuple(results),
        classes=class_means([r.classes for r in results]) if len(images.classes) > 1 else {},
        calibration=sums.calibration(
            [r.dsc for r in results], images=len(results), samples=1, source="none", data="validation"
        ),
    )
    return {
        "segmenting_seconds": seconds / len(results),
        "missed": float((table[:, 0] < MISSED_BELOW).mean()),
        "units": units,
        "report": with_intervals(report, units).to_json(),
    }


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _score_image(
    image: ImageCase, means: NDArray[np.float32], images: Images, sums: CalibrationSums
) -> ImageResult:
    mask = labels_from_probabilities(means, THRESHOLD, images.classes)
    reference = image.class_numbers(mask.shape)
    numbers = LabelMap.for_model(images.classes).to_class_numbers(mask)
    pairs = zip(
        images.classes,
        image.label_map.iter_class_masks(numbers),
        image.label_map.iter_class_masks(reference),
        means,
        strict=True,
    )
    scores: dict[str, ImageScores] = {}
    for info, predicted, referenced, mean in pairs:
        scores[info.name] = score(predicted, referenced)
        for index in np.ndindex(*referenced.shape[:-2]):
            sums.add(mean[index], referenced[index])
    sums.add_confidence([])
    whole = mean_of_classes(scores) if len(scores) > 1 else next(iter(scores.values()))
    return ImageResult(
        name=image.case.name,
        **whole.model_dump(),
        classes=scores if len(scores) > 1 else {},
        image_sha256=image.case.content_sha256,
        mask_sha256=hashlib.sha256(reference.tobytes()).hexdigest(),
    )
