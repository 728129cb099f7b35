"""Two models on the same images: differences image by image, their interval and a paired test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bootstrap import Bootstrap, Interval, column_means
from napari_latentseg.evaluation.intervals import SCORES, class_columns
from napari_latentseg.evaluation.report import (
    EvaluationReport,
    ImageResult,
    PairedReport,
    PairedScore,
)

__all__ = ["compare_paired", "paired_score"]

_EQUAL = 1e-9
"""Scores are ratios of counts of pixels: what differs by less is rounding."""


def compare_paired(
    ours: EvaluationReport,
    theirs: EvaluationReport,
    source: str,
    patients: Sequence[str] | None = None,
) -> PairedReport:
    """Compare two evaluations of the same images.

    Parameters
    ----------
    ours, theirs
        The evaluations; a difference is ours minus theirs.
    source
        What a message calls `theirs`: a file or the name of a model.
    patients
        The patient of each image of `ours`, see `paired_score`.

    Returns
    -------
    PairedReport
        See there.

    Raises
    ------
    BadInput
        If the images, or the way they were scored, differ.
    """
    order = _matching_order(ours, theirs, source)
    _check_scoring(ours, theirs, source)
    their_images = [theirs.images[i] for i in order]
    our_table, their_table = (
        np.array([[getattr(image, name) for name in SCORES] for image in images])
        for images in (ours.images, their_images)
    )
    units = [image.name for image in ours.images] if patients is None else list(patients)
    scores = {
        name: paired_score(our_table[:, i], their_table[:, i], units, is_larger_better=name != "hd95")
        for i, name in enumerate(SCORES)
    }
    classes = {}
    for name, (our_scores, their_scores) in _class_pairs(ours.images, their_images, ours).items():
        score = paired_score(our_scores, their_scores, units)
        if score.images:
            classes[name] = score
    return PairedReport(
        against=theirs.model,
        against_mean=theirs.mean,
        samples=theirs.samples,
        source=theirs.source,
        threshold=theirs.threshold,
        precision=theirs.precision,
        training_count=theirs.training_count,
        validation_count=theirs.validation_count,
        unit="image" if patients is None else "patient",
        units=len(set(units)),
        classes=classes,
        against_dsc=tuple(image.dsc for image in their_images),
        **scores,
    )


def paired_score(
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    units: Sequence[str],
    *,
    is_larger_better: bool = True,
) -> PairedScore:
    """The differences of a score.

    Parameters
    ----------
    ours, theirs
        The score of each image, `(images,)`; NaN where it does not count, and then for neither.
    units
        The image or patient that is resampled as one. Where patients have several images, the test takes the
        mean difference of each patient, since it asks for independent differences.
    is_larger_better
        False for a distance.

    Examples
    --------
    >>> import numpy as np
    >>> ours, theirs = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.8, 0.7, 0.7, 0.7])
    >>> score = paired_score(ours, theirs, ["a", "b", "c", "d"])
    >>> round(score.mean_difference, 3), score.better, score.worse, score.equal
    (0.025, 2, 1, 1)
    """
    counts = ~(np.isnan(ours) | np.isnan(theirs))
    difference = (ours - theirs)[counts]
    difference[np.abs(difference) < _EQUAL] = 0.0
    if not len(difference):
        return PairedScore(images=0, mean_difference=0.0, better=0, worse=0, equal=0)
    kept_units = [unit for unit, is_counted in zip(units, counts, strict=True) if is_counted]
    bootstrap = Bootstrap(kept_units)
    interval: Interval | None = None
    if bootstrap.is_possible:
        (interval,) = bootstrap.intervals(difference[:, None], column_means)
    signed = difference if is_larger_better else -difference
    return PairedScore(
        images=len(difference),
        mean_difference=float(difference.mean()),
        interval=interval,
        p_value=_wilcoxon(difference, kept_units),
        better=int((signed > 0).sum()),
        worse=int((signed < 0).sum()),
        equal=int((signed == 0).sum()),
    )


def _class_pairs(
    our_images: Sequence[ImageResult], their_images: Sequence[ImageResult], report: EvaluationReport
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The Dice of each class that both models have; NaN where neither model nor reference has it.

    An image without the class in the reference counts where one of the models has found it there.
    """
    ours, theirs = ([image.classes for image in images] for images in (our_images, their_images))
    counting = [class_columns(rows, with_empty=report.protocol is not None) for rows in (ours, theirs)]
    full = [class_columns(rows, with_empty=True) for rows in (ours, theirs)]
    pairs = {}
    for name in full[0]:
        if name in full[1]:
            dice = [columns[name][:, 0] for columns in full]
            counts = [~np.isnan(columns[name][:, 0]) for columns in counting if name in columns]
            is_counted = np.any(counts, axis=0) if counts else np.zeros(len(ours), bool)
            pairs[name] = tuple(np.where(is_counted, values, np.nan) for values in dice)
    return {name: (first, second) for name, (first, second) in pairs.items()}


def _wilcoxon(difference: NDArray[np.float64], units: Sequence[str]) -> float | None:
    """The two-sided p value of the signed-rank test over units; None where no unit differs."""
    from scipy.stats import wilcoxon

    names = np.array(units)
    means = np.array([difference[names == name].mean() for name in dict.fromkeys(units)])
    if not means.any():
        return None
    return float(wilcoxon(means).pvalue)


def _matching_order(ours: EvaluationReport, theirs: EvaluationReport, source: str) -> list[int]:
    """For each of our images its place among theirs."""
    remedy = "evaluate both models on the same images"
    our_names = [image.name for image in ours.images]
    places = {image.name: i for i, image in enumerate(theirs.images)}
    if missing := [name for name in our_names if name not in places]:
        raise BadInput(source, f"has no score of image {missing[0]}{_further(len(missing))}", remedy)
    extra = sorted(set(places) - set(our_names))
    if extra or len(theirs.images) != len(our_names):
        which = extra[0] if extra else our_names[0]
        raise BadInput(
            source, f"has scores of other images too, such as {which}{_further(len(extra))}", remedy
        )
    # of other classes, the numbers of classes in a mask differ too
    has_same_classes = set(ours.classes) == set(theirs.classes)
    for image in ours.images:
        other = theirs.images[places[image.name]]
        if _differ(image.image_sha256, other.image_sha256):
            raise BadInput(source, f"scored another image {image.name}", remedy)
        if has_same_classes and _differ(image.mask_sha256, other.mask_sha256):
            raise BadInput(source, f"scored {image.name} against another mask", remedy)
    return [places[name] for name in our_names]


def _differ(ours: str, theirs: str) -> bool:
    """Whether two hashes differ; earlier files have none."""
    return bool(ours and theirs) and ours != theirs


def _further(count: int) -> str:
    return f" and {count - 1} further images" if count > 1 else ""


def _check_scoring(ours: EvaluationReport, theirs: EvaluationReport, source: str) -> None:
    our_protocol, their_protocol = (
        ("no protocol" if r.protocol is None else f"{r.protocol.name} at {r.protocol.size or 'file'} size")
        for r in (ours, theirs)
    )
    if our_protocol != their_protocol:
        raise BadInput(
            source, f"was scored by {their_protocol}, not {our_protocol}", "score both in the same way"
        )
