"""`cases`."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.compare_command import print_rows
from napari_latentseg.cli.console import print_json, print_line, print_table
from napari_latentseg.cli.options import JsonOutput, Overwrite
from napari_latentseg.cli.segment_options import ResultFormat
from napari_latentseg.errors import BadInput, choose_from
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.caselist.listed_case import ListedCase
    from napari_latentseg.evaluation.reader_comparison import ReaderComparison

__all__ = ["register"]

_HEAD = ("case", "state", "reader", "fit", "doubt", "size", "minutes", "rating")


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("cases")(list_cases)


def list_cases(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of images, with results or masks in it or without; a CSV file with the columns"
            " case and path; or the results of batch."
        ),
    ],
    results: Annotated[
        Path | None,
        typer.Option(help="The folder of the results, or of masks with the names of the images."),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            help="Only cases that are new, segmented, in review, approved, rejected, second reading."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--csv", help="Write the list to this CSV file.")] = None,
    case: Annotated[
        str | None,
        typer.Option(
            help="Show what changed between the readers of this case; with --consensus, write that of this"
            " case alone.",
        ),
    ] = None,
    consensus: Annotated[
        str | None,
        typer.Option(
            help="Write the consensus of the cases that two readers or more have approved to --out: majority"
            " (strictly more than half), or staple, which needs SimpleITK."
        ),
    ] = None,
    consensus_out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the consensus, outside that of the list."),
    ] = None,
    format: ResultFormat = None,
    name_readers: Annotated[
        bool,
        typer.Option(
            "--name-readers",
            help="Name the readers in the records of --consensus; otherwise they are numbered.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: JsonOutput = False,
) -> None:
    """List cases for readers: state, reader, fit of the model, doubt, size, time spent, rating.

    Those to look at first are at the top: without a decision, not made for the model, highest doubt. Doubt
    is 1 minus the expected Dice where the model is calibrated, else the width of the interval of the size.
    """
    from napari_latentseg import api
    from napari_latentseg.caselist.decisions import STATES

    if consensus is not None:
        _export_consensus(
            source, results, consensus, consensus_out, case, format,
            name_readers=name_readers, overwrite=overwrite, as_json=as_json,
        )  # fmt: skip
        return
    for option, value in (("--out", consensus_out), ("--format", format), ("--name-readers", name_readers)):
        if value:
            raise BadInput(option, "says how a consensus is written", "give --consensus, too")
    if case is not None:
        _print_readings(api.compare_readings(source, case, results), as_json=as_json)
        return
    if state is not None and state not in STATES:
        raise BadInput("state", f"is {state!r}", choose_from(state, STATES))
    rows = [row for row in api.list_cases(source, results) if state in (None, row.state)]
    if out is not None:
        _write_csv(out, rows, overwrite=overwrite)
    if as_json:
        print_json([_fields(row) for row in rows])
        return
    if out is None:
        print_table([_HEAD, *(_cells(row) for row in rows)])
        for row in rows:
            if row.problem:
                print_line(f"{row.name}: {row.problem}")
    else:
        print_line(f"{out}: {count_text(len(rows), 'case')}")


def _export_consensus(
    source: Path,
    results: Path | None,
    method: str,
    out: Path | None,
    case: str | None,
    format: str | None,
    *,
    name_readers: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the consensus of each case; those that have none are said, and make the exit code 1."""
    from napari_latentseg import api

    if out is None:
        raise BadInput("--consensus", "needs a folder", "give --out FOLDER")
    exported = api.export_consensus(
        source, out, results=results, method=method, cases=None if case is None else [case], format=format,
        name_readers=name_readers, overwrite=overwrite,
    )  # fmt: skip
    if as_json:
        print_json([{key: _as_json(value) for key, value in vars(row).items()} for row in exported])
    else:
        for row in exported:
            print_line(str(row.mask) if row.mask is not None else f"{row.case}: {row.problem}")
            for note in row.notes:
                print_line(f"{row.case}: {note}")
    if any(row.problem for row in exported):
        raise typer.Exit(1)


def _as_json(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _print_readings(comparison: ReaderComparison, *, as_json: bool) -> None:
    from napari_latentseg.report.readers_text import class_tables, pair_head

    if as_json:
        print_json(comparison.figures())
        return
    for group in class_tables(comparison):
        print_rows([[group.title, *pair_head(comparison)[1:]], *group.pairs])


def _cells(row: ListedCase) -> tuple[str, ...]:
    return (
        row.name, row.state, row.reader, row.fit, row.describe_doubt(), row.describe_sizes(),
        f"{row.seconds / 60:.1f}" if row.seconds else "", str(row.rating or ""),
    )  # fmt: skip


def _fields(row: ListedCase) -> dict[str, Any]:
    """A case as JSON and CSV have it."""
    fields: dict[str, Any] = {
        "case": row.name, "state": row.state, "readers": ", ".join(row.readers), "fit": row.fit,
        "doubt": None if row.doubt is None else round(row.doubt, 3), "doubtful_slice": row.doubtful_slice,
        "seconds": row.seconds, "rating": row.rating, "comment": row.comment,
        "path": "" if row.path is None else str(row.path),
        "result": str(row.result or row.mask or ""), "problem": row.problem,
        "unit": row.sizes[0].unit if row.sizes else "",
    }  # fmt: skip
    for size in row.sizes:
        fields |= {
            f"{size.name}_size": size.value,
            f"{size.name}_low": size.low,
            f"{size.name}_high": size.high,
        }
    return fields


def _write_csv(path: Path, rows: list[ListedCase], *, overwrite: bool) -> None:
    """Write the list.

    Raises
    ------
    BadInput
        If the file already exists, or cannot be written.
    """
    from napari_latentseg.measure.spreadsheet_text import escape_formulas
    from napari_latentseg.utils.atomic import atomic_path, check_output_file

    check_output_file(path, (".csv",), overwrite=overwrite)
    if not rows:
        raise BadInput(path, "would hold no case", "choose another --state")
    fields = [_fields(row) for row in rows]
    columns = dict.fromkeys(name for row in fields for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for row in fields:
        writer.writerow(
            {
                escape_formulas(name): escape_formulas(value) if isinstance(value, str) else value
                for name, value in row.items()
            }
        )
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), "utf-8")
