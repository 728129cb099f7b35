"""`batch`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_latentseg.cli.console import (
    EXIT_PARTIAL,
    json_text,
    print_error,
    print_json,
    print_line,
    progress_bar,
)
from napari_latentseg.cli.interrupt import stop_on_interrupt, stop_on_stdin_line
from napari_latentseg.cli.options import (
    Channel,
    CodecOption,
    Device,
    JsonOutput,
    ModelOption,
    Quiet,
    Samples,
    SamplingSource,
    Seed,
    Spacing,
    Threads,
    Threshold,
    check_one_output,
    parse_spacing,
    use_threads,
)
from napari_latentseg.cli.segment_options import (
    Agreement,
    Band,
    ClassNames,
    Contours,
    Deidentify,
    Doubt,
    Engine,
    FillHoles,
    KeepLargest,
    MinSize,
    Precision,
    ResultFormat,
    SlicePlane,
    Table,
    Tolerance,
    make_postprocess,
    parse_classes,
)
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.api.batch import BatchReport
    from napari_latentseg.batches.events import BatchEvent

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(batch)


def batch(
    model: ModelOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results and the table cases.tsv.")],
    scans: Annotated[
        str | None,
        typer.Argument(
            metavar="IN",
            help="A folder of any depth, a pattern in quotes ('in/*/t1.nii.gz'), a BIDS data set, a folder "
            "imagesTs of nnU-Net, a CSV file as for --list, or the address of an archive "
            "(dicomweb://HOST/PATH?modality=MR).",
        ),
    ] = None,
    case_list: Annotated[
        Path | None,
        typer.Option("--list", help="A CSV file with the columns case,path and optionally series."),
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            help="Layout of the results: flat (a folder for each case), bids (derivatives) or nnunet."
        ),
    ] = "flat",
    parts: Annotated[
        int, typer.Option(help="Split the cases into this many parts, and segment only one of them (--part).")
    ] = 1,
    part: Annotated[int, typer.Option(help="Which of the --parts to segment, counted from 1.")] = 1,
    workers: Annotated[
        int, typer.Option(min=1, help="Number of processes on this machine; they share its threads.")
    ] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Use the workers of a scheduler of dask: tcp://HOST:8786."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip cases that are finished, unless input or settings changed.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first case that fails.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the cases; write nothing.")] = False,
    samples: Samples = None,
    sampling: SamplingSource = None,
    threshold: Threshold = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    precision: Precision = "auto",
    engine: Engine = "auto",
    codec: CodecOption = None,
    channel: Channel = None,
    spacing: Spacing = None,
    plane: SlicePlane = "acquired",
    classes: ClassNames = None,
    tolerance: Tolerance = None,
    min_size: MinSize = 0.0,
    fill_holes: FillHoles = False,
    keep_largest: KeepLargest = False,
    format: ResultFormat = None,
    agreement: Agreement = False,
    doubt: Doubt = False,
    contours: Contours = False,
    band: Band = False,
    table: Table = False,
    deidentify: Deidentify = False,
    events: Annotated[
        bool,
        typer.Option("--events", help="Print one JSON object per line; a line `stop` on the input stops."),
    ] = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Segment many scans, with a table of the outcome of each; --resume continues where it ended.

    Exit code 3: some cases failed, each with its reason on the standard error and in cases.tsv. Ctrl+C
    drops the case in progress.
    """
    from napari_latentseg import api
    from napari_latentseg.errors import BadInput, Cancelled

    check_one_output(events=events, as_json=as_json)
    if scheduler is not None and threads is not None:
        raise BadInput("--threads", "is set where the workers start", "use `dask worker --nthreads`")
    use_threads(threads)
    with (
        stop_on_interrupt() as stop_requested,
        progress_bar("segmenting", quiet=quiet or as_json or events) as progress,
    ):
        if events:
            stop_on_stdin_line(stop_requested)
        watch = _Watch(progress, is_json_lines=events, quiet=quiet or as_json)
        report = api.batch(
            scans, model, out, case_list=case_list, layout=layout, part=part, parts=parts, resume=resume,
            fail_fast=fail_fast, dry_run=dry_run, workers=workers, scheduler=scheduler,
            samples=samples, source=sampling, seed=seed, threshold=threshold, device=device,
            precision=precision, engine=engine, codec=codec, channel=channel,
            spacing=parse_spacing(spacing), plane=plane, classes=parse_classes(classes), tolerance=tolerance,
            cleanup=make_postprocess(min_size, fill_holes=fill_holes, keep_largest=keep_largest),
            format=format, agreement=agreement, doubt=doubt, contours=contours, band=band, table=table,
            deidentify=deidentify, on_event=watch.on_event, should_stop=stop_requested.is_set,
        )  # fmt: skip
    if as_json:
        _print_report(report)
    elif not events:
        _print_passed_over(report, quiet=quiet)
    if dry_run:
        _end_dry_run(report, quiet=quiet or as_json or events)
    if report.is_stopped:
        raise Cancelled
    if failed := report.count("failed"):
        print_error(f"{failed} of {count_text(len(report.outcomes), 'case')} failed; {report.table} says why")
        raise typer.Exit(EXIT_PARTIAL)
    print_line(str(report.table), quiet=quiet or as_json or events)


