"""Scores of single images put together: means, spread, the rows of a report, the record of a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_latentseg.data.cases import Case
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.intervals import score_intervals
from napari_latentseg.evaluation.report import EvaluationReport, ImageResult
from napari_latentseg.evaluation.scores import ImageScores, summarise
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.card import MetricRecord

__all__ = ["image_results", "mean_scores", "metric_record", "summarise_images"]

_SCORE_NAMES = ("dsc", "iou", "hd95")


def mean_scores(scores: Sequence[ImageScores]) -> dict[str, float]:
    """The mean of each score over images, by its name."""
    return {name: float(np.mean([getattr(s, name) for s in scores])) for name in _SCORE_NAMES}


def summarise_images(
    scores: Sequence[ImageScores], *, has_plain_scores: bool
) -> tuple[dict[str, float], dict[str, float | None], dict[str, int] | None]:
    """Mean and standard deviation by score, and the number of images with an empty mask.

    Parameters
    ----------
    scores
        Of each image.
    has_plain_scores
        Whether they are those of one class by the rules of this package, of which empty masks are counted
        too. The mean over classes, and some papers' rules for empty masks, break IoU = D / (2 - D), which
        `summarise` checks for each image.

    Raises
    ------
    BadInput
        If there is no image.
    """
    if has_plain_scores:
        summary = summarise(scores)
        by_score = {"dsc": summary["dsc"], "iou": summary["iou"], "hd95": summary["hd95"]}
        mean = {name: values["mean"] for name, values in by_score.items()}
        return mean, {name: values["std"] for name, values in by_score.items()}, summary["empty"]
    if not scores:
        raise BadInput("scores", "there is no image to summarise", "score at least one")
    rows = np.array([[s.dsc, s.iou, s.hd95] for s in scores])
    spread = rows.std(axis=0, ddof=1).tolist() if len(rows) > 1 else [None] * 3
    return mean_scores(scores), dict(zip(_SCORE_NAMES, spread, strict=True)), None


def image_results(
    cases: Sequence[Case],
    scores: Sequence[ImageScores],
    class_scores: Sequence[Mapping[str, ImageScores]] | None,
    mask_hashes: Sequence[str],
) -> tuple[ImageResult, ...]:
    """The rows of a report.

    Parameters
    ----------
    cases, scores
        The images and their scores.
    class_scores
        Of each image, the scores of its classes; None for a model with one.
    mask_hashes
        SHA-256 of the reference masks.
    """
    by_class = class_scores if class_scores is not None else [{} for _ in cases]
    return tuple(
        ImageResult(
            name=case.name,
            **image_scores.model_dump(),
            classes=dict(classes),
            image_sha256=case.content_sha256,
            mask_sha256=mask_sha256,
        )
        for case, image_scores, classes, mask_sha256 in zip(cases, scores, by_class, mask_hashes, strict=True)
    )


def metric_record(report: EvaluationReport, settings: InferenceSettings, data: str) -> MetricRecord:
    """The mean scores for a model card.

    Parameters
    ----------
    report
        The scores.
    settings
        With which they were made.
    data
        Name of the data set.
    """
    return MetricRecord(
        data=data,
        images=report.image_count,
        samples=settings.samples,
        source=settings.source,
        values={k: round(v, 4) for k, v in report.mean.model_dump().items()},
        spread={k: round(v, 4) for k, v in report.std.model_dump().items() if v is not None},
        conventions=report.conventions,
        classes={
            name: {key: round(value, 4) for key, value in mean.model_dump().items()}
            for name, mean in report.classes.items()
        },
        intervals=_mean_intervals(report),
        missed=report.missed_count,
    )


def _mean_intervals(report: EvaluationReport) -> dict[str, tuple[float, float]]:
    """The intervals of the means over images; none for a single image."""
    intervals = score_intervals(report.images, [image.classes for image in report.images], None)
    if intervals is None:
        return {}
    ends = {name: getattr(intervals.mean, name) for name in _SCORE_NAMES}
    return {name: (round(low, 4), round(high, 4)) for name, (low, high) in ends.items()}
