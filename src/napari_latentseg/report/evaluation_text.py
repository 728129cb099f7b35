"""The figures of an evaluation in words, with what each of them means."""

from __future__ import annotations

from typing import NamedTuple

from napari_latentseg.evaluation.bootstrap import Interval
from napari_latentseg.evaluation.mean_calibration import MeanCalibration
from napari_latentseg.evaluation.readers import ReaderReport
from napari_latentseg.evaluation.report import EvaluationReport, PairedReport, PairedScore
from napari_latentseg.utils.counts import count_text

__all__ = [
    "Cell",
    "calibration_rows",
    "interval_text",
    "object_rows",
    "p_value_text",
    "paired_rows",
    "paired_texts",
    "reader_rows",
    "reader_texts",
    "risk_texts",
    "score_rows",
    "score_texts",
    "training_warning",
]

_FEW_UNITS = 20
"""With fewer images a bootstrapped interval is clearly too narrow: its true level is below 90 %."""

_DIGITS = {"dsc": 4, "iou": 4, "hd95": 1}


class Cell(NamedTuple):
    """A figure of the page: its place in the JSON of the evaluation, and its text."""

    key: str
    text: str


def interval_text(interval: Interval | None, digits: int = 4, *, is_signed: bool = False) -> str:
    """An interval in words; a dash where there is none."""
    if interval is None:
        return "-"
    low, high = (f"{end:+.{digits}f}" if is_signed else f"{end:.{digits}f}" for end in interval)
    return f"{low} to {high}"


def p_value_text(p_value: float | None) -> str:
    """A p value in words; a dash where no image differs."""
    if p_value is None:
        return "-"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def score_rows(report: EvaluationReport) -> list[list[str | Cell]]:
    """A row for the means, the medians and each class, with their intervals."""
    intervals = report.intervals
    sources = [("Mean over classes" if _is_by_class(report) else "Mean", "mean", report.mean)]
    sources += [("Median", "median", report.median)] if report.median is not None else []
    rows: list[list[str | Cell]] = []
    for title, key, values in sources:
        ends = None if intervals is None else getattr(intervals, key)
        rows.append([title, *_score_cells(key, values, ends)])
    for name, scores in report.classes.items():
        ends = None if intervals is None else intervals.classes.get(name)
        row = _score_cells(f"classes.{name}", scores, ends)
        rows.append([f"{name} ({count_text(scores.images, 'image')})", *row])
    return rows


def _is_by_class(report: EvaluationReport) -> bool:
    return report.protocol is not None and report.protocol.aggregation == "class"


def _score_cells(key: str, values: object, ends: object) -> list[str | Cell]:
    cells: list[str | Cell] = []
    for score, digits in _DIGITS.items():
        text = f"{getattr(values, score):.{digits}f}"
        if ends is not None:
            text += f" ({interval_text(getattr(ends, score), digits)})"
        cells.append(Cell(f"{key}.{score}", text))
    return cells


def score_texts(report: EvaluationReport) -> list[str]:
    """What the scores and their intervals mean."""
    lines = [
        "Dice is the overlap of prediction and reference: 0 is none, 1 is equal masks. IoU is the same"
        " in another scale, always the smaller. HD95 is a distance of the two outlines, which 95 % of their"
        " points keep: 0 is best.",
    ]
    intervals = report.intervals
    if intervals is None:
        lines.append("There are no intervals: a single image or patient tells nothing of the spread.")
    else:
        lines.append(
            f"In parentheses: 95 % intervals, by drawing {intervals.units} of the {intervals.units}"
            f" {intervals.unit}s again and again ({intervals.resamples} times). They tell how much the figure"
            f" depends on which {intervals.unit}s happened to be scored, not how it would be at another"
            " hospital or scanner."
        )
        if intervals.units < _FEW_UNITS:
            lines.append(
                f"With so few {intervals.unit}s ({intervals.units}) the intervals are too narrow: take them"
                " as a lower bound of the uncertainty."
            )
    if report.protocol is not None:
        pooled = report.protocol.pooled
        lines.append(
            f"Scored by the protocol {report.protocol.name}. Over all pixels together: Dice {pooled.dsc:.4f},"
            f" IoU {pooled.iou:.4f}."
        )
    if report.empty and any(report.empty.values()):
        missed, invented = report.empty.get("prediction", 0), report.empty.get("truth", 0)
        lines.append(
            f"Empty masks: {missed} where nothing was found though something is there, {invented} where"
            f" something was found though nothing is there, {report.empty.get('both', 0)} rightly."
        )
    return lines


def training_warning(report: EvaluationReport) -> str:
    """A warning where the model has seen some of the images; empty where it has not."""
    total = f"these {count_text(report.image_count, 'image')}"
    if report.training_count:
        return f"The model was trained on {report.training_count} of {total}: the scores are too high."
    if report.validation_count:
        return (
            f"The model was validated on {report.validation_count} of {total} in training: its weights,"
            " threshold or calibration may have been chosen by them."
        )
    return ""


def calibration_rows(calibration: MeanCalibration) -> list[list[str | Cell]]:
    """A row for each figure with what it means."""
    reliability = calibration.reliability
    first, last = reliability.uncertain_range
    unsure = "none" if reliability.ece_unsure is None else f"{reliability.ece_unsure:.4f}"
    return [
        [
            "Calibration error (ECE)",
            Cell("calibration.reliability.ece", f"{reliability.ece:.4f}"),
            "How far probability and truth are apart, over all pixels. 0 is best; small in most images, since"
            " most pixels are clearly background.",
        ],
        [
            f"ECE for {first:g} to {last:g}",
            Cell("calibration.reliability.ece_unsure", unsure),
            f"The same over the pixels with a mean probability in [{first:g}, {last:g}], where it matters.",
        ],
        [
            "Brier score",
            Cell("calibration.brier", f"{calibration.brier:.4f}"),
            "Mean squared error of the probabilities: 0 is best, 0.25 is what 50 % everywhere gives.",
        ],
        [
            "Curve",
            "",
            "On the dashed line, 70 % is right in 70 % of the pixels. Below it the model is too sure that the"
            " class is there, above it not sure enough.",
        ],
    ]


