"""`change`: two results of one patient, and how much each class has changed between the dates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_latentseg.cli.compare_command import print_rows
from napari_latentseg.cli.console import print_json, print_line, progress_bar
from napari_latentseg.cli.options import JsonOutput, Overwrite, Quiet
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.change.date_change import DateChange

__all__ = ["register"]

_SUFFIXES = (".html", ".htm", ".csv", ".json")


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("change")(change_between_dates)


def change_between_dates(
    first: Annotated[
        Path, typer.Argument(help="The earlier result: its folder, or the ..._run.json of one of several.")
    ],
    second: Annotated[Path, typer.Argument(help="The later result of the same patient.")],
    first_image: Annotated[
        Path | None, typer.Option(help="The image of the earlier result, for the outlines over it.")
    ] = None,
    second_image: Annotated[Path | None, typer.Option(help="The image of the later result.")] = None,
    register_images: Annotated[
        bool,
        typer.Option(
            "--register",
            help="Align the later image with the earlier one (rotation and shift) where they are not in the"
            " same place, to show both outlines together; needs SimpleITK and both images.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write a page (.html) or the figures (.csv, .json) to this file."),
    ] = None,
    edited: Annotated[
        bool, typer.Option("--edited", help="A mask was edited in another program: take it as it is now.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Say how much each class has changed between two dates, with intervals.

    The interval of a change comes from the 90 % intervals of both sizes: calibrated ones where both are.
    Sizes are measured on the grid of their own image, even where the images were registered.
    """
    from napari_latentseg import api

    if out is not None:
        _check_output(out, first, second, overwrite=overwrite)
    is_page = out is not None and out.suffix.lower() in (".html", ".htm")
    with progress_bar("comparing", quiet=quiet or as_json) as progress:
        change = api.compare_dates(
            first, second, first_image=first_image, second_image=second_image, register=register_images,
            edited=edited, report=out if is_page else None, progress=progress,
        )  # fmt: skip
    if out is not None and not is_page:
        _write_figures(out, change)
    if as_json:
        print_json(change.figures())
        return
    _print_change(change, quiet=quiet)
    if out is not None:
        print_line(str(out), quiet=quiet)


def _check_output(path: Path, first: Path, second: Path, *, overwrite: bool) -> None:
    """Refuse, before anything is read, to write over what is there, or over a file of a result."""
    from napari_latentseg.io.earlier_results import check_not_of_result
    from napari_latentseg.utils.atomic import check_output_file

    if path.absolute() in (first.absolute(), second.absolute()):
        raise BadInput(path, "is one of the results", "choose another name")
    check_output_file(path, _SUFFIXES, overwrite=overwrite)
    check_not_of_result(path)


def _write_figures(path: Path, change: DateChange) -> None:
    from napari_latentseg.cli.console import json_text
    from napari_latentseg.report.change_text import change_csv
    from napari_latentseg.utils.atomic import atomic_path, ensure_writable_folder

    ensure_writable_folder(path.absolute().parent)
    is_table = path.suffix.lower() == ".csv"
    text = change_csv(change) if is_table else json_text(change.figures(), indent=1) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, "utf-8")


def _print_change(change: DateChange, *, quiet: bool) -> None:
    from napari_latentseg.report.change_text import CHANGE_HEAD, change_rows, change_texts

    if quiet:
        return
    print_rows([CHANGE_HEAD, *change_rows(change)])
    print_line("")
    for text in change_texts(change):
        print_line(text)
    basis = change.placed_mask.basis
    print_line(basis if basis.endswith(".") else f"Outlines together: {basis}.")
