"""`archive find` and `archive store`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from napari_latentseg.cli.console import print_json, print_line, print_table, progress_bar
from napari_latentseg.cli.options import JsonOutput, Quiet
from napari_latentseg.utils.counts import count_text

__all__ = ["register"]

archive = typer.Typer(
    help="Series and results in an archive (PACS), by DICOMweb; see docs/archive.md.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
_ADDRESS_HELP = "dicomweb://HOST[:PORT]/PATH; dicomweb+http:// for a server without encryption."


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.add_typer(archive, name="archive")


@archive.command()
def find(
    address: Annotated[str, typer.Argument(help=_ADDRESS_HELP)],
    patient: Annotated[str | None, typer.Option(help="ID of the patient; * stands for any text.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the patient, such as Doe*.")] = None,
    date: Annotated[
        str | None, typer.Option(help="A day, 2026-11-02, or a range, 2026-11-01..2026-11-30.")
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Such as MR or CT.")] = None,
    addresses: Annotated[
        bool, typer.Option("--addresses", help="Print the address of each series, a line each.")
    ] = False,
    as_json: JsonOutput = False,
) -> None:
    """List the series that match; other commands take their numbers with --series."""
    from napari_latentseg import api
    from napari_latentseg.io.dicomweb.query import MAX_SERIES

    found = api.find_in_archive(address, patient=patient, name=name, date=date, modality=modality)
    if as_json:
        print_json({"series": [asdict(series) for series in found]})
    elif addresses:
        for series in found:
            print_line(series.address)
    elif not found:
        print_line("no series matches")
    else:
        heading = ("NUMBER", "PATIENT", "NAME", "DATE", "MODALITY", "IMAGES", "DESCRIPTION")
        rows = [
            (
                str(series.number), series.patient_id, series.patient_name, series.date, series.modality,
                "?" if series.images is None else str(series.images), series.description,
            )
            for series in found
        ]  # fmt: skip
        print_table([heading, *rows])
        if len(found) >= MAX_SERIES:
            print_line(f"only the first {MAX_SERIES:,} are listed; narrow the search")


@archive.command()
def store(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="DICOM files, as `segment --format dicom-seg` writes them."),
    ],
    to: Annotated[str, typer.Option(metavar="ADDRESS", help=_ADDRESS_HELP)],
    quiet: Quiet = False,
) -> None:
    """Store DICOM files in an archive."""
    from napari_latentseg import api
    from napari_latentseg.io._progress import report_progress_to

    with (
        progress_bar("storing", quiet=quiet) as progress,
        report_progress_to(lambda done, total: progress(done / max(total, 1))),
    ):
        count = api.store_in_archive(files, to)
    print_line(f"stored {count_text(count, 'file')}", quiet=quiet)
