"""The figures of an evaluation as the rows of one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_latentseg.core.percent import percent
from napari_latentseg.evaluation.bootstrap import Interval
from napari_latentseg.evaluation.expected_dice import MISSED_DICE
from napari_latentseg.evaluation.report import EvaluationReport, PairedScore
from napari_latentseg.report.evaluation_text import interval_text, p_value_text
from napari_latentseg.utils.counts import count_text

__all__ = ["SummaryRow", "summary_line", "summary_rows"]


@dataclass(frozen=True)
class SummaryRow:
    """A figure with its 95 % interval, beside that of another model; a text is empty where there is none.

    Attributes
    ----------
    name, value, interval
        Of the model.
    other
        The figure of the other model.
    difference, p_value
        The mean difference (model minus other) with its 95 % interval, and p of the paired test.
    tooltip
        What the figure means.
    """

    name: str
    value: str
    interval: str = ""
    other: str = ""
    difference: str = ""
    p_value: str = ""
    tooltip: str = ""


_MEANINGS = {
    "dsc": "Dice: overlap of prediction and reference; 1 is equal masks",
    "iou": "Intersection over union; 1 is equal masks",
    "hd95": "Distance of the outlines that 95 % of their points keep, in pixels or voxels; 0 is best",
}


def summary_line(report: EvaluationReport, source_labels: Mapping[str, str]) -> str:
    """What was scored, and how, in one line.

    Parameters
    ----------
    report
        The evaluation.
    source_labels
        The sampling sources in words.
    """
    images = count_text(report.image_count, "image")
    if report.intervals is not None and report.intervals.unit == "patient":
        images += f" of {count_text(report.intervals.units, 'patient')}"
    samples = source_labels[report.source]
    if report.source != "none":
        samples = f"{count_text(report.samples, 'sample')} from {samples}"
    model = f"{report.model.name} {report.model.version}"
    return f"{model}: {images}, {samples}, threshold {report.threshold:.3g}"


def summary_rows(report: EvaluationReport) -> list[SummaryRow]:
    """Means, classes, missed images, objects, calibration and the agreement with readers, in this order."""
    intervals, paired = report.intervals, report.paired
    rows = []
    for key, title, digits in (("dsc", "Dice", 4), ("iou", "IoU", 4), ("hd95", "HD95 (pixels)", 1)):
        interval = None if intervals is None else getattr(intervals.mean, key)
        score = None if paired is None else getattr(paired, key)
        other = None if paired is None else getattr(paired.against_mean, key)
        row = _score_row(title, getattr(report.mean, key), interval, other, score, digits, _MEANINGS[key])
        rows.append(row)
    for name, mean in report.classes.items():
        ends = None if intervals is None else intervals.classes.get(name)
        score = None if paired is None else paired.classes.get(name)
        title = f"Dice of {name} ({count_text(mean.images, 'image')})"
        interval = None if ends is None else ends.dsc
        rows.append(_score_row(title, mean.dsc, interval, None, score, 4, _MEANINGS["dsc"]))
    rows += [_missed_row(report), *_object_rows(report)]
    return [*rows, *_calibration_rows(report), *_reader_rows(report)]


def _score_row(
    title: str,
    value: float,
    interval: Interval | None,
    other: float | None,
    score: PairedScore | None,
    digits: int,
    tooltip: str,
) -> SummaryRow:
    difference = p_value = ""
    if score is not None:
        difference = f"{score.mean_difference:+.{digits}f}"
        if score.interval is not None:
            difference += f" ({interval_text(score.interval, digits, is_signed=True)})"
        p_value = "" if score.p_value is None else p_value_text(score.p_value)
    return SummaryRow(
        title,
        f"{value:.{digits}f}",
        "" if interval is None else interval_text(interval, digits),
        "" if other is None else f"{other:.{digits}f}",
        difference,
        p_value,
        tooltip,
    )


def _missed_row(report: EvaluationReport) -> SummaryRow:
    def text(missed: int) -> str:
        return f"{missed} of {report.image_count} ({percent(missed / report.image_count)})"

    other = ""
    if report.paired is not None:
        other = text(sum(dsc < MISSED_DICE for dsc in report.paired.against_dsc))
    meaning = "Images whose mask is missing or in the wrong place; a mean says nothing of these"
    return SummaryRow(
        f"Missed (Dice < {MISSED_DICE})", text(report.missed_count), other=other, tooltip=meaning
    )


def _object_rows(report: EvaluationReport) -> list[SummaryRow]:
    meaning = "Objects of prediction and reference, matched at an IoU above 0.5"
    rows = []
    for name, objects in report.objects.items():
        total = objects.matched + objects.missed
        matched = f"{objects.matched} of {total}, {objects.extra} extra"
        rows.append(SummaryRow(f"Objects of {name}: AP", f"{objects.average_precision:.4f}", tooltip=meaning))
        rows.append(SummaryRow(f"Objects of {name}: matched", matched, tooltip=meaning))
    return rows


def _calibration_rows(report: EvaluationReport) -> list[SummaryRow]:
    calibration = report.calibration
    if calibration is None:
        return []
    reliability = calibration.reliability
    rows = [
        SummaryRow(
            "Calibration error (ECE)",
            f"{reliability.ece:.4f}",
            tooltip="How far probability and truth are apart, over all pixels; 0 is best",
        )
    ]
    if reliability.ece_unsure is not None:
        first, last = reliability.uncertain_range
        rows.append(
            SummaryRow(
                f"ECE for probabilities {first:g} to {last:g}",
                f"{reliability.ece_unsure:.4f}",
                tooltip="The same over the pixels where the model is unsure",
            )
        )
    return rows


def _reader_rows(report: EvaluationReport) -> list[SummaryRow]:
    readers = report.readers
    if readers is None:
        return []
    ends = None if report.intervals is None else report.intervals.readers
    return [
        SummaryRow(
            f"{title} ({count_text(readers.readers, 'reader')})",
            f"{getattr(readers.mean, key):.4f}",
            "" if ends is None else interval_text(getattr(ends, key)),
            tooltip=meaning,
        )
        for key, title, meaning in (
            ("ged2", "GED²", "Samples and readers compared as sets of masks; 0 is best"),
            ("matched_iou", "Matched IoU", "IoU of samples and readers, matched one to one"),
        )
    ]
