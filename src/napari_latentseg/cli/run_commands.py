"""`demo`, `segment` and `evaluate`."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import print_line, progress_bar
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.core.postprocess import PostProcess

__all__ = ["register"]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Samples = Annotated[
    int | None, typer.Option("--samples", "-n", help="How many samples; the model's own number.")
]
Source = Annotated[str | None, typer.Option(help="Where samples come from: one of the model's sources.")]
Threshold = Annotated[float | None, typer.Option(help="Probability above which a place belongs to a class.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result on the same machine.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(demo)
    app.command()(segment)
    app.command()(evaluate)


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Also write the result and a screenshot into this folder.")
    ] = None,
    samples: Samples = None,
    quiet: Quiet = False,
) -> None:
    """Open napari with a fundus photograph and its vessels found; with --out, write the result and close.

    Without a display it is shown on a virtual one, where xvfb-run is installed.
    """
    has_display = sys.platform in ("win32", "darwin") or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if not has_display:
        _run_under_xvfb(out, samples, quiet)
        return
    from napari_latentseg.widgets.demo import run_demo

    for path in run_demo(out, samples=samples):
        print_line(str(path), quiet=quiet)


def _run_under_xvfb(out: Path | None, samples: int | None, quiet: bool) -> None:
    xvfb_run = shutil.which("xvfb-run")
    if xvfb_run is None or out is None:
        raise BadInput(
            "demo",
            "there is no display",
            "give --out FOLDER to have the result written"
            if xvfb_run
            else "log in at a desktop, or install xvfb",
        )
    command = [
        xvfb_run,
        "-a",
        "-s",
        "-screen 0 1920x1200x24",
        sys.executable,
        "-m",
        "napari_latentseg",
        "demo",
    ]
    command += [
        "--out",
        str(out),
        *(["--samples", str(samples)] if samples else []),
        *(["--quiet"] if quiet else []),
    ]
    settings = os.environ | {"LIBGL_ALWAYS_SOFTWARE": "1", "QT_QPA_PLATFORM": "xcb"}
    if code := subprocess.run(command, env=settings, check=False).returncode:
        raise typer.Exit(code)


def segment(
    scan: Annotated[
        Path, typer.Argument(help="An image or volume: a file, or a folder of DICOM or OME-Zarr.")
    ],
    model: Annotated[str, typer.Option(help="The name of a model, or its folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the result.")],
    samples: Samples = None,
    source: Source = None,
    threshold: Threshold = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    codec: Annotated[
        Path | None, typer.Option(help="Folder of the model's codec, where it lies apart.")
    ] = None,
    series: Annotated[
        int | None, typer.Option(help="Which of several images, from 1; info lists them.")
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="Which channel, from 1, where they are no colours.")
    ] = None,
    plane: Annotated[
        str, typer.Option(help="How a volume is cut: acquired, axial, coronal or sagittal.")
    ] = "acquired",
    slices: Annotated[
        str | None, typer.Option(help="Only these slices, counted from 1: 40-60, or 50.")
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(help="Only this part of each slice: TOP,LEFT,BOTTOM,RIGHT in pixels, from 0."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Only these of the model's classes, with commas between them.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Stop when samples change the mask by no more than this (1 - DSC): 0.01."),
    ] = None,
    smallest: Annotated[
        float, typer.Option(help="Drop objects below this area or volume, in the image's unit.")
    ] = 0.0,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Fill what a class encloses on all sides.")
    ] = False,
    keep_largest: Annotated[
        bool, typer.Option("--keep-largest", help="Keep the largest object of each class alone.")
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(help="nifti, ome-tiff, nrrd, metaimage, ome-zarr, png or dicom-seg; the scan's own."),
    ] = None,
    contours: Annotated[bool, typer.Option("--contours", help="Also outlines, as GeoJSON.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Also areas or volumes, as CSV.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Also a page for a colleague: the HTML file to be.")
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Nothing that names the patient, in file names or DICOM-SEG.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Segment an image or volume; writes STEM_mask, STEM_mean, STEM_variance and STEM_run.json."""
    from napari_latentseg import api
    from napari_latentseg.io import stem_of
    from napari_latentseg.io.write_results import check_format, write_segmentation
    from napari_latentseg.utils.atomic import check_writable_folder

    check_writable_folder(out)
    check_format(format)
    if report is not None:
        from napari_latentseg.report import check_report

        check_report(report)
    cleanup = _make_postprocess(smallest, fill_holes=fill_holes, keep_largest=keep_largest)
    with progress_bar("segmenting", quiet=quiet) as progress:
        segmentation = api.segment(
            scan, model, samples=samples, source=source, seed=seed, threshold=threshold, device=device,
            precision=precision, codec=codec, series=series, channel=channel, plane=plane,
            slices=_parse_slice_range(slices), box=_parse_box(box), cleanup=cleanup, tolerance=tolerance,
            classes=None if classes is None else [name.strip() for name in classes.split(",")],
            progress=progress,
        )  # fmt: skip
    # a file's or folder's name may be the patient's
    stem = f"scan-{segmentation.record.input.sha256[:8]}" if deidentify else stem_of(scan)
    rows, write_table = None, None
    if table or report is not None:
        from functools import partial

        from napari_latentseg.cli.review_commands import open_image
        from napari_latentseg.measure import measure, write_csv
        from napari_latentseg.models.card import read_card
        from napari_latentseg.models.store import find_model

        card, image = read_card(find_model(model)), open_image(scan, series, channel)
        rows = measure(segmentation, image, interval=card.volume_interval)
        write_table = partial(write_csv, measurements=rows) if table else None
    written = write_segmentation(
        segmentation, out, stem,
        format=format, contours=contours, deidentify=deidentify, write_table=write_table,
    )  # fmt: skip
    if report is not None:
        from napari_latentseg.report import make_report

        written.append(make_report(segmentation, image, card, report, measurements=rows))
    for path in written:
        print_line(str(path), quiet=quiet)
    record = segmentation.record
    if record.tolerance is not None and record.complete and record.samples < record.samples_asked:
        print_line(f"{record.samples} of {record.samples_asked} samples were enough", quiet=quiet)
    if segmentation.variance is None:
        why = "one pass" if segmentation.record.source == "none" else f"{segmentation.record.samples} samples"
        print_line(f"no variance: {why} cannot tell how much samples differ (3 or more can)", quiet=quiet)


