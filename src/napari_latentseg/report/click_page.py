"""The page of an evaluation by clicks; its layout is in `clicks.html.j2`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.evaluation.click_report import REACHED, ClickReport
from napari_latentseg.models.card import ModelCard
from napari_latentseg.report.click_pictures import ANSWER_COLOR, REFERENCE_COLOR, ObjectPicture
from napari_latentseg.report.evaluation_text import Cell, interval_text
from napari_latentseg.report.templates import write_page
from napari_latentseg.utils.counts import count_text

__all__ = [
    "CLICK_CONVENTIONS",
    "click_summary",
    "click_warning",
    "object_headings",
    "object_texts",
    "write_click_page",
]

_COLUMNS = (1, 3, 5, 10, 20)  # clicks: the first that are reported everywhere, then about twice as many
_BINS = 20  # of the histogram, as on the page of other models

CLICK_CONVENTIONS = (
    ("Dice", "Overlap of answer and reference mask, 1 is equal masks; mean over objects"),
    (
        "objects",
        "the three largest connected objects of each label of an image; of a volume those in the slice where"
        " the label has its largest area",
    ),
    (
        "clicks",
        "the first at the deepest point of the object, each further one at the deepest point of the largest"
        " error of the last answer (Sofiiuk et al., ICIP 2022)",
    ),
    ("answer", "where the mean probability of the samples is above 0.5"),
)
"""How the scores are defined: names, and texts."""


def object_headings(report: ClickReport) -> list[str]:
    """The columns of a table of objects."""
    return ["Image", *(f"Dice after {count_text(number, 'click')}" for number in _shown_clicks(report))]


def object_texts(report: ClickReport) -> list[list[str | Cell]]:
    """A row for each object, in ascending order of the last Dice."""
    objects, shown = report.objects, _shown_clicks(report)
    return [
        [
            objects[i].image,
            *(Cell(f"objects.{i}.dsc.{n - 1}", f"{objects[i].dsc[n - 1]:.4f}") for n in shown),
        ]
        for i in sorted(range(len(objects)), key=lambda i: objects[i].dsc[-1])
    ]


def _shown_clicks(report: ClickReport) -> list[int]:
    """The numbers of clicks for which a table of objects has a column: each of 50 would be unreadable."""
    clicks = len(report.dsc)
    return sorted({n for n in _COLUMNS if n <= clicks} | {clicks})


def click_summary(report: ClickReport) -> str:
    """What was scored, and how, in one line."""
    objects = f"{count_text(report.object_count, 'object')} of {count_text(report.image_count, 'image')}"
    samples, clicks = count_text(report.samples, "sample"), count_text(len(report.dsc), "click")
    return f"{report.model.name} {report.model.version}: {objects}, {clicks} each, {samples} of each answer"


def click_warning(report: ClickReport) -> str:
    """A warning where the model has learnt from some of the images; empty where it has not."""
    if not report.training_count:
        return ""
    count, total = report.training_count, count_text(report.image_count, "image")
    return f"{report.model.name} was trained on {count} of these {total}: the scores are too high."


def write_click_page(
    path: Path, report: ClickReport, card: ModelCard, pictures: Sequence[ObjectPicture]
) -> Path:
    """Write an evaluation by clicks as one HTML file, without scripts.

    Parameters
    ----------
    path
        As for `write_page`.
    report
        The evaluation. The page names its images by their names there.
    card
        Of the model.
    pictures
        Of single objects, in the order in which they are shown.
    """
    return write_page(path, "clicks.html.j2", _values(report, card, pictures))


def _values(report: ClickReport, card: ModelCard, pictures: Sequence[ObjectPicture]) -> dict[str, Any]:
    clicks = len(report.dsc)
    last = np.array([scored.dsc[-1] for scored in report.objects])
    warning = click_warning(report)
    images = str(report.image_count) + (f", {len(report.left_out)} left out" if report.left_out else "")
    return {
        "title": card.title or report.model.name,
        "objects": count_text(report.object_count, "object"),
        "images": count_text(report.image_count, "image"),
        "warnings": [warning] if warning else [],
        "facts": [
            ("Model", f"{report.model.name}, version {report.model.version}"),
            ("Method", report.model.method),
            ("Images", images),
            ("Objects", str(report.object_count)),
            ("Samples", f"{report.samples} of each answer"),
            ("Clicks", f"{clicks} on each object, by a simulated reader"),
        ],
        "score_rows": _score_rows(report),
        "reached": Cell("reached", f"{report.reached:.0%}"),
        "reached_dice": REACHED,
        "points": [((number + 1) / clicks, dsc) for number, dsc in enumerate(report.dsc)],
        "clicks": clicks,
        "bars": np.histogram(last, bins=_BINS, range=(0, 1))[0].tolist(),
        "marks": [
            (float(last.mean()), f"mean {last.mean():.3f}"),
            (float(np.median(last)), f"median {np.median(last):.3f}"),
        ],
        "pictures": [picture.values for picture in pictures],
        "chips": (("reference", REFERENCE_COLOR), ("answer", ANSWER_COLOR)),
        "object_head": object_headings(report),
        "object_rows": object_texts(report),
        "left_out": [image.reason for image in report.left_out],
        "conventions": CLICK_CONVENTIONS,
    }


def _score_rows(report: ClickReport) -> list[list[str | Cell]]:
    return [
        [
            count_text(number + 1, "click"),
            Cell(f"dsc.{number}", f"{dsc:.4f}"),
            Cell(
                f"intervals.{number}",
                interval_text(None if report.intervals is None else report.intervals[number]),
            ),
        ]
        for number, dsc in enumerate(report.dsc)
    ]
