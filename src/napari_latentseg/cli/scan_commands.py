"""`info` and `convert`."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import print_json, say, table

if TYPE_CHECKING:
    from napari_latentseg.scan import Scan

__all__ = ["register"]

Source = Annotated[Path, typer.Argument(help="An image or volume: a file, or a folder of DICOM or OME-Zarr.")]
Series = Annotated[int | None, typer.Option(help="Which of several images, counted from 1.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(info)
    app.command()(convert)


def info(
    scan: Source,
    series: Series = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what an image is and where it lies, without reading its pixels; of several images, list them."""
    from napari_latentseg.formats import look_at
    from napari_latentseg.formats.registry import list_series

    several = list_series(scan) if series is None else []
    if len(several) > 1:
        rows = [_row(number + 1, one) for number, one in enumerate(several)]
        if as_json:
            print_json({"series": rows})
            return
        table([tuple(name.upper() for name in rows[0]), *(tuple(map(_cell, row.values())) for row in rows)])
        say("choose one with --series N")
        return
    found = _described(look_at(scan, series=series))
    if as_json:
        print_json(found)
        return
    table([(f"{name}:", _cell(value)) for name, value in found.items() if value not in ("", [], 0)])


def _row(number: int, one: Any) -> dict[str, Any]:
    return asdict(one) if is_dataclass(one) and not isinstance(one, type) else {"number": number, "name": one}


def _described(scan: Scan) -> dict[str, Any]:
    geometry = scan.geometry
    return {
        "format": scan.format,
        "modality": scan.modality,
        "axes": scan.axes,
        "shape": list(scan.array.shape),
        "dtype": str(scan.array.dtype),
        "spacing": list(geometry.spacing),
        "units": list(geometry.units),
        "frame": geometry.frame,
        "affine": [list(row) for row in geometry.affine],
        "levels": len(scan.levels),
        "notes": list(scan.notes),
    }


def _cell(value: Any) -> str:
    """Numbers short enough to read; JSON has them whole."""
    if isinstance(value, list | tuple):
        long = any(isinstance(v, list | tuple) or " " in str(v) for v in value)
        return ("; " if long else " ").join(_cell(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The file to be; its ending says the format.")],
    series: Series = None,
    channel: Annotated[int | None, typer.Option(help="Only this channel, counted from 1.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Write an image in another format, in the same place; what cannot say its place is refused."""
    from napari_latentseg.formats.convert import convert as write

    for note in write(source, target, series=series, channel=channel):
        say(f"note: {note}", quiet=quiet)
    say(str(target), quiet=quiet)
