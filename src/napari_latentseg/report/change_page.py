"""The page of a change between two dates; its layout is in `change.html.j2`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_latentseg.change.date_change import DateChange
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.report.change_pictures import FIRST_COLOR, SECOND_COLOR, draw_change, draw_dates
from napari_latentseg.report.change_text import CHANGE_HEAD, change_rows, change_texts
from napari_latentseg.report.templates import write_page

__all__ = ["write_change_page"]


def write_change_page(
    path: Path,
    change: DateChange,
    first: Segmentation,
    second: Segmentation,
    first_image: Scan | None = None,
    second_image: Scan | None = None,
) -> Path:
    """Write the change between two dates as one HTML file, pictures included, without scripts.

    It has no name of a file, a patient or a date of an examination.

    Parameters
    ----------
    path
        As for `write_page`.
    change
        Of the two results.
    first, second
        The results.
    first_image, second_image
        The images that were segmented; the mean probability is shown where one is not given.
    """
    values = _values(change, first, second, (first_image, second_image))
    return write_page(path, "change.html.j2", values)


def _values(
    change: DateChange, first: Segmentation, second: Segmentation, images: tuple[Scan | None, Scan | None]
) -> dict[str, Any]:
    facts = [("Classes", ", ".join(row.name for row in change.changes))]
    for title, result, model in zip(("First", "Second"), (first, second), change.models, strict=True):
        facts += [
            (f"{title} date", result.record.case or "-"),
            (f"{title} model", model),
            (f"{title} spacing", result.geometry.describe_spacing()),
        ]
    together = change.placed_mask.labels is not None
    drawn = draw_change(change, first, images[0]) if together else draw_dates(first, second, images)
    background = "the image of the first date" if images[0] is not None else "the mean probability"
    return {
        "facts": facts,
        "head": CHANGE_HEAD,
        "rows": change_rows(change),
        "texts": change_texts(change),
        "together": together,
        "basis": change.placed_mask.basis.rstrip("."),
        "background": background,
        "chips": (("first date", FIRST_COLOR), ("second date", SECOND_COLOR)),
        "pictures": [picture.values for picture in drawn],
        "conventions": list(change.conventions.items()),
    }
