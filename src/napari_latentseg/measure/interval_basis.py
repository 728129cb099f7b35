"""Whether the interval of a size may be called calibrated; if not, why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from napari_latentseg.core.fit import Fit
from napari_latentseg.core.hints import MIN_EFFECTIVE_SAMPLES
from napari_latentseg.core.percent import percent
from napari_latentseg.core.record import SAMPLING_SOURCES, RunRecord
from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE, Segmentation
from napari_latentseg.core.temperature import Temperature
from napari_latentseg.evaluation.calibration import VolumeInterval
from napari_latentseg.measure.measurement import INTERVAL_LEVEL
from napari_latentseg.utils.counts import count_text

__all__ = [
    "THRESHOLD_TOLERANCE",
    "Calibrated",
    "CalibratedCard",
    "IntervalBasis",
    "IntervalKind",
    "RunCard",
    "calibration_differences",
    "image_dimensions",
    "interval_basis",
    "sizes_note",
]

IntervalKind = Literal["calibrated", "samples", "none"]

THRESHOLD_TOLERANCE = 0.05
"""How far from the calibrated threshold an interval is still called calibrated.

Over 200 random halves of the validation images of the embedded models, intervals of 90 % that were fitted at
the card's threshold held in 89 to 93 % of the other half at that threshold, in 88 to 94 % at 0.05 from it,
and in 83 % at 0.10 above it (anterior hippocampus), 40 % at 0.30 above it; see
docs/benchmarks/uncertainty.md.
"""


_SHORT_FIT_TEXTS = {
    "unusual": "the image is unusual for the model",
    "foreign": "the model was not made for the image",
}


class Calibrated(Protocol):
    """What a figure of a model card was calibrated with."""

    @property
    def samples(self) -> int:
        """Number of samples of each image."""

    @property
    def source(self) -> str:
        """Their sampling source."""

    @property
    def threshold(self) -> float:
        """Threshold of the mean probability, or of the samples."""

    @property
    def dimensions(self) -> Literal[2, 3] | None:
        """Of the images; None for any."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that it holds for; empty for any."""


class RunCard(Protocol):
    """What is needed of `napari_latentseg.models.card.ModelCard`, which this package does not import."""

    @property
    def fit(self) -> object | None:
        """What the training images are like; None where that is not known."""

    @property
    def temperature(self) -> Temperature | None:
        """The temperature of the mean probability; None where it has none."""


class CalibratedCard(RunCard, Protocol):
    """A card with the calibration of sizes."""

    @property
    def volume_interval(self) -> VolumeInterval | None:
        """The calibrated interval; None where the model was not calibrated."""


@dataclass(frozen=True)
class IntervalBasis:
    """What the intervals of a result rest on.

    Attributes
    ----------
    kind
        ``"calibrated"``: everything is as it was when the model was calibrated. ``"samples"``: the intervals
        are of the samples, and say nothing about how far all samples are from the truth. ``"none"``: no
        interval can be given.
    reasons
        Why they are not calibrated, or why there is none; one phrase each, empty if they are calibrated.
    interval
        The model's calibrated interval, also where it is not valid: no interval is shown that is narrower
        than this one would be. None where the model has none for `INTERVAL_LEVEL`.
    samples
        Number of samples.

    Examples
    --------
    >>> IntervalBasis("samples", ("the run was cancelled",), None, 5).describe()
    '90 % intervals of 5 samples, not calibrated: the run was cancelled.'
    """

    kind: IntervalKind
    reasons: tuple[str, ...]
    interval: VolumeInterval | None
    samples: int

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        return "; ".join(self.reasons)

    def describe(self) -> str:
        """One sentence for people."""
        if self.kind == "none":
            return f"No intervals: {self.reason}."
        level = percent(INTERVAL_LEVEL)
        if self.kind == "calibrated" and self.interval is not None:
            return f"{level} intervals, calibrated on {self.interval.cases} images (see the model card)."
        return f"{level} intervals of {count_text(self.samples, 'sample')}, not calibrated: {self.reason}."


def interval_basis(segmentation: Segmentation, card: CalibratedCard | None) -> IntervalBasis:
    """Find out whether the intervals of a result are calibrated.

    They are where the result was made as the results were that the model was calibrated with: of an image
    that fits the model, with the same dimensions, whole, by a run that was not cancelled, with the same
    sampling source, as many samples, no post-processing of the samples, and a threshold within
    `THRESHOLD_TOLERANCE`. There is no interval at all without samples, and where a cancelled run left slices
    out: the size of the whole is not known then, and that of the slices is not what was asked for.

    Parameters
    ----------
    segmentation
        The result.
    card
        Card of its model; None where it is not known.

    Returns
    -------
    IntervalBasis
        The kind of interval, and the reasons in words.
    """
    record = segmentation.record
    interval = card.volume_interval if card is not None else None
    if interval is not None and interval.level != INTERVAL_LEVEL:
        interval = None
    if missing := _why_no_interval(segmentation):
        return IntervalBasis("none", (missing,), interval, record.samples)
    if card is None:
        reasons = ["the model is not on this machine"]
    elif interval is None:
        reasons = ["the model was not calibrated"]
    else:
        reasons = list(calibration_differences(segmentation, card, interval))
    return IntervalBasis("samples" if reasons else "calibrated", tuple(reasons), interval, record.samples)