def evaluate(
    model: Annotated[str, typer.Option(help="The name of a model, or its folder.")],
    data: Annotated[Path, typer.Option(help="Holds images/ and masks/.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the whole report.")] = None,
    samples: Samples = None,
    source: Source = None,
    threshold: Threshold = None,
    seed: Seed = 0,
    device: Device = "auto",
    subset: Annotated[
        str, typer.Option(help="all, or validation: those the model's split kept apart.")
    ] = "all",
    quiet: Quiet = False,
) -> None:
    """Score a model on annotated images: DSC, IoU and HD95."""
    from napari_latentseg import api
    from napari_latentseg.utils.atomic import atomic_path, check_writable_folder, ensure_writable_folder

    if json_file is not None:
        if json_file.is_dir():
            raise BadInput(json_file, "is a folder", "give the name of a file")
        check_writable_folder(json_file.absolute().parent)
    with progress_bar("scoring", quiet=quiet) as progress:
        report = api.evaluate(
            model, data, samples=samples, source=source, seed=seed, threshold=threshold, device=device,
            subset=subset, progress=progress,
        )  # fmt: skip
    if json_file is not None:
        ensure_writable_folder(json_file.absolute().parent)
        with atomic_path(json_file) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    mean = report["mean"]
    print_line(
        f"DSC {mean['dsc']:.4f}  IoU {mean['iou']:.4f}  HD95 {mean['hd95']:.1f} pixel"
        f"  ({report['count']} images, {report['samples']} samples from {report['source']})",
        quiet=quiet,
    )
    if known := _seen_in_training(report, subset):
        print_line(known, quiet=quiet)


def _seen_in_training(report: dict[str, Any], subset: str) -> str:
    """What a person must know of images that the model has seen; empty where there is nothing to say."""
    learned, apart = report["trained_on"], report["kept_apart"]
    if subset == "validation" or not (learned or apart):
        return ""
    total = report["count"]
    if not learned:
        return (
            f"{apart} of {total} images were kept apart in training; the weights may have been chosen by them"
        )
    also = f", and {apart} were kept apart to judge it by" if apart else ""
    remedy = " (--subset validation scores those kept apart)" if apart else ""
    return f"{learned} of {total} images were used to train the model{also}: the figures flatter it{remedy}"


def _make_postprocess(smallest: float, *, fill_holes: bool, keep_largest: bool) -> PostProcess:
    from napari_latentseg.core.postprocess import PostProcess

    if not 0 <= smallest < math.inf:
        raise BadInput("smallest", f"{smallest:g} is no size", "give 0 or more")
    return PostProcess(smallest=smallest, fill_holes=fill_holes, keep_largest=keep_largest)


def _parse_box(text: str | None) -> tuple[int, int, int, int] | None:
    """Top, left, bottom and right of ``"0,0,512,512"``.

    Raises
    ------
    BadInput
        Where it is no such four.
    """
    if text is None:
        return None
    numbers = [part.strip() for part in text.split(",")]
    if len(numbers) != 4 or not all(part.isdecimal() for part in numbers):
        raise BadInput("box", f"{text!r} is no box", "write TOP,LEFT,BOTTOM,RIGHT in whole pixels")
    top, left, bottom, right = (int(part) for part in numbers)
    return top, left, bottom, right


def _parse_slice_range(text: str | None) -> tuple[int, int] | None:
    """First and last of ``"40-60"`` or ``"50"``.

    Raises
    ------
    BadInput
        Where it is neither.
    """
    from napari_latentseg.errors import BadInput

    if text is None:
        return None
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or int(first) < 1:
        raise BadInput("slices", f"{text!r} is no range", "write 40-60, or 50; the first slice is 1")
    return int(first), int(last if dash else first)
