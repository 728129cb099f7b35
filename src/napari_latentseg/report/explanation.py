"""What a report says about how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.measure import Measurement
from napari_latentseg.review import uncertainty_basis

if TYPE_CHECKING:
    from napari_latentseg.evaluation.calibration import Reliability
    from napari_latentseg.models.card import ModelCard

__all__ = ["curve_points", "curve_text", "explanation", "percent"]


def explanation(
    result: Segmentation, measurements: Sequence[Measurement], card: ModelCard | None
) -> list[str]:
    """What mask, variance and the intervals of these rows mean, a paragraph each."""
    lines = [result.record.meaning]
    if result.variance is None:
        lines.append(f"There is no variance here: {uncertainty_basis(result)}.")
    kinds = {m.interval_source for m in measurements}
    if "calibrated" in kinds and card is not None and card.volume_interval is not None:
        fit = card.volume_interval
        line = f"A calibrated interval is made to hold the reference in {percent(fit.level)} of images like "
        line += f"the {fit.cases} that it comes from ({fit.data})"
        if fit.coverage and fit.tested_on:
            held = ", ".join(f"{name} {percent(share)}" for name, share in fit.coverage.items())
            line += f"; on {fit.tested_on} others it did in: {held}"
        lines.append(f"{line}.")
    if "samples" in kinds:
        lines.append(
            "An interval of the samples is where nine of ten further samples of this model would lie. How "
            "far all of them are from the truth, it cannot tell."
        )
    if result.record.cleanup is not None and kinds & {"calibrated", "samples"}:
        which = "of single objects " if result.record.volumes_cleaned else ""
        lines.append(f"The mask was mended; the samples behind the intervals {which}were not.")
    return lines


def curve_text(reliability: Reliability) -> str:
    """What the reliability curve shows."""
    text = (
        f"The curve: how often places of a mean probability were right, on {reliability.images} images with "
        f"{reliability.samples} samples ({reliability.data}). On the dashed line, probabilities are what "
        f"they say. Expected calibration error {reliability.ece:.3f}"
    )
    if reliability.ece_unsure is not None:
        text += f", {reliability.ece_unsure:.3f} where it is neither nearly 0 nor nearly 1"
    return f"{text}."


def curve_points(reliability: Reliability) -> list[tuple[float, float]]:
    """Mean probability and observed share of each bin that held something."""
    pairs = zip(reliability.predicted, reliability.observed, strict=True)
    return [(p, o) for p, o in pairs if p is not None and o is not None]


def percent(fraction: float) -> str:
    """A fraction of 1 in per cent: ``90 %``."""
    return f"{100 * fraction:.0f} %"
