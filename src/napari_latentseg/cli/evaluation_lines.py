"""The lines of `evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_latentseg.cli.console import print_line, print_table
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.evaluation.bootstrap import Interval
    from napari_latentseg.evaluation.objects import ObjectScores
    from napari_latentseg.evaluation.readers import ReaderReport
    from napari_latentseg.evaluation.report import (
        EvaluationReport,
        PairedReport,
        PairedScore,
        StabilityReport,
    )

__all__ = ["print_evaluation"]


def print_evaluation(report: EvaluationReport, subset: str, *, quiet: bool) -> None:
    """Print the scores of an evaluation, after a warning where they flatter the model.

    Parameters
    ----------
    report
        What was scored.
    subset
        Which part was asked for.
    quiet
        Whether nothing is printed.
    """
    if warning := _training_overlap(report, subset):
        print_line(warning, quiet=quiet)
    mean, protocol = report.mean, report.protocol
    samples = count_text(report.samples, "sample")
    images = f"{count_text(report.image_count, 'image')}, {samples} from {report.source}"
    if protocol is not None:
        mean = protocol.mean
        at = "at file size" if protocol.size is None else f"at {protocol.size} x {protocol.size}"
        images = f"protocol {protocol.name} {at}, {images}"
    scores = f"Dice {mean.dsc:.4f}  IoU {mean.iou:.4f}  HD95 {mean.hd95:.1f} pixel"
    if protocol is not None:
        pooled = f"Dice {protocol.pooled.dsc:.4f}  IoU {protocol.pooled.iou:.4f} pooled over all pixels"
        if protocol.aggregation == "pooled":
            scores = f"{pooled}; {scores} as means over images"
        elif protocol.soft_dsc is not None:
            scores += f"  soft Dice {protocol.soft_dsc:.4f}"
    print_line(f"{scores}  ({images})", quiet=quiet)
    for line in _interval_lines(report):
        print_line(line, quiet=quiet)
    for name, scores_of_class in report.classes.items():
        print_line(
            f"  {name}: Dice {scores_of_class.dsc:.4f}  IoU {scores_of_class.iou:.4f}"
            f"  HD95 {scores_of_class.hd95:.1f} pixel  ({count_text(scores_of_class.images, 'image')}"
            f"{_class_interval(report, name)})",
            quiet=quiet,
        )
    if protocol is not None and any(protocol.empty.values()):
        counts = ", ".join(f"{which} {count}" for which, count in protocol.empty.items() if count)
        print_line(f"empty masks: {counts}", quiet=quiet)
    if report.paired is not None:
        for line in _paired_lines(report.paired):
            print_line(line, quiet=quiet)
    if report.by_samples:
        rows = [("samples", "Dice", "IoU", "HD95")]
        rows += [
            (str(row.samples), f"{row.dsc:.4f}", f"{row.iou:.4f}", f"{row.hd95:.1f}")
            for row in report.by_samples
        ]
        print_table(rows, quiet=quiet)
    if report.stability is not None:
        print_line(_stability_line(report.stability), quiet=quiet)
    for name, objects in report.objects.items():
        print_line(_objects_line(name, objects), quiet=quiet)
    if report.readers is not None:
        for line in _reader_lines(report.readers):
            print_line(line, quiet=quiet)


def _interval_lines(report: EvaluationReport) -> list[str]:
    intervals, median = report.intervals, report.median
    if intervals is None or median is None:
        return []
    return [
        f"  95 % intervals over {intervals.units} {intervals.unit}s: Dice {_interval(intervals.mean.dsc)}"
        f"  IoU {_interval(intervals.mean.iou)}  HD95 {_interval(intervals.mean.hd95, 1)} pixel",
        f"  median Dice {median.dsc:.4f} ({_interval(intervals.median.dsc)})",
    ]


def _class_interval(report: EvaluationReport, name: str) -> str:
    if report.intervals is None or name not in report.intervals.classes:
        return ""
    return f"; 95 % interval of the Dice {_interval(report.intervals.classes[name].dsc)}"


def _paired_lines(paired: PairedReport) -> list[str]:
    other = paired.against
    settings = f"{count_text(paired.samples, 'sample')} from {paired.source}"
    lines = [
        f"against {other.name} {other.version} ({settings}; Dice {paired.against_mean.dsc:.4f}): "
        f"Dice {_difference(paired.dsc)}"
    ]
    lines += [f"  {name}: Dice {_difference(score)}" for name, score in paired.classes.items()]
    if paired.training_count:
        lines.append(f"  {other.name} was trained on {paired.training_count} of the images")
    elif paired.validation_count:
        lines.append(f"  {paired.validation_count} of the images were validation images of {other.name}")
    return lines


def _difference(score: PairedScore) -> str:
    interval = "" if score.interval is None else f" ({_interval(score.interval, sign='+')})"
    test = "" if score.p_value is None else f", Wilcoxon p {_p_value(score.p_value)}"
    counts = f"better in {score.better}, worse in {score.worse}, equal in {score.equal}"
    return f"{score.mean_difference:+.4f}{interval}{test}; {counts}"


def _p_value(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _interval(interval: Interval, digits: int = 4, sign: str = "") -> str:
    low, high = interval
    return f"{low:{sign}.{digits}f} to {high:{sign}.{digits}f}"


def _stability_line(stability: StabilityReport) -> str:
    def text(value: float | None, unit: str) -> str:
        return "none" if value is None else f"{value:.2f} {unit}" if unit else f"{value:.4f}"

    parts = [
        f"{title} PSNR {text(psnr, 'dB')}, SSIM {text(ssim, '')}"
        for title, psnr, ssim in (
            ("masks", stability.mask_psnr, stability.mask_ssim),
            ("probabilities", stability.probability_psnr, stability.probability_ssim),
        )
    ]
    counts = f"{count_text(stability.pairs, 'pair')}, {stability.identical} with equal masks"
    skipped = f"; {stability.skipped} with an empty mask left out" if stability.skipped else ""
    return f"samples against the first: {'; '.join(parts)} ({counts}{skipped})"


def _objects_line(name: str, objects: ObjectScores) -> str:
    def text(value: float | None) -> str:
        return "none" if value is None else f"{value:.4f}"

    reference_count = objects.matched + objects.missed
    return (
        f"objects of {name}: AP {objects.average_precision:.4f} at an IoU above 0.5"
        f" (over {count_text(objects.images, 'image')}), {objects.matched} of {reference_count} matched,"
        f" {objects.extra} extra; precision {text(objects.precision)}, recall {text(objects.recall)},"
        f" F1 {objects.f1:.4f}"
    )


def _reader_lines(report: ReaderReport) -> list[str]:
    mean, readers = report.mean, count_text(report.readers, "reader")
    return [
        f"GED2 {mean.ged2:.4f}  matched IoU {mean.matched_iou:.4f}  ({readers}, 1 - IoU)",
        f"  mean distance of a sample and a reader {mean.sample_reader_distance:.4f}, of two samples"
        f" {mean.sample_distance:.4f}, of two readers {mean.reader_distance:.4f}",
    ]


def _training_overlap(report: EvaluationReport, subset: str) -> str:
    """A warning where the model has seen some of the images in training; empty where it has not."""
    training, validation = report.training_count, report.validation_count
    total = count_text(report.image_count, "image")
    if (subset == "validation" and not report.subset) or not (training or validation):
        return ""
    if not training:
        return (
            f"the model was validated on {validation} of {total} in training:"
            " its weights, threshold or calibration may have been chosen by them"
        )
    also = f", and validated on {validation}" if validation else ""
    remedy = " (--subset validation scores those alone)" if validation and not report.subset else ""
    return f"the model was trained on {training} of {total}{also}: the scores are too high{remedy}"
