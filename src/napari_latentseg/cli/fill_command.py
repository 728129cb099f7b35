"""`fill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_latentseg.cli.console import print_line, progress_bar
from napari_latentseg.cli.options import (
    Channel,
    CodecOption,
    Device,
    ModelOption,
    Quiet,
    Samples,
    Series,
    Spacing,
    Threads,
    Threshold,
    parse_spacing,
    use_threads,
)
from napari_latentseg.cli.segment_options import ResultFormat

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(fill)


def fill(
    scan: Annotated[Path, typer.Argument(help="The volume: a file, or a folder of DICOM or OME-Zarr.")],
    mask: Annotated[
        Path, typer.Argument(help="Labels of some of its slices; they stay as they are.", metavar="MASK")
    ],
    model: ModelOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the result.")],
    label: Annotated[int | None, typer.Option(help="The label of the structure. Default: all but 0.")] = None,
    beyond: Annotated[
        bool, typer.Option("--beyond", help="Also follow it beyond the outermost labelled slices.")
    ] = False,
    samples: Samples = None,
    threshold: Threshold = None,
    device: Device = "auto",
    threads: Threads = None,
    codec: CodecOption = None,
    series: Series = None,
    channel: Channel = None,
    spacing: Spacing = None,
    format: ResultFormat = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Also replace results of another image, and files that were changed."
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Fill a structure between the slices on which it is labelled, with a model that takes prompts."""
    from napari_latentseg import api
    from napari_latentseg.api.prompts import start_fill_run
    from napari_latentseg.api.results import check_result
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.io.registry import stem_of
    from napari_latentseg.io.result_format import check_format
    from napari_latentseg.utils.atomic import check_writable_folder

    check_writable_folder(out)
    check_format(format)
    use_threads(threads)
    found = api.locate_model(model)
    settings = InferenceSettings.for_model(found.card, samples=samples, threshold=threshold, device=device)
    run = start_fill_run(
        scan, found, mask, settings, label=label, beyond=beyond, series=series, channel=channel,
        spacing=parse_spacing(spacing), codec=codec,
    )  # fmt: skip
    image, stem = run.state.original, stem_of(scan)
    check_result(
        image, out, stem, classes=found.card.classes, format=format,
        input_sha256=lambda: image.content_sha256, overwrite=overwrite,
    )  # fmt: skip
    with progress_bar("filling", quiet=quiet) as progress:
        result = run.finish(progress)
    written = api.write_result(
        result, out, stem, scan=image, card=found.card, format=format, overwrite=overwrite
    )
    for path in written:
        print_line(str(path), quiet=quiet)
    for note in result.record.input.notes:
        print_line(note, quiet=quiet)
