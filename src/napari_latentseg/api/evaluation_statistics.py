"""What `evaluate` reports beyond the scores: intervals, a comparison with another model, and a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.data.cases import Case
    from napari_latentseg.evaluation.report import EvaluationReport
    from napari_latentseg.inference.evaluate import Evaluation
    from napari_latentseg.report.evaluation_pictures import CasePicture

__all__ = [
    "case_pictures",
    "earlier_evaluation",
    "patients_of",
    "with_intervals",
]


def patients_of(
    names: Sequence[str], pattern: str | None, on_note: Callable[[str], None] = lambda text: None
) -> list[str] | None:
    """The patient of each image; None without a pattern.

    Parameters
    ----------
    names
        Of the images.
    pattern
        A regular expression whose first group is the patient.
    on_note
        Called with a sentence where it matches some of the names alone: the others are patients of their own.

    Raises
    ------
    BadInput
        If it is no such expression, or matches none of the names.
    """
    if pattern is None:
        return None
    from napari_latentseg.data.split import groups_by_name
    from napari_latentseg.training.dataset_config import check_patient_pattern

    try:
        check_patient_pattern(pattern)
    except ValueError as error:
        raise BadInput("patients", f"{pattern!r} {error}", r"write one such as '^(patient\d+)'") from error
    patients = groups_by_name(names, pattern)
    if patients == list(names):
        why = f"{pattern!r} finds no patient in {names[0]}"
        raise BadInput("patients", why, "put parentheses around the part of the name that is the patient")
    if unmatched := sum(re.match(pattern, name) is None for name in names):
        on_note(
            f"the pattern of patients matches {len(names) - unmatched} of {len(names)} names; each of the"
            " other images counts as a patient of its own"
        )
    return patients


def with_intervals(report: EvaluationReport, patients: Sequence[str] | None) -> EvaluationReport:
    """The report with the medians and the bootstrapped intervals of its scores."""
    import numpy as np

    from napari_latentseg.evaluation.intervals import score_intervals
    from napari_latentseg.evaluation.report import MeanScores

    table = [[image.dsc, image.iou, image.hd95] for image in report.images]
    dsc, iou, hd95 = np.median(table, axis=0).tolist()
    intervals = score_intervals(
        report.images,
        [image.classes for image in report.images],
        None if report.protocol is None else report.protocol.aggregation,
        patients,
        report.readers,
    )
    return report.replace(median=MeanScores(dsc=dsc, iou=iou, hd95=hd95), intervals=intervals)


def earlier_evaluation(against: str | Path, cases: Sequence[Case]) -> EvaluationReport | None:
    """The evaluation in a JSON file; None where `against` is a model.

    Raises
    ------
    BadInput
        If it cannot be read, or has scores of images that are not among the cases.
    """
    from napari_latentseg.evaluation.report_file import read_evaluation

    path = Path(against)
    if path.suffix.lower() != ".json":
        return None
    report = read_evaluation(path)
    names = {case.name for case in cases}
    if foreign := [image.name for image in report.images if image.name not in names]:
        further = f" and {len(foreign) - 1} further images" if len(foreign) > 1 else ""
        why = f"has scores of {foreign[0]}{further}, which are not evaluated here"
        raise BadInput(path, why, "evaluate both models on the same images")
    return report


def case_pictures(evaluation: Evaluation, report: EvaluationReport) -> list[CasePicture]:
    """The best image, the one at the median, and the worst by Dice, each with its pictures.

    These images are segmented once more, since the results of all do not fit into memory.

    Raises
    ------
    BadInput
        If one can no longer be read.
    """
    from napari_latentseg.report.evaluation_pictures import draw_case

    order = sorted(range(len(report.images)), key=lambda i: report.images[i].dsc)
    chosen = {"Best": order[-1], "Median": order[(len(order) - 1) // 2], "Worst": order[0]}
    pictures: list[CasePicture] = []
    for title, i in chosen.items():
        if not any(picture.name == report.images[i].name for picture in pictures):
            scan, reference, result = evaluation.segment_again(evaluation.scored_cases[i])
            pictures.append(draw_case(title, report.images[i], scan, reference, result))
    return pictures
