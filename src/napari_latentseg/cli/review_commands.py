"""`measure`, `rank` and `report`: work on a result that was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_latentseg.cli.console import print_json, print_line, print_table, progress_bar
from napari_latentseg.cli.json_records import finding_json, measurement_json
from napari_latentseg.cli.options import Channel, JsonOutput, Overwrite, Quiet, Series
from napari_latentseg.errors import BadInput, choose_from

if TYPE_CHECKING:
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation

__all__ = ["register"]

Result = Annotated[
    Path, typer.Argument(help="Folder of a result, or the ..._run.json of one of several results in it.")
]
Edited = Annotated[
    bool, typer.Option("--edited", help="The mask was edited in another program: take it as it is now.")
]
Image = Annotated[Path | None, typer.Option(help="The image that was segmented.")]
_REGION_KINDS: tuple[Literal["slices"], Literal["objects"]] = ("slices", "objects")


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("measure")(measure_result)
    app.command("rank")(rank_result)
    app.command("report")(report_result)


def measure_result(
    result: Result,
    image: Image = None,
    series: Series = None,
    channel: Channel = None,
    objects: Annotated[bool, typer.Option(help="Also measure each connected object of a class.")] = True,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the whole table to this file.")
    ] = None,
    append_to: Annotated[
        Path | None, typer.Option(help="Also add what was measured to this table of cases, a CSV file.")
    ] = None,
    edited: Edited = False,
    overwrite: Overwrite = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Measure classes and objects: areas or volumes and their spread over samples, diameters, intensities."""
    from napari_latentseg.api.result_card import card_of_result
    from napari_latentseg.io.earlier_results import check_not_of_result
    from napari_latentseg.io.read_results import case_of_result, read_segmentation
    from napari_latentseg.measure import (
        append_to_table,
        check_case_table,
        check_csv_replaceable,
        is_case_table,
        measure,
        sizes_note,
        write_csv,
    )
    from napari_latentseg.utils.atomic import atomic_path, check_output_file, ensure_writable_folder

    if csv_file is not None:
        if is_case_table(csv_file):
            raise BadInput(csv_file, "is a table of cases", "choose another file")
        check_not_of_result(csv_file)
        check_output_file(
            csv_file, (".csv",), overwrite=True
        )  # what is there is compared with the result below
    segmentation = read_segmentation(result, edited=edited)
    if csv_file is not None and not overwrite:
        check_csv_replaceable(csv_file, segmentation.record.input.sha256)
    case = "" if append_to is None else case_of_result(result)
    if append_to is not None:
        check_case_table(append_to, case, "" if overwrite else segmentation.record.input.sha256)
    card = card_of_result(segmentation)
    with progress_bar("measuring", quiet=quiet or as_json) as progress:
        rows = measure(
            segmentation, _open_image(segmentation, image, series, channel), objects=objects,
            card=card, progress=progress,
        )  # fmt: skip
    if csv_file is not None:
        ensure_writable_folder(csv_file.absolute().parent)
        with atomic_path(csv_file) as temporary:
            write_csv(temporary, rows, input_sha256=segmentation.record.input.sha256)
    if append_to is not None:
        append_to_table(append_to, segmentation.record, rows, case, objects=objects, overwrite=overwrite)
    if as_json:
        print_json([measurement_json(row) for row in rows])
        return
    for row in rows:
        print_line(row.describe(), quiet=quiet)
    print_line(sizes_note(segmentation, card), quiet=quiet)


def rank_result(
    result: Result,
    measure: Annotated[str, typer.Option(help="Measure of uncertainty; 'list' prints them.")] = "",
    by: Annotated[str, typer.Option(help="slices or objects.")] = "slices",
    top: Annotated[int, typer.Option(min=1, help="How many to show.")] = 20,
    edited: Edited = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """List the slices or objects of a result, the most uncertain first."""
    from napari_latentseg.io.read_results import read_segmentation
    from napari_latentseg.review import MEASURES, available_measures, rank, uncertainty_basis

    kind = _region_kind(by)
    if measure not in ("", "list", *MEASURES):
        raise BadInput("measure", f"{measure!r} is not known", choose_from(measure, tuple(MEASURES)))
    segmentation = read_segmentation(result, edited=edited)
    if measure == "list":
        print_table(
            [
                ("MEASURE", "WHAT"),
                *((key, MEASURES[key].description) for key in available_measures(segmentation)),
            ]
        )
        return
    with progress_bar("ranking", quiet=quiet or as_json) as progress:
        findings = rank(segmentation, measure, kind, progress=progress)
    if as_json:
        print_json(
            {
                "basis": uncertainty_basis(segmentation),
                "findings": [finding_json(finding) for finding in findings[:top]],
            }
        )
        return
    if not findings:
        print_line("nothing is uncertain", quiet=quiet)
        return
    measure_used = MEASURES[findings[0].measure]
    unit = f", in {measure_used.unit}" if measure_used.unit else ""
    print_line(f"{measure_used.title}{unit}; {uncertainty_basis(segmentation)}", quiet=quiet)
    rows = [("", "SLICE", "CLASS", "WHY", "UNCERTAINTY")]
    for position, finding in enumerate(findings[:top], start=1):
        plane = ", ".join(str(i + 1) for i in finding.index) or "1"
        name = f"{finding.name} {finding.object_number}" if finding.object_number else finding.name
        rows.append((str(position), plane, name, finding.reason, f"{finding.uncertainty:.4g}"))
    print_table(rows, quiet=quiet)


def _region_kind(by: str) -> Literal["slices", "objects"]:
    """What is ranked, refused before anything is read where it is not known."""
    for known in _REGION_KINDS:
        if by == known:
            return known
    raise BadInput("by", f"{by!r} is not known", choose_from(by, _REGION_KINDS))


def report_result(
    result: Result,
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")],
    image: Image = None,
    series: Series = None,
    channel: Channel = None,
    note: Annotated[str, typer.Option(help="A text of your own for the page.")] = "",
    edited: Edited = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write a report on one HTML page: sizes, intervals, and pictures of the most uncertain slices."""
    from napari_latentseg.api.result_card import card_of_result
    from napari_latentseg.io.earlier_results import check_not_of_result
    from napari_latentseg.io.read_results import read_segmentation
    from napari_latentseg.report import check_report, check_report_replaceable, make_report

    check_report(out)
    check_not_of_result(out)
    segmentation = read_segmentation(result, edited=edited)
    if not overwrite:
        check_report_replaceable(out, segmentation.record.input.sha256)
    card = card_of_result(segmentation)
    scan = _open_image(segmentation, image, series, channel)
    print_line(
        str(make_report(segmentation, scan, card, out, note=note)),
        quiet=quiet,
    )
    if card is None:
        model = segmentation.record.model
        print_line(
            f"{model.name} {model.version} is not on this machine: the report has no reliability curve"
            " and no calibrated interval",
            quiet=quiet,
        )


def _open_image(
    segmentation: Segmentation, path: Path | None, series: int | None = None, channel: int | None = None
) -> Scan | None:
    """The image of a result, read lazily where its format allows it; None without a path.

    Raises
    ------
    BadInput
        If it is not the image that was segmented.
    """
    from napari_latentseg.core.reorient import select_channel
    from napari_latentseg.core.same_image import check_same_image
    from napari_latentseg.io import read_scan_lazy

    if path is None:
        return None
    scan = read_scan_lazy(path, series=series)
    if channel is not None:
        scan = select_channel(scan, channel)
    check_same_image(scan, segmentation.record)
    return scan
