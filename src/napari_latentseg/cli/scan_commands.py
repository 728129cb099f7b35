"""`info` and `convert`."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import print_json, print_line, print_table
from napari_latentseg.cli.options import (
    Channel,
    CodecOption,
    JsonOutput,
    Overwrite,
    Quiet,
    ScanPath,
    Series,
    Spacing,
    parse_spacing,
)

if TYPE_CHECKING:
    from napari_latentseg.core.scan import Scan

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(info)
    app.command()(convert)


def info(
    scan: ScanPath,
    series: Series = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Also say whether this model was made for the image; reads some of its pixels.",
        ),
    ] = None,
    codec: CodecOption = None,
    as_json: JsonOutput = False,
) -> None:
    """Print format, size and geometry of an image, without reading its pixels; or list several."""
    from napari_latentseg.io import read_scan_lazy
    from napari_latentseg.io.registry import list_series

    series_list = list_series(scan) if series is None else []
    if len(series_list) > 1:
        rows = [_series_row(number + 1, series_info) for number, series_info in enumerate(series_list)]
        if as_json:
            print_json({"series": rows})
            return
        print_table(
            [
                tuple(name.upper() for name in rows[0]),
                *(tuple(map(_format_cell, row.values())) for row in rows),
            ]
        )
        print_line("choose one with --series N")
        return
    image = read_scan_lazy(scan, series=series)
    description = _describe_scan(image)
    fit = None
    if model is not None:
        from napari_latentseg import api

        fit = api.check_fit(image, model, codec=codec)
    if as_json:
        print_json(description | ({} if model is None else {"fit": fit and fit.model_dump(mode="json")}))
        return
    if model is not None:
        description[model] = "not known whether it fits" if fit is None else fit.describe()
    print_table(
        [(f"{name}:", _format_cell(value)) for name, value in description.items() if value not in ("", [], 0)]
    )


def _series_row(number: int, series_info: Any) -> dict[str, Any]:
    return (
        asdict(series_info)
        if is_dataclass(series_info) and not isinstance(series_info, type)
        else {"number": number, "name": series_info}
    )


def _describe_scan(scan: Scan) -> dict[str, Any]:
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


def _format_cell(value: Any) -> str:
    """A value for a table; numbers are rounded to six digits, which JSON has in full."""
    if isinstance(value, list | tuple):
        long = any(isinstance(v, list | tuple) or " " in str(v) for v in value)
        return ("; " if long else " ").join(_format_cell(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def convert(
    source: ScanPath,
    target: Annotated[Path, typer.Argument(help="The file to write; its suffix gives the format.")],
    series: Series = None,
    channel: Channel = None,
    spacing: Spacing = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write an image in another format with the same geometry; a format that cannot hold it is refused."""
    from napari_latentseg.io.convert import convert as write

    notes = write(
        source, target, series=series, channel=channel, spacing=parse_spacing(spacing), overwrite=overwrite
    )
    for note in notes:
        print_line(f"note: {note}", quiet=quiet)
    print_line(str(target), quiet=quiet)
