"""Write results to files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.core.contours import Contours
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.measure import Measurement
    from napari_latentseg.models.card import ModelCard

__all__ = ["check_result", "write_result"]

_TABLE_NAME = "measurements.csv"
_REPORT_NAME = "report.html"
_MM3_PER_ML = 1000  # a scan of which DICOM-SEG is written has its spacing in mm


def write_result(
    result: Segmentation,
    folder: str | Path,
    stem: str | None = None,
    *,
    case: str = "",
    scan: Scan | None = None,
    card: ModelCard | None = None,
    format: str | None = None,
    agreement: bool = False,
    doubt: bool = False,
    contours: bool = False,
    band: bool = False,
    table: bool = False,
    report: str | Path | None = None,
    append_to: str | Path | None = None,
    append_objects: bool = False,
    deidentify: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write a result: mask, mean, variance and the record of the run; on request a table and a report.

    A result of the same image under the same name is replaced as a whole. One of another image is refused.

    Parameters
    ----------
    result
        The segmentation.
    folder
        It is made where it does not exist.
    stem
        The files are called STEM_mask, STEM_mean, STEM_variance and STEM_run.json; the case code where not
        given, and ``"result"`` without one.
    case
        A code for the case, which record and report name.
    scan
        The image that was segmented: intensities in the table, and pictures in the report, come from it.
    card
        The card of the model: its calibrated intervals go into the table and the report.
    format
        ``"nifti"``, ``"ome-tiff"``, ``"nrrd"``, ``"metaimage"``, ``"ome-zarr"``, ``"png"`` or
        ``"dicom-seg"`` or ``"dicom-labelmap"``; that of the scan where not given.
    agreement
        Also write how many samples assign each voxel to a class (STEM_agreement; for several classes one file
        each): 0 to `record.samples`. It needs 3 samples that were kept.
    doubt
        Also write `Segmentation.doubt`, min(p, 1 - p) of the mean (STEM_doubt; for several classes one file
        each).
    contours
        Also write outlines, as GeoJSON (STEM_contours.geojson).
    band
        Also write the inner and the outer contour between which the true edge lies in 9 of 10 images, as
        masks (STEM_inner, STEM_outer; in DICOM-SEG two segments for each class, STEM_band), and among the
        outlines. The card must promise them, and for a result like this one.
    table
        Also write a table of areas or volumes, as CSV (STEM_measurements.csv); with a format of DICOM a
        structured report of the volumes and their intervals too (STEM_sizes.dcm, TID 1500).
    report
        The HTML file of a report on one page; none where not given.
    append_to
        A table of cases, as CSV, to which the classes are added; made where it does not exist.
    append_objects
        Also add a row for each connected object to the table of cases.
    deidentify
        Leave out what names patient, study or institution (DICOM-SEG).
    overwrite
        Replace also a result of another image, and files that were changed after their run or belong to no
        result.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    BadInput
        If the format is not known, the scan is not that of the result, the result has no agreement of its
        samples, the card promises no contours for it, something is there that must not be replaced, or
        nothing can be written.

    Examples
    --------
    >>> from napari_latentseg import segment, write_result
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> scan = ultrasound_phantom(shape=(96, 128)).scan
    >>> result = segment(scan, "breast-ultrasound", samples=3)
    >>> written = write_result(result, "results", case="phantom-1", scan=scan, table=True)
    >>> sorted(path.name for path in written)  # doctest: +NORMALIZE_WHITESPACE
    ['phantom-1_mask.tif', 'phantom-1_mean.tif', 'phantom-1_measurements.csv', 'phantom-1_run.json',
     'phantom-1_variance.tif']
    """
    from napari_latentseg.io.result_format import check_format
    from napari_latentseg.io.write_results import write_segmentation

    folder, stem = Path(folder), _stem(stem, case)
    page = None if report is None else Path(report)
    check_format(format)
    if case:
        result = replace(result, record=result.record.replace(case=case))

    def input_sha256() -> str:
        return result.record.input.sha256

    is_page_inside = page is not None and _is_page_inside(
        page, folder, stem, input_sha256, overwrite=overwrite
    )
    if append_to is not None:
        _check_table(Path(append_to), stem, input_sha256, overwrite=overwrite)
    edge_contours = _edge_contours(result, card) if band else None
    measurements: tuple[Measurement, ...] = ()
    if table or page is not None or append_to is not None:
        from napari_latentseg.measure import measure

        measurements = measure(result, scan, card=card)
    extra_files = _table_files(measurements, format) if table else {}
    if page is not None:
        from napari_latentseg.report import make_report

        write_page = partial(make_report, result, scan, card, measurements=measurements)
        if is_page_inside:
            extra_files[_REPORT_NAME] = write_page
    written = write_segmentation(
        result, folder, stem, format=format, agreement=agreement, doubt=doubt, contours=contours,
        band=edge_contours, deidentify=deidentify, extra_files=extra_files, overwrite=overwrite,
    )  # fmt: skip
    if page is not None and not is_page_inside:
        written.append(write_page(page))
    if append_to is not None:
        from napari_latentseg.measure import append_to_table

        written.append(
            append_to_table(
                Path(append_to), result.record, measurements, stem, objects=append_objects,
                overwrite=overwrite,
            )
        )  # fmt: skip
    return written


