"""`compare`: two masks with each other, or the masks of several readers and a model's result beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import print_json, print_line, print_table
from napari_latentseg.cli.options import JsonOutput, Overwrite
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_latentseg.evaluation.reader_comparison import ReaderComparison

__all__ = ["print_rows", "register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command("compare")(compare_masks)


def compare_masks(
    masks: Annotated[
        list[Path],
        typer.Argument(
            metavar="MASK MASK...",
            help="Two masks, of which the second is the reference; or those of up to eight readers of one"
            " image: files, or annotation stores.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A model, for the names of the classes; `models` lists them."),
    ] = None,
    assd: Annotated[
        bool,
        typer.Option(
            "--assd",
            help="Also the average symmetric surface distance; with several readers it is always given.",
        ),
    ] = False,
    consensus: Annotated[
        str | None,
        typer.Option(
            help="The consensus of the readers: majority (strictly more than half), or staple, which needs"
            " SimpleITK. Default: majority."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the consensus to this file, a mask.")
    ] = None,
    disagreement: Annotated[
        Path | None,
        typer.Option(help="Write the map of the readers' disagreement, 0 to 0.25, to this file."),
    ] = None,
    result: Annotated[
        Path | None,
        typer.Option(help="A model's result for the same image, to compare with the readers."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a page with the scores and pictures to this HTML file.")
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="The image, for the pictures, and to find its mask in annotation stores."),
    ] = None,
    names: Annotated[
        str | None, typer.Option(help="Names of the readers, as A,B,C. Default: reader 1, reader 2.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Tolerance of the surface Dice in mm, or in pixels without a spacing. Default: one pixel."
        ),
    ] = None,
    edited: Annotated[
        bool, typer.Option("--edited", help="A mask was edited in another program: take it as it is now.")
    ] = False,
    overwrite: Overwrite = False,
    as_json: JsonOutput = False,
) -> None:
    """Compare masks: Dice, IoU and HD95 of each class; distances in mm where the masks have a spacing.

    A mask that covers the same region as the first, but is stored in another orientation, is turned exactly.

    With several readers, or with one of the options for readers, every pair is compared, and each reader
    with the consensus. A model's result can be compared with them; its variance is not their disagreement.

    What a run left out (slices after it was cancelled, pixels outside a box) is not compared.
    """
    for_readers = (consensus, out, disagreement, result, report, image, names, tolerance)
    if len(masks) == 2 and all(option is None for option in for_readers):
        _compare_two(masks, model, assd=assd, edited=edited, as_json=as_json)
        return
    from napari_latentseg import api

    written = {"out": out, "disagreement": disagreement, "report": report}
    _check_outputs({key: path for key, path in written.items() if path is not None}, masks, overwrite)
    comparison = api.compare_readers(
        masks, readers=None if names is None else names.split(","),
        classes=None if model is None else api.locate_model(model).card.classes,
        consensus=consensus or "majority", tolerance=tolerance, result=result, image=image, edited=edited,
        report=report,
    )  # fmt: skip
    notes: list[str] = []
    if out is not None:
        notes += _write_map(out, comparison.consensus.labels, comparison, overwrite)
    if disagreement is not None:
        notes += _write_map(disagreement, comparison.largest_disagreement, comparison, overwrite)
    if as_json:
        print_json({"masks": [str(path) for path in masks], **comparison.figures()})
        return
    _print_comparison(comparison, masks)
    for note in dict.fromkeys(notes):
        print_line(note)
    for path in written.values():
        if path is not None:
            print_line(str(path))


def _compare_two(
    masks: Sequence[Path], model: str | None, *, assd: bool, edited: bool, as_json: bool
) -> None:
    """A mask with its reference."""
    from napari_latentseg.api.mask_files import classes_of_masks, read_mask, segmented_part
    from napari_latentseg.evaluation.compare import compare
    from napari_latentseg.evaluation.label_maps import other_labels_text

    scans = [read_mask(path) for path in masks]
    classes = classes_of_masks(masks[0], model, scans, edited=edited)
    segmented, segmented_text, note = segmented_part(masks, scans)
    rows = compare(
        scans[0].array, scans[1].array, scans[0].geometry, classes, reference_geometry=scans[1].geometry,
        assd=assd, segmented=segmented, segmented_text=segmented_text,
    )  # fmt: skip
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        print_line(row.describe())
    for path, scan in zip(masks, scans, strict=True):
        if text := other_labels_text(scan.array, classes):
            print_line(f"{path.name} {text}")
    if note:
        print_line(note)


def _check_outputs(outputs: dict[str, Path], masks: Sequence[Path], overwrite: bool) -> None:
    """Refuse, before anything is read, to write over what is there, over a mask, or two files into one."""
    from napari_latentseg.io.earlier_results import check_not_of_result
    from napari_latentseg.io.registry import format_for, readable_suffixes
    from napari_latentseg.utils.atomic import check_output_file
    from napari_latentseg.utils.paths import real_path

    taken = {real_path(path) for path in masks}
    for key, path in outputs.items():
        if real_path(path) in taken:
            raise BadInput(path, "is given twice, or is one of the masks", "choose another name")
        taken.add(real_path(path))
        if key != "report":
            format_for(path)
        suffixes = (".html", ".htm") if key == "report" else readable_suffixes()
        check_output_file(path, suffixes, overwrite=overwrite)
        check_not_of_result(path)


def _write_map(
    path: Path, values: NDArray[np.generic], comparison: ReaderComparison, overwrite: bool
) -> tuple[str, ...]:
    """Write a map in the geometry of the masks; returns notes on what the format cannot hold."""
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.io.convert import write_scan

    scan = Scan(values, "".join(comparison.geometry.axis_labels), comparison.geometry)
    return write_scan(scan, path, overwrite=overwrite)


def _print_comparison(comparison: ReaderComparison, masks: Sequence[Path]) -> None:
    from napari_latentseg.api.reader_masks import mask_titles
    from napari_latentseg.report.readers_text import (
        class_tables,
        model_texts,
        pair_head,
        reader_comparison_texts,
    )

    titles = mask_titles(masks)
    for reader, title in zip(comparison.readers, titles, strict=True):
        print_line(f"{reader}: {title}")
    for note in comparison.notes:
        print_line(f"{titles[note.reader]} {note.text}")
    for group in class_tables(comparison):
        print_line("")
        print_rows([[group.title, *pair_head(comparison)[1:]], *group.pairs])
        if group.performance:
            print_rows([["STAPLE", "sensitivity", "specificity"], *group.performance])
        if comparison.model is not None:
            print_rows([[f"{comparison.model.maps.title}, {comparison.model.maps.basis}", ""], *group.model])
    print_line("")
    for text in (*reader_comparison_texts(comparison), *model_texts(comparison)):
        print_line(text)


def print_rows(rows: Sequence[Sequence[Any]]) -> None:
    """Print a table whose cells are texts, or have one."""
    print_table([tuple(cell if isinstance(cell, str) else cell.text for cell in row) for row in rows])
