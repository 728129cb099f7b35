"""The page of an evaluation; its layout is in `evaluation.html.j2`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.evaluation.expected_dice import MISSED_DICE
from napari_latentseg.evaluation.mean_calibration import MeanCalibration
from napari_latentseg.evaluation.report import EvaluationReport
from napari_latentseg.models.card import ModelCard
from napari_latentseg.report.evaluation_pictures import CasePicture
from napari_latentseg.report.evaluation_text import (
    Cell,
    calibration_rows,
    object_rows,
    paired_rows,
    paired_texts,
    reader_rows,
    reader_texts,
    risk_texts,
    score_rows,
    score_texts,
    training_warning,
)
from napari_latentseg.report.explanation import curve_points
from napari_latentseg.report.templates import write_page
from napari_latentseg.report.write_report import check_report
from napari_latentseg.utils.atomic import check_writable_folder
from napari_latentseg.utils.counts import count_text

__all__ = ["check_evaluation_page", "write_evaluation_page"]

_BINS = 20
"""Of the histogram, 0.05 wide: fewer hide a second hump, and more are ragged with some dozen images."""


def check_evaluation_page(path: Path) -> Path:
    """Check the file of a page before anything is computed; returns it.

    Raises
    ------
    BadInput
        If it does not end in `.html` or `.htm`, is a folder, or its folder cannot be written.
    """
    check_report(path)
    check_writable_folder(path.absolute().parent)
    return path


def write_evaluation_page(
    path: Path, report: EvaluationReport, card: ModelCard, pictures: Sequence[CasePicture]
) -> Path:
    """Write an evaluation as one HTML file, pictures included, without scripts.

    Parameters
    ----------
    path
        As for `write_page`.
    report
        The evaluation. The page names its images by their names there.
    card
        Of the model.
    pictures
        Of single images, in the order in which they are shown.
    """
    return write_page(path, "evaluation.html.j2", _values(report, card, pictures))


def _values(report: EvaluationReport, card: ModelCard, pictures: Sequence[CasePicture]) -> dict[str, Any]:
    dsc = np.array([image.dsc for image in report.images])
    warning = training_warning(report)
    marks = [
        (float(dsc.mean()), f"mean {dsc.mean():.3f}"),
        (float(np.median(dsc)), f"median {np.median(dsc):.3f}"),
    ]
    return {
        "title": card.title or report.model.name,
        "image_count": report.image_count,
        "warnings": [warning] if warning else [],
        "facts": _facts(report),
        "score_rows": score_rows(report),
        "score_texts": score_texts(report),
        "bars": np.histogram(dsc, bins=_BINS, range=(0, 1))[0].tolist(),
        "marks": marks,
        "histogram_text": _histogram_text(dsc, report.missed_count),
        "pictures": [_picture_values(picture) for picture in pictures],
        "uncertainty_text": _uncertainty_text(pictures),
        "calibration": None if report.calibration is None else _calibration_values(report.calibration),
        "paired": _paired_values(report),
        "readers": _reader_values(report),
        "object_rows": object_rows(report),
        "sample_rows": [
            [str(row.samples), f"{row.dsc:.4f}", f"{row.iou:.4f}", f"{row.hd95:.1f}"]
            for row in report.by_samples
        ],
        **_case_values(report),
        "left_out": [image.reason for image in report.left_out],
        "conventions": list(report.conventions.items()),
    }


def _facts(report: EvaluationReport) -> list[tuple[str, str]]:
    protocol = report.protocol
    at = "" if protocol is None or protocol.size is None else f" at {protocol.size} x {protocol.size} pixels"
    images = str(report.image_count)
    if report.intervals is not None and report.intervals.unit == "patient":
        images += f" of {count_text(report.intervals.units, 'patient')}"
    if report.subset:
        images += f" ({report.subset})"
    if report.left_out:
        images += f", {len(report.left_out)} left out"
    engine = f", computed by {report.engine}" if report.engine else ""
    return [
        ("Model", f"{report.model.name}, version {report.model.version}"),
        ("Method", report.model.method),
        ("Images", images),
        ("Samples", f"{report.samples} from {report.source}"),
        ("Threshold", f"{report.threshold:.3g}"),
        ("Precision", f"{report.precision}{engine}"),
        ("Protocol", "none: at the size of the files" if protocol is None else f"{protocol.name}{at}"),
        ("Seed", str(report.seed)),
    ]


def _histogram_text(dsc: np.ndarray[Any, Any], missed: int) -> str:
    return (
        f"How many images have which Dice; red is the mean, blue the median. Half of the images lie between"
        f" {np.percentile(dsc, 25):.3f} and {np.percentile(dsc, 75):.3f}. In {missed} of {len(dsc)} the mask"
        f" is in the wrong place or missing (Dice below {MISSED_DICE}): a mean says nothing of these."
    )


def _uncertainty_text(pictures: Sequence[CasePicture]) -> str:
    if any(picture.has_variance for picture in pictures):
        return "the root of the variance of the samples, from 0 to 0.5"
    return "min(p, 1 - p) of the probability p, from 0 to 0.5"


def _picture_values(picture: CasePicture) -> dict[str, Any]:
    return {
        "title": picture.title,
        "name": picture.name,
        "dsc": f"{picture.dsc:.4f}",
        "where": f"; {picture.slice_text}" if picture.slice_text else "",
        **picture.panels.values,
    }


def _calibration_values(calibration: MeanCalibration) -> dict[str, Any]:
    curve = calibration.risk_coverage
    # a round number above the curve, so that small errors can be told apart
    top = next(
        top for top in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if top >= max(*curve.risk, curve.random_area)
    )
    return {
        "points": curve_points(calibration.reliability),
        "rows": calibration_rows(calibration),
        "risk_points": list(zip(curve.coverage, curve.risk, strict=True)),
        "risk_top": top,
        "random_risk": curve.random_area,
        "risk_texts": risk_texts(calibration),
        "area_rows": [
            [title, Cell(f"calibration.risk_coverage.{key}", f"{getattr(curve, key):.4f}")]
            for title, key in (
                ("of this model", "area"),
                ("if it knew the Dice of each image", "best_area"),
                ("if it knew nothing", "random_area"),
            )
        ],
    }


def _paired_values(report: EvaluationReport) -> dict[str, Any] | None:
    paired = report.paired
    if paired is None:
        return None
    return {
        "title": f"{paired.against.name} {paired.against.version}",
        "points": [
            (other, image.dsc) for other, image in zip(paired.against_dsc, report.images, strict=True)
        ],
        "rows": paired_rows(paired),
        "texts": paired_texts(paired),
    }


def _reader_values(report: EvaluationReport) -> dict[str, Any] | None:
    readers = report.readers
    if readers is None:
        return None
    return {
        "count": readers.readers,
        "rows": reader_rows(report, readers),
        "texts": reader_texts(readers),
    }


def _case_values(report: EvaluationReport) -> dict[str, Any]:
    """The table of images, in ascending order of their Dice."""
    calibration, paired = report.calibration, report.paired
    head, text = ["Image", "Dice", "IoU", "HD95 (pixels)"], ""
    class_names = list(report.classes) if len(report.classes) > 1 else []
    head += [f"Dice of {name}" for name in class_names]
    if calibration is not None:
        head.append("Confidence")
        text = "Confidence: Dice of the mask and the mean probability, 1 where the samples agree everywhere."
    if paired is not None:
        head.append(f"Dice of {paired.against.name}")
    empty_texts = {"prediction": "nothing found", "truth": "nothing is there", "both": "rightly empty"}
    has_empty = any(image.empty for image in report.images)
    if has_empty:
        head.append("Empty")
    rows: list[list[str | Cell]] = []
    for i in sorted(range(len(report.images)), key=lambda i: report.images[i].dsc):
        image = report.images[i]
        key = f"images.{i}"
        row: list[str | Cell] = [
            image.name,
            Cell(f"{key}.dsc", f"{image.dsc:.4f}"),
            Cell(f"{key}.iou", f"{image.iou:.4f}"),
            Cell(f"{key}.hd95", f"{image.hd95:.1f}"),
        ]
        row += [f"{image.classes[name].dsc:.4f}" if name in image.classes else "" for name in class_names]
        if calibration is not None:
            row.append(Cell(f"calibration.confidence.{i}", f"{calibration.confidence[i]:.4f}"))
        if paired is not None:
            row.append(Cell(f"paired.against_dsc.{i}", f"{paired.against_dsc[i]:.4f}"))
        if has_empty:
            row.append(empty_texts.get(image.empty, ""))
        rows.append(row)
    return {"case_head": head, "case_rows": rows, "case_text": text}
