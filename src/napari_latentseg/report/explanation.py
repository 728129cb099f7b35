"""The paragraphs of a report on how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_latentseg.core.percent import percent
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure import Measurement, expected_dice_lines
from napari_latentseg.review import uncertainty_basis
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.evaluation.reliability import Reliability
    from napari_latentseg.models.card import ModelCard

__all__ = ["curve_points", "curve_text", "explanation"]


def explanation(
    result: Segmentation, measurements: Sequence[Measurement], card: ModelCard | None
) -> list[str]:
    """Explain the mask, the variance and the intervals of a report.

    Parameters
    ----------
    result
        The segmentation.
    measurements
        The rows in the report.
    card
        Card of the model, or None.

    Returns
    -------
    list of str
        One paragraph each.
    """
    lines = [result.record.meaning]
    model_fit = result.record.fit
    if model_fit is not None:
        lines.append(
            "In all that was checked, this image is like those that the model was trained on."
            if model_fit.state == "fits"
            else f"{model_fit.describe()}. What was measured of this model on images like its training"
            " images, such as its Dice and its calibration, does not hold here."
        )
    if result.variance is None:
        lines.append(f"There is no variance here, only {uncertainty_basis(result)}.")
    kinds = {m.interval_source for m in measurements}
    reasons = dict.fromkeys(m.interval_reason for m in measurements if m.interval_reason)
    if "calibrated" in kinds and card is not None and card.volume_interval is not None:
        fit = card.volume_interval
        line = (
            "A calibrated interval contains the reference size in about"
            f" {percent(fit.level)} of images like the {fit.cases} that it was fitted on ({fit.data})"
        )
        if fit.coverage and fit.tested_on:
            coverage = ", ".join(f"{name} {percent(fraction)}" for name, fraction in fit.coverage.items())
            line += f". On {fit.tested_on} other images it did so in: {coverage}"
        lines.append(f"{line}.")
    if "samples" in kinds:
        lines.append(
            f"Intervals of the samples are not calibrated: {'; '.join(reasons)}. Such an interval contains"
            " nine of ten further samples of this model. It says nothing about an error that all samples"
            " share, and so may miss the true size."
        )
    elif reasons and not kinds & {"calibrated"}:
        lines.append(f"There are no intervals: {'; '.join(reasons)}.")
    if result.record.cleanup is not None and kinds & {"calibrated", "samples"}:
        which = "of single objects " if result.record.volumes_cleaned else ""
        lines.append(f"The mask was post-processed; the samples behind the intervals {which}were not.")
    if result.record.hints is not None:
        lines.append(
            f"{result.record.hints.describe()}. Mean, variance and mask are of the weighted samples."
        )
    if estimates := result.record.expected_dice:
        whose = (
            "; it is that of the model's mask, not of the corrected one" if result.record.mask_edited else ""
        )
        lines.append(f"{'; '.join(expected_dice_lines(estimates))}{whose}.")
    return lines


def curve_text(reliability: Reliability) -> str:
    """Explain the reliability curve."""
    text = (
        "The curve shows how often voxels with a given mean probability belong to the class, on"
        f" {count_text(reliability.images, 'image')} with {count_text(reliability.samples, 'sample')}"
        f" ({reliability.data}). On the dashed line, a probability of 70 % is right in 70 %"
        " of the voxels. Expected calibration error"
        f" {reliability.ece:.3f}"
    )
    if reliability.ece_unsure is not None:
        first, last = reliability.uncertain_range
        text += f", {reliability.ece_unsure:.3f} for probabilities from {first:g} to {last:g}"
    return f"{text}."


def curve_points(reliability: Reliability) -> list[tuple[float, float]]:
    """Mean probability and observed frequency of each bin that is not empty, in [0, 1]."""
    pairs = zip(reliability.predicted, reliability.observed, strict=True)
    return [(p, o) for p, o in pairs if p is not None and o is not None]