def check_result(
    image: Scan | Segmentation,
    folder: str | Path,
    stem: str | None = None,
    *,
    classes: Sequence[ClassInfo],
    case: str = "",
    format: str | None = None,
    agreement: bool = False,
    doubt: bool = False,
    contours: bool = False,
    band: bool = False,
    table: bool = False,
    report: str | Path | None = None,
    append_to: str | Path | None = None,
    input_sha256: Callable[[], str] | None = None,
    is_box: bool = False,
    overwrite: bool = False,
) -> None:
    """Refuse, before anything is computed, what `write_result` would refuse at the end.

    Parameters
    ----------
    image
        The image or the result, of which only the header is used.
    folder, stem, case, format, agreement, doubt, contours, band, table, report, append_to, overwrite
        As for `write_result`.
    classes
        Of the model.
    input_sha256
        Gives the hash of the image for a comparison with results that already exist; called only where
        there are such. None: they are not looked at.
    is_box
        Whether that is the hash of a box in the image.

    Raises
    ------
    BadInput
        As `write_result`.
    """
    from napari_latentseg.io.write_results import CONTOURS_NAME, check_target

    folder, stem = Path(folder), _stem(stem, case)
    names = [CONTOURS_NAME] * contours + (list(_table_files((), format)) if table else [])
    if report is not None and _is_page_inside(Path(report), folder, stem, input_sha256, overwrite=overwrite):
        names.append(_REPORT_NAME)
    if append_to is not None:
        _check_table(Path(append_to), stem, input_sha256, overwrite=overwrite)
    check_target(
        image, folder, stem, classes, format=format, input_sha256=input_sha256, is_box=is_box,
        agreement=agreement, doubt=doubt, band=band, extra_names=names, overwrite=overwrite,
    )  # fmt: skip


def _table_files(
    measurements: Sequence[Measurement], format: str | None
) -> dict[str, Callable[[Path], object]]:
    """How each file of a table is written, by the end of its name: CSV; with masks in DICOM a report too."""
    from napari_latentseg.io.dicom.structured_report import REPORT_NAME
    from napari_latentseg.io.result_names import DICOM_FORMATS
    from napari_latentseg.measure import write_csv

    files: dict[str, Callable[[Path], object]] = {_TABLE_NAME: partial(write_csv, measurements=measurements)}
    if format in DICOM_FORMATS:
        files[REPORT_NAME] = partial(_write_structured_report, measurements=measurements)
    return files


def _write_structured_report(path: Path, measurements: Sequence[Measurement]) -> None:
    """The volumes of the classes, beside the mask of the same result."""
    from napari_latentseg.io.dicom.structured_report import (
        REPORT_NAME,
        ReportedVolume,
        write_structured_report,
    )
    from napari_latentseg.measure import INTERVAL_LEVEL

    volumes = []
    for row in measurements:
        if row.object_number:
            continue
        low, high = (None if end is None else end / _MM3_PER_ML for end in (row.low, row.high))
        kind = "calibrated" if row.interval_source == "calibrated" else f"of {row.samples} samples"
        basis = f"{INTERVAL_LEVEL:.0%} interval, {kind}".replace("%", " %") if low is not None else ""
        volumes.append(ReportedVolume(row.name, row.value / _MM3_PER_ML, low, high, basis, row.includes))
    mask = path.with_name(f"{path.name.removesuffix(REPORT_NAME)}mask.dcm")
    write_structured_report(path, mask, volumes)


def _edge_contours(result: Segmentation, card: ModelCard | None) -> Contours:
    """The contours that enclose the true edge.

    Raises
    ------
    BadInput
        If the card does not promise them for this result.
    """
    from napari_latentseg.errors import BadInput
    from napari_latentseg.measure import contours

    if card is None:
        raise BadInput("band", "needs the card of the model", "give the card, or write the result without it")
    return contours(result, card)


def _stem(stem: str | None, case: str) -> str:
    """The start of the file names.

    Raises
    ------
    BadInput
        If the case code cannot be part of a file name.
    """
    if case:
        from napari_latentseg.io.result_names import check_case_code

        check_case_code(case)
    return stem if stem is not None else case or "result"


def _check_table(path: Path, case: str, input_sha256: Callable[[], str] | None, *, overwrite: bool) -> None:
    """Refuse a file that is not a table of cases, or has this case with another image."""
    from napari_latentseg.measure import check_case_table

    compares = input_sha256 is not None and not overwrite and path.exists()
    check_case_table(path, case, input_sha256() if compares and input_sha256 is not None else "")


def _is_page_inside(
    page: Path, folder: Path, stem: str, input_sha256: Callable[[], str] | None, *, overwrite: bool
) -> bool:
    """Whether the page of a report is a file of the result by its name; refuses what it must not replace.

    Raises
    ------
    BadInput
        If it is no name for a page, or another file of that name already exists.
    """
    from napari_latentseg.io.earlier_results import check_not_of_result
    from napari_latentseg.io.result_names import name_prefix
    from napari_latentseg.report import check_report, check_report_replaceable

    check_report(page)
    if page.absolute() == (folder / f"{name_prefix(stem)}{_REPORT_NAME}").absolute():
        return True
    if input_sha256 is not None and not overwrite and page.exists():
        check_not_of_result(page)
        check_report_replaceable(page, input_sha256())
    return False
