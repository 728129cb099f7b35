"""Writing a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.measure import Measurement, measure
from napari_latentseg.report.page import render_page
from napari_latentseg.report.pictures import render_strip
from napari_latentseg.review import Finding, rank
from napari_latentseg.utils.atomic import atomic_path, ensure_writable_folder

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard

__all__ = ["check_report", "make_report", "write_report"]

_MAX_PICTURES = 3
_SUFFIXES = (".html", ".htm")


def check_report(path: Path) -> None:
    """Refuse a name that is no report's, before anything is computed.

    Raises
    ------
    BadInput
        Where it does not end in `.html`, or is a folder.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise BadInput(path, "is not a name for a report", "let it end in .html")
    if path.is_dir():
        raise BadInput(path, "is a folder", "give the name of a file")


def write_report(
    path: Path,
    segmentation: Segmentation,
    image: Scan | None,
    measurements: Sequence[Measurement],
    findings: Sequence[Finding],
    card: ModelCard | None,
    note: str = "",
) -> Path:
    """Write a result as one HTML file with its pictures in it, for a browser and for one sheet of A4.

    It says which model made it, how, with how many samples from where, how large the classes are with their
    intervals, where the result is least sure, and what all that means; the record of the run is at its end,
    on screen alone. Neither names of files nor anything of a scan's header is in it.

    Parameters
    ----------
    path
        Ends in `.html`; a file of that name is replaced.
    segmentation
        The result.
    image
        What was segmented, for the pictures; None shows the mean in its place.
    measurements
        From `napari_latentseg.measure.measure`.
    findings
        From `napari_latentseg.review.rank`; the first three slices are shown, of a single plane the first.
    card
        Of the model, with its reliability curve; None where it is not at hand.
    note
        A text of the person's own, such as a name for the case. It is shown as it is given.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        Where it cannot be written, or the image is not that of the result.
    """
    path = Path(path)
    check_report(path)
    if image is not None and image.spatial_shape != tuple(segmentation.mask.shape):
        why = f"has shape {image.spatial_shape}, the result {tuple(segmentation.mask.shape)}"
        raise BadInput("image", why, "give the one that was segmented")
    top_slices = [finding for finding in findings if finding.kind == "slice"][:_MAX_PICTURES]
    strips = [(finding, render_strip(segmentation, image, finding)) for finding in top_slices]
    text = render_page(segmentation, measurements, strips, card, has_image=image is not None, note=note)
    ensure_writable_folder(path.absolute().parent)
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")
    return path


def make_report(
    segmentation: Segmentation,
    image: Scan | None,
    card: ModelCard | None,
    path: Path,
    *,
    note: str = "",
    measurements: Sequence[Measurement] | None = None,
) -> Path:
    """Measure and rank a result, and write its report.

    Parameters
    ----------
    segmentation, image, card, path, note
        As for `write_report`.
    measurements
        Where they were made before.

    Raises
    ------
    BadInput
        As `write_report` and `measure` do.
    """
    check_report(Path(path))
    interval = card.volume_interval if card is not None else None
    rows: Any = measure(segmentation, image, interval=interval) if measurements is None else measurements
    return write_report(path, segmentation, image, rows, _ranked_findings(segmentation), card, note)


def _ranked_findings(segmentation: Segmentation) -> tuple[Finding, ...]:
    """The ranking; nothing where one answer, all yes or no, gives none."""
    try:
        return rank(segmentation)
    except BadInput as error:
        if error.what != "result":
            raise
        return ()
