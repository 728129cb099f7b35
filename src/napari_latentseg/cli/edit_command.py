"""`edit`: a mask smoothed, grown or shrunk, rid of islands and holes, filled between its slices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_latentseg.cli.console import print_line, progress_bar
from napari_latentseg.cli.options import Overwrite, Quiet, Spacing, parse_spacing
from napari_latentseg.errors import BadInput

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("edit")(edit)


def edit(
    mask: Annotated[Path, typer.Argument(help="A mask file.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Write the edited mask to this file; its suffix gives the format."),
    ],
    fill_between: Annotated[
        bool,
        typer.Option("--fill-between", help="Fill the empty slices between two that hold the label."),
    ] = False,
    fill_holes: Annotated[
        bool,
        typer.Option("--holes", "--fill-holes", help="Fill what the label encloses on all sides."),
    ] = False,
    islands: Annotated[
        str | None,
        typer.Option(
            help="keep-largest, or the smallest size of an island that is kept, in mm2 or mm3 (pixels without"
            " a spacing)."
        ),
    ] = None,
    grow: Annotated[
        float,
        typer.Option(help="Grow by this many mm on all sides (pixels without a spacing); negative: shrink."),
    ] = 0.0,
    smooth: Annotated[
        float,
        typer.Option(help="Smooth the outline by this many mm (pixels without a spacing); the size is kept."),
    ] = 0.0,
    each_slice: Annotated[
        bool, typer.Option("--each-slice", help="Treat each slice by itself rather than the volume in 3D.")
    ] = False,
    label: Annotated[int | None, typer.Option(help="Edit this label only; all of them by default.")] = None,
    spacing: Spacing = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Correct a mask without a brush; the geometry of the file is kept, and other labels are not overwritten.

    The steps are taken in this order: slices between, holes, islands, grow or shrink, smooth.
    """
    import numpy as np

    from napari_latentseg import api
    from napari_latentseg.io.convert import write_scan
    from napari_latentseg.io.earlier_results import check_not_of_result
    from napari_latentseg.io.registry import format_for, readable_suffixes
    from napari_latentseg.utils.atomic import check_output_file
    from napari_latentseg.utils.counts import count_text
    from napari_latentseg.utils.paths import real_path

    if real_path(out) == real_path(mask):
        raise BadInput(out, "is the mask itself", "choose another name")
    format_for(out)
    check_output_file(out, readable_suffixes(), overwrite=overwrite)
    check_not_of_result(out)
    with progress_bar("edit", quiet=quiet) as show:
        edited = api.edit_mask(
            mask, label=label, smooth=smooth, grow=grow, islands=_islands(islands), fill_holes=fill_holes,
            fill_between=fill_between, each_slice=each_slice, spacing=parse_spacing(spacing),
            progress=lambda done, total: show(done / total),
        )  # fmt: skip
    notes = write_scan(edited, out, overwrite=overwrite)
    for note in dict.fromkeys([*edited.notes, *notes]):
        print_line(f"note: {note}", quiet=quiet)
    print_line(count_text(int(np.count_nonzero(edited.array)), "labelled voxel"), quiet=quiet)
    print_line(str(out), quiet=quiet)


def _islands(text: str | None) -> str | float | None:
    """A number where it is one; anything else is judged by the function."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