def risk_texts(calibration: MeanCalibration) -> list[str]:
    """What the curve of risk over coverage means, with the figure at half of the images."""
    curve = calibration.risk_coverage
    half = curve.risk[(len(curve.risk) - 1) // 2]
    return [
        "The images are put in the order of how sure the model is of its mask (Dice of mask and mean"
        " probability). The curve is the mean error of the images up to there; it should begin low and rise"
        " to the dashed line, the mean error of all images.",
        f"Mean error (1 - Dice) of the half that the model is surest of: {half:.4f}; of all:"
        f" {curve.random_area:.4f}.",
    ]


def paired_rows(paired: PairedReport) -> list[list[str | Cell]]:
    """A row for each score and each class."""
    scores: list[tuple[str, str, PairedScore, int]] = [
        ("Dice", "paired.dsc", paired.dsc, 4),
        ("IoU", "paired.iou", paired.iou, 4),
        ("HD95", "paired.hd95", paired.hd95, 1),
    ]
    scores += [
        (f"Dice of {name} ({count_text(score.images, 'image')})", f"paired.classes.{name}", score, 4)
        for name, score in paired.classes.items()
    ]
    return [
        [
            title,
            Cell(f"{key}.mean_difference", f"{score.mean_difference:+.{digits}f}"),
            Cell(f"{key}.interval", interval_text(score.interval, digits, is_signed=True)),
            Cell(f"{key}.p_value", p_value_text(score.p_value)),
            Cell(f"{key}.better", str(score.better)),
            Cell(f"{key}.equal", str(score.equal)),
            Cell(f"{key}.worse", str(score.worse)),
        ]
        for title, key, score, digits in scores
    ]


def paired_texts(paired: PairedReport) -> list[str]:
    """How the other model was run, what the test says, and whether the other has seen the images."""
    other, score = paired.against, paired.dsc
    lines = [
        f"{other.name}, version {other.version} ({other.method}), {count_text(paired.samples, 'sample')} from"
        f" {paired.source}, threshold {paired.threshold:.3g}, {paired.precision}: Dice"
        f" {paired.against_mean.dsc:.4f}.",
        f"Difference: this model minus the other, image by image, with intervals over {paired.units}"
        f" {paired.unit}s. p: Wilcoxon signed-rank test, two-sided; a small p says that a difference like"
        " this is unlikely if the models were equally good. Above the dashed line this model is the better"
        " one.",
    ]
    if score.interval is not None:
        is_clear = score.interval[0] > 0 or score.interval[1] < 0
        which = "better" if score.mean_difference > 0 else "worse"
        lines.append(
            f"In the mean Dice this model is {which} on such images."
            if is_clear
            else "The interval of the mean difference in Dice holds 0: these images do not tell which model"
            " is better."
        )
    if paired.training_count:
        lines.append(
            f"The other model was trained on {paired.training_count} of these images,"
            " so its scores are too high."
        )
    elif paired.validation_count:
        lines.append(f"{paired.validation_count} of these images were the other model's validation images.")
    return lines


def object_rows(report: EvaluationReport) -> list[list[str | Cell]]:
    """The objects of each class that were matched; empty where none were asked for."""

    def cell(name: str, field: str, value: float | None) -> str | Cell:
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        return "-" if value is None else Cell(f"objects.{name}.{field}", text)

    fields = ("average_precision", "matched", "missed", "extra", "precision", "recall", "f1")
    return [
        [name, *(cell(name, field, getattr(scores, field)) for field in fields)]
        for name, scores in report.objects.items()
    ]


def reader_rows(report: EvaluationReport, readers: ReaderReport) -> list[list[str | Cell]]:
    """The agreement with readers, and that of readers with each other, as the reference."""
    mean = readers.mean
    ends = None if report.intervals is None else report.intervals.readers
    rows: list[list[str | Cell]] = [
        [
            "GED² of samples and readers",
            Cell("readers.mean.ged2", f"{mean.ged2:.4f}"),
            Cell("intervals.readers.ged2", interval_text(None if ends is None else ends.ged2)),
        ],
        [
            "IoU, samples and readers matched one to one",
            Cell("readers.mean.matched_iou", f"{mean.matched_iou:.4f}"),
            Cell("intervals.readers.matched_iou", interval_text(None if ends is None else ends.matched_iou)),
        ],
        ["IoU of a sample and a reader", f"{1 - mean.sample_reader_distance:.4f}", ""],
    ]
    for title, distance, count in (
        ("IoU of two samples", mean.sample_distance, report.samples),
        ("IoU of two readers (the reference)", mean.reader_distance, readers.readers),
    ):
        if count > 1:  # the mean distance counts the pairs of a mask with itself, whose distance is 0
            rows.append([title, f"{1 - distance * count / (count - 1):.4f}", ""])
    return rows


def reader_texts(readers: ReaderReport) -> list[str]:
    """What the figures beside readers mean."""
    return [
        "GED² compares the samples with the readers as two sets of masks: 0 where the samples are like the"
        " readers' masks, in shape and in how much they differ; up to 2. It depends on the number of"
        " samples.",
        f"The readers among each other ({readers.readers}) are the reference: a model whose samples agree"
        " with a reader as well as two readers do is as good as a further reader by this measure, and samples"
        " that agree more among themselves than the readers do are too sure.",
    ]
