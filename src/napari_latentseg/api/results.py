"""Write results to files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.models.card import ModelCard

__all__ = ["write_result"]


def write_result(
    result: Segmentation,
    folder: str | Path,
    stem: str = "result",
    *,
    scan: Scan | None = None,
    card: ModelCard | None = None,
    format: str | None = None,
    contours: bool = False,
    table: bool = False,
    report: str | Path | None = None,
    deidentify: bool = False,
) -> list[Path]:
    """Write a result: mask, mean, variance and the record of the run; on request a table and a report.

    Parameters
    ----------
    result
        The segmentation.
    folder
        It is made where it does not exist. Files of the same names are replaced.
    stem
        The files are called STEM_mask, STEM_mean, STEM_variance and STEM_run.json.
    scan
        The image that was segmented: intensities in the table, and pictures in the report, come from it.
    card
        The card of the model: its calibrated intervals go into the table and the report.
    format
        ``"nifti"``, ``"ome-tiff"``, ``"nrrd"``, ``"metaimage"``, ``"ome-zarr"``, ``"png"`` or
        ``"dicom-seg"``; that of the scan where not given.
    contours
        Also write outlines, as GeoJSON (STEM_contours.geojson).
    table
        Also write a table of areas or volumes, as CSV (STEM_measurements.csv).
    report
        The HTML file of a report on one page; none where not given.
    deidentify
        Leave out what names patient, study or institution (DICOM-SEG).

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    BadInput
        If the format is not known, the scan is not that of the result, or nothing can be written.

    Examples
    --------
    >>> from napari_latentseg import segment, write_result
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> scan = ultrasound_phantom(shape=(96, 128)).scan
    >>> result = segment(scan, "breast-ultrasound", samples=3)
    >>> written = write_result(result, "results", "phantom", scan=scan, table=True)
    >>> sorted(path.name for path in written)  # doctest: +NORMALIZE_WHITESPACE
    ['phantom_mask.tif', 'phantom_mean.tif', 'phantom_measurements.csv', 'phantom_run.json',
     'phantom_variance.tif']
    """
    from napari_latentseg.io.write_results import check_format, write_segmentation

    check_format(format)
    if report is not None:
        from napari_latentseg.report import check_report

        check_report(Path(report))
    measurements, write_table = None, None
    if table or report is not None:
        from napari_latentseg.measure import measure, write_csv

        measurements = measure(result, scan, interval=None if card is None else card.volume_interval)
        write_table = partial(write_csv, measurements=measurements) if table else None
    written = write_segmentation(
        result, Path(folder), stem, format=format, contours=contours, deidentify=deidentify,
        write_table=write_table,
    )  # fmt: skip
    if report is not None:
        from napari_latentseg.report import make_report

        written.append(make_report(result, scan, card, Path(report), measurements=measurements))
    return written
