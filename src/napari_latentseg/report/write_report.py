"""Writing the report of a segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.measure import Measurement, measure
from napari_latentseg.report.page import page_values
from napari_latentseg.report.pictures import render_overview, render_strip
from napari_latentseg.report.templates import is_changed_page, write_page
from napari_latentseg.review import Finding, rank
from napari_latentseg.utils.atomic import check_output_file

if TYPE_CHECKING:
    from napari_latentseg.models.card import ModelCard

__all__ = ["check_report", "check_report_replaceable", "make_report", "write_report"]

_MAX_PICTURES = 3  # slices; more do not fit on one sheet of A4
_SUFFIXES = (".html", ".htm")


def check_report(path: Path) -> None:
    """Refuse, before anything is computed, a file name that a report cannot have or that cannot be written.

    Parameters
    ----------
    path
        File name of the report. One that is there is no error, see `check_report_replaceable`.

    Raises
    ------
    BadInput
        If it does not end in `.html` or `.htm`, is a folder, or its folder cannot be written.
    """
    check_output_file(path, _SUFFIXES, overwrite=True)


def check_report_replaceable(path: Path, input_sha256: str) -> None:
    """Refuse to replace a file that is not a report of the same image, or that somebody changed.

    The image is in the record of its run, which the report shows.

    Parameters
    ----------
    path
        File name of the report; it need not exist.
    input_sha256
        `RunRecord.input.sha256` of the run.

    Raises
    ------
    BadInput
        If there is such a file, or it cannot be read.
    """
    try:
        if not path.exists():
            return
        text = path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise BadInput(path, f"cannot be read ({error.strerror})", "choose another name") from error
    why = ""
    if input_sha256 not in text:
        why = "already exists, and is not a report of this image"
    elif is_changed_page(text):
        why = "already exists, and was changed after it was written, or is of an earlier version"
    if why:
        raise BadInput(path, why, "choose another name, or overwrite it (--overwrite)")


def write_report(
    path: Path,
    segmentation: Segmentation,
    image: Scan | None,
    measurements: Sequence[Measurement],
    findings: Sequence[Finding],
    card: ModelCard | None,
    note: str = "",
) -> Path:
    """Write a segmentation as one HTML file, pictures included, for a browser or one sheet of A4.

    It states the model, its settings and the source of the samples, the size of each class with its
    interval, where the result is most uncertain, and how to read all this. The record of the run is at the
    end, on screen only. The file contains no file names, and nothing from the header of the scan but its
    geometry and modality.

    Parameters
    ----------
    path
        File name ending in `.html`; an existing file is replaced.
    segmentation
        The segmentation.
    image
        The segmented image, for the pictures; None shows the mean probability instead.
    measurements
        From `napari_latentseg.measure.measure`.
    findings
        From `napari_latentseg.review.rank`; the first three slices are shown.
    card
        Card of the model, with its reliability curve; None if it is not available.
    note
        Text of the user, such as a case number; shown as it is.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        If the file cannot be written, or the image has another shape than the segmentation.
    """
    check_report(path)
    if image is not None and image.spatial_shape != tuple(segmentation.mask.shape):
        why = f"has shape {image.spatial_shape}, the result {tuple(segmentation.mask.shape)}"
        raise BadInput("image", why, "give the image that was segmented")
    top_slices = [finding for finding in findings if finding.kind == "slice"][:_MAX_PICTURES]
    strips = [(finding, render_strip(segmentation, image, finding)) for finding in top_slices]
    # strips of small images show all of the slice already, and a sheet of A4 has no room to show it twice
    needs_overview = not strips or any(strip.is_cropped for _, strip in strips)
    overview = render_overview(segmentation, image) if needs_overview else None
    values = page_values(
        segmentation, measurements, strips, card, overview=overview, has_image=image is not None, note=note
    )
    return write_page(Path(path), "page.html.j2", values)


def make_report(
    segmentation: Segmentation,
    image: Scan | None,
    card: ModelCard | None,
    path: Path,
    *,
    note: str = "",
    measurements: Sequence[Measurement] | None = None,
) -> Path:
    """Measure and rank a segmentation, and write its report.

    Parameters
    ----------
    segmentation, image, card, path, note
        As for `write_report`.
    measurements
        From `napari_latentseg.measure.measure`, if already computed.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    BadInput
        As for `write_report` and `measure`.
    """
    check_report(path)
    rows: Any = measure(segmentation, image, card=card) if measurements is None else measurements
    return write_report(path, segmentation, image, rows, _ranked_findings(segmentation), card, note)


def _ranked_findings(segmentation: Segmentation) -> tuple[Finding, ...]:
    """The ranked slices; none for one or two samples with probabilities of 0 and 1 only."""
    try:
        return rank(segmentation)
    except BadInput as error:
        if error.what != "result":
            raise
        return ()