def calibration_differences(
    segmentation: Segmentation, card: RunCard, calibrated: Calibrated
) -> tuple[str, ...]:
    """How a result differs from those that a figure of the card was calibrated with, in words.

    Parameters
    ----------
    segmentation
        The result.
    card
        Card of its model.
    calibrated
        The figure: an interval, contours, an expected Dice.

    Returns
    -------
    tuple of str
        One phrase each; empty where the figure holds for the result.
    """
    return (
        *_differences_of_image(segmentation, card, calibrated),
        *_differences_of_run(segmentation.record, card, calibrated),
    )


def sizes_note(
    segmentation: Segmentation, card: CalibratedCard | None, *, with_fit_reasons: bool = True
) -> str:
    """What to say below the sizes of a result: what their intervals rest on, and what was not segmented.

    Parameters
    ----------
    segmentation
        The result.
    card
        Card of its model.
    with_fit_reasons
        Say why the image does not fit the model; False where that stands beside the note.
    """
    basis, region = interval_basis(segmentation, card), segmentation.segmented_region
    fit = segmentation.record.fit
    if fit is not None and not with_fit_reasons:
        short = _SHORT_FIT_TEXTS.get(fit.state, "")
        reasons = tuple(short if reason == _fit_phrase(fit) else reason for reason in basis.reasons)
        basis = replace(basis, reasons=reasons)
    note, missing = basis.describe(), region.describe_missing()
    if not missing or missing in note or region.describe() in note:
        return note
    return f"{note} {missing}, so the sizes are only of the rest."


def _why_no_interval(segmentation: Segmentation) -> str:
    """Why a result has no interval of any kind; empty if it has one."""
    record, region = segmentation.record, segmentation.segmented_region
    if record.source == "none":
        return "one prediction has no samples"
    if record.samples < MIN_SAMPLES_FOR_VARIANCE:
        samples = "1 sample is" if record.samples == 1 else f"{record.samples} samples are"
        return f"{samples} too few, {MIN_SAMPLES_FOR_VARIANCE} or more are needed"
    if region.is_cancelled and not region.has_requested_slices:
        return f"the run was cancelled, {region.describe_missing()}"
    if record.hints is not None and record.hints.effective_samples < MIN_EFFECTIVE_SAMPLES:
        return "with these hints only one sample counts, so there is no spread"
    maps = segmentation.sample_maps
    if not len(segmentation.volumes) and (maps is None or not maps.is_complete):
        return "the samples were not kept, so their sizes at this threshold are not known"
    return ""


def _differences_of_image(segmentation: Segmentation, card: RunCard, interval: Calibrated) -> Iterator[str]:
    """How the image, or the part of it that was segmented, differs from those of the calibration."""
    record, region = segmentation.record, segmentation.segmented_region
    # a model without a reference for the fit cannot be checked, and its intervals were always used
    if record.fit is None and card.fit is not None:
        yield "whether the image fits the model was not checked"
    elif record.fit is not None and record.fit.state != "fits":
        yield _fit_phrase(record.fit)
    dimensions = image_dimensions(segmentation)
    is_unlike = record.fit is not None and record.fit.state != "fits"  # which names the dimensions, too
    if interval.dimensions is not None and interval.dimensions != dimensions and not is_unlike:
        names = {2: "an image of one slice", 3: "a volume"}
        yield f"this is {names[dimensions]}, and the calibration used {interval.dimensions}D images"
    if record.plane != "acquired":
        yield f"the slices are {record.plane}, not as acquired"
    if not region.is_whole:
        yield f"only {region.describe()} {'was' if region.has_all_slices else 'were'} segmented"


def _fit_phrase(fit: Fit) -> str:
    """The verdict and its reasons within a sentence."""
    return fit.describe()[0].lower() + fit.describe()[1:]


def _differences_of_run(record: RunRecord, card: RunCard, interval: Calibrated) -> Iterator[str]:
    """How the samples differ from those of the calibration."""
    if not record.complete:
        yield f"the run was cancelled after {record.samples} of {record.samples_asked} samples"
    elif record.samples < record.samples_asked:
        yield "sampling stopped early, when the mask no longer changed"
    if record.source != interval.source:
        sources = [SAMPLING_SOURCES.get(s, s) for s in (record.source, interval.source)]
        yield f"the samples come from {sources[0]} (calibration: {sources[1]})"
    if record.samples < interval.samples:
        yield f"only {count_text(record.samples, 'sample')} (calibration: {interval.samples})"
    if interval.precisions and record.precision not in interval.precisions:
        yield f"computed in {record.precision} (calibration: {' and '.join(interval.precisions)})"
    if record.temperature != card.temperature:
        yield "the mean probability was computed with another temperature than the calibration used"
    # of the samples, as the tolerance was measured; 1e-5: thresholds come from sliders and JSON
    thresholds = record.sample_threshold, record.raw_threshold(interval.threshold)
    if abs(thresholds[0] - thresholds[1]) > THRESHOLD_TOLERANCE + 1e-5:
        yield f"the threshold is {record.threshold:.2f} (calibration: {interval.threshold:.2f})"
    if record.volumes_cleaned:
        yield "the samples were post-processed"
    if record.hints is not None:
        yield "hints re-weighted the samples"


def image_dimensions(segmentation: Segmentation) -> Literal[2, 3]:
    """3 for volumes of several slices, whether or not there is a time axis; else 2."""
    axes = segmentation.axes
    return 3 if "z" in axes and segmentation.mask.shape[axes.index("z")] > 1 else 2