class _Watch:
    """Prints what happens, as lines for people or as JSON lines."""

    def __init__(self, progress: Callable[[float], None], *, is_json_lines: bool, quiet: bool) -> None:
        self._progress = progress
        self._is_json_lines, self._quiet = is_json_lines, quiet
        self._cases, self._ended = 1, 0
        self._running: dict[str, float] = {}

    def on_event(self, event: BatchEvent) -> None:
        """Print an event, and move the bar."""
        if self._is_json_lines:
            sys.stdout.write(json_text(event.as_dict()) + "\n")
            sys.stdout.flush()
        if event.event == "start":
            self._cases = max(1, event.cases)
        elif event.event == "progress":
            self._running[event.case] = event.done
        elif event.event == "case":
            self._running.pop(event.case, None)
            self._ended += 1
            if event.state == "failed":
                print_error(f"{event.case}: {event.reason}")
            else:
                note = f" ({event.reason})" if event.reason else ""
                line = f"{event.case}: {event.state}, {event.result}{note}"
                print_line(line, quiet=self._quiet or self._is_json_lines)
        self._progress((self._ended + sum(self._running.values())) / self._cases)


def _print_report(report: BatchReport) -> None:
    """What became of each case, for other programs."""
    planned = [
        {
            "case": case.name,
            "path": str(case.path),
            "series": case.series,
            "problem": str(case.problem) if case.problem is not None else "",
        }
        for case in report.cases
    ]
    ended = [outcome.model_dump(mode="json", exclude={"stops_batch"}) for outcome in report.outcomes]
    print_json(
        {
            "table": str(report.table),
            **{state: report.count(state) for state in ("done", "failed", "skipped")},
            "stopped": report.is_stopped,
            "passed_over": dict(report.passed_over),
            "planned": planned,
            "cases": ended,
        }
    )


def _print_passed_over(report: BatchReport, *, quiet: bool) -> None:
    """What was found in folders and is no case."""
    if report.passed_over:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(report.passed_over.items()))
        print_line(f"passed over: {kinds}", quiet=quiet)


def _end_dry_run(report: BatchReport, *, quiet: bool) -> None:
    """List the cases, and those that cannot be segmented with the reason.

    Raises
    ------
    typer.Exit
        With code 3 if there are such, else with 0.
    """
    from napari_latentseg.io.dicomweb.address import is_archive_address, parse_address

    for case in report.cases:
        if case.problem is None:
            series = "" if case.series is None else f", series {case.series}"
            # the address of a series holds its UID
            path = parse_address(case.path).title if is_archive_address(case.path) else case.path
            print_line(f"{case.name}: {path}{series}", quiet=quiet)
        else:
            print_error(f"{case.name}: {case.problem}")
    has_problems = any(case.problem is not None for case in report.cases)
    raise typer.Exit(EXIT_PARTIAL if has_problems else 0)
