"""Means, medians and their bootstrapped intervals, of the scores of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.evaluation.bootstrap import (
    LEVEL,
    RESAMPLES,
    SEED,
    Bootstrap,
    Interval,
    column_means,
    flat_mean,
    medians,
)
from napari_latentseg.evaluation.readers import ReaderReport
from napari_latentseg.evaluation.scores import ImageScores

__all__ = ["Intervals", "ReaderIntervals", "ScoreIntervals", "class_columns", "score_intervals"]

SCORES = ("dsc", "iou", "hd95")


class _Scored(Protocol):
    """What has the scores of an image."""

    @property
    def dsc(self) -> float: ...
    @property
    def iou(self) -> float: ...
    @property
    def hd95(self) -> float: ...


class ScoreIntervals(FrozenModel):
    """Low and high end of the interval of each score; `dsc` and `iou` in [0, 1], `hd95` in pixels."""

    dsc: Interval
    iou: Interval
    hd95: Interval


class ReaderIntervals(FrozenModel):
    """Intervals of the mean agreement with readers, see `ReaderAgreement`."""

    ged2: Interval
    matched_iou: Interval


class Intervals(FrozenModel):
    """Bootstrapped intervals over images or patients, see `napari_latentseg.evaluation.bootstrap`.

    Attributes
    ----------
    level
        The share of such intervals that hold the true value, where the images are a random choice.
    resamples, seed
        Of the bootstrap.
    unit, units
        What is resampled, and how many of them there are.
    mean, median
        Of the mean and the median scores.
    classes
        Of the mean scores of each class, of a model with several.
    readers
        Of the agreement with readers, where these were given.
    """

    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = SEED
    unit: Literal["image", "patient"] = "image"
    units: int = Field(ge=2)
    mean: ScoreIntervals
    median: ScoreIntervals
    classes: dict[str, ScoreIntervals] = Field(default_factory=dict)
    readers: ReaderIntervals | None = None


def score_intervals(
    images: Sequence[_Scored],
    classes: Sequence[dict[str, ImageScores]],
    aggregation: Literal["image", "pooled", "class"] | None = None,
    patients: Sequence[str] | None = None,
    readers: ReaderReport | None = None,
) -> Intervals | None:
    """The intervals of all scores; None for a single image or patient, which has no spread.

    Parameters
    ----------
    images
        The scores of each image.
    classes
        Of each image the scores of every class by its name; empty for a model with one class.
    aggregation
        Of a protocol, which averages over all classes of all images (``"image"``, ``"pooled"``) or over the
        means of the classes (``"class"``); None averages the scores of the images.
    patients
        The patient of each image, whose images are drawn together; None where each image is drawn by itself.
    readers
        The agreement of the same images with readers.
    """
    bootstrap = Bootstrap([str(i) for i in range(len(images))] if patients is None else patients)
    if not bootstrap.is_possible:
        return None
    table = np.array([[getattr(image, name) for name in SCORES] for image in images], dtype=np.float64)
    by_class = class_columns(classes, with_empty=aggregation is not None)
    if by_class and aggregation is not None:
        statistic = _mean_of_columns if aggregation == "class" else flat_mean
        scores = (np.stack([column[:, i] for column in by_class.values()], axis=1) for i in range(3))
        mean = [bootstrap.intervals(values, statistic)[0] for values in scores]
    else:
        mean = bootstrap.intervals(table, column_means)
    return Intervals(
        unit="image" if patients is None else "patient",
        units=bootstrap.unit_count,
        mean=_named(mean),
        median=_named(bootstrap.intervals(table, medians)),
        classes={
            name: _named(bootstrap.intervals(values, column_means)) for name, values in by_class.items()
        },
        readers=None if readers is None else _reader_intervals(bootstrap, readers),
    )


def class_columns(
    classes: Iterable[dict[str, ImageScores]], *, with_empty: bool
) -> dict[str, NDArray[np.float64]]:
    """Of each class Dice, IoU and HD95 of every image, `(images, 3)`; NaN where it does not count.

    Parameters
    ----------
    classes
        Of each image the scores of its classes.
    with_empty
        Whether images count that have a class neither in the mask nor in the reference.
    """
    rows = list(classes)

    def scores(image: dict[str, ImageScores], name: str) -> list[float]:
        found = image.get(name)
        if found is None or (found.empty == "both" and not with_empty):
            return [np.nan] * len(SCORES)
        return [getattr(found, score) for score in SCORES]

    columns = {
        name: np.array([scores(image, name) for image in rows])
        for name in dict.fromkeys(name for image in rows for name in image)
    }
    return {name: values for name, values in columns.items() if not np.isnan(values).all()}


def _mean_of_columns(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = column_means(values, weights).mean(axis=1, keepdims=True)
    return means


def _named(intervals: Sequence[Interval]) -> ScoreIntervals:
    return ScoreIntervals(**dict(zip(SCORES, intervals, strict=True)))


def _reader_intervals(bootstrap: Bootstrap, readers: ReaderReport) -> ReaderIntervals:
    values = np.array([[image.ged2, image.matched_iou] for image in readers.images], dtype=np.float64)
    ged2, matched_iou = bootstrap.intervals(values, column_means)
    return ReaderIntervals(ged2=ged2, matched_iou=matched_iou)
