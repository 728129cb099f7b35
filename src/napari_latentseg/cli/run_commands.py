"""`demo`, `segment` and `evaluate`."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_latentseg.cli.console import exit_partial, print_line, progress_bar
from napari_latentseg.cli.options import (
    AnnotatedFolder,
    Channel,
    CodecFolder,
    Device,
    LabelsOption,
    ModelOption,
    Quiet,
    Samples,
    SamplingSource,
    ScanPath,
    Seed,
    Series,
    Spacing,
    Threshold,
    parse_spacing,
)
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.evaluation.report import EvaluationReport
    from napari_latentseg.models.card import ModelCard

__all__ = ["register"]


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
    """Open napari with a fundus photograph and segment its vessels; with --out, write the result and close.

    Without a display, xvfb-run gives a virtual one where it is installed.
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
        "-P",  # a file in the current folder must not be imported in place of a module
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
    scan: ScanPath,
    model: ModelOption,
    out: Annotated[Path, typer.Option(help="Folder for the result.")],
    samples: Samples = None,
    sampling: SamplingSource = None,
    threshold: Threshold = None,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    codec: CodecFolder = None,
    series: Series = None,
    channel: Channel = None,
    spacing: Spacing = None,
    plane: Annotated[
        str, typer.Option(help="Orientation of the slices: acquired, axial, coronal or sagittal.")
    ] = "acquired",
    slices: Annotated[
        str | None, typer.Option(help="Segment only these slices, counted from 1: 40-60, or 50.")
    ] = None,
    roi: Annotated[
        str | None,
        typer.Option(help="Segment only this box of each slice: TOP,LEFT,BOTTOM,RIGHT in pixels, from 0."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Segment only these classes of the model, separated by commas.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Stop early once samples change the mask by no more than this (1 - Dice): 0.01."),
    ] = None,
    min_size: Annotated[
        float, typer.Option(help="Remove objects below this area or volume, in the image's unit (mm2, mm3).")
    ] = 0.0,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Fill holes that a class encloses on all sides.")
    ] = False,
    keep_largest: Annotated[
        bool, typer.Option("--keep-largest", help="Keep only the largest object of each class.")
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(
            help="nifti, ome-tiff, nrrd, metaimage, ome-zarr, png or dicom-seg; as the scan where not given."
        ),
    ] = None,
    agreement: Annotated[
        bool,
        typer.Option("--agreement", help="Also write how many samples assign each voxel to a class."),
    ] = False,
    contours: Annotated[bool, typer.Option("--contours", help="Also write outlines, as GeoJSON.")] = False,
    band: Annotated[
        bool,
        typer.Option(
            "--band",
            help="Also write inner and outer contours: in 9 of 10 images the true edge lies between them.",
        ),
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Also write a table of areas or volumes, as CSV.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Also write a report on one page: an HTML file.")
    ] = None,
    append_to: Annotated[
        Path | None, typer.Option(help="Also add the classes to this table of cases, a CSV file.")
    ] = None,
    deidentify: Annotated[
        bool,
        typer.Option("--deidentify", help="Leave out what names the patient, in file names and DICOM-SEG."),
    ] = False,
    case: Annotated[
        str | None,
        typer.Option(help="A code for the case: the files are named after it; record and report name it."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace also a result of another image, and changed files.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Segment an image or volume; writes STEM_mask, STEM_mean, STEM_variance and STEM_run.json."""
    from napari_latentseg import api
    from napari_latentseg.api.results import check_result
    from napari_latentseg.core.agreement import agreement_unavailable_reason
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.io import stem_of
    from napari_latentseg.io.result_format import check_agreement, check_format
    from napari_latentseg.io.result_names import check_case_code
    from napari_latentseg.utils.atomic import check_writable_folder

    check_writable_folder(out)
    check_format(format)
    if case is not None:  # an empty one, of a script's unset variable, must not give way to the file's name
        check_case_code(case)
    if report is not None:
        from napari_latentseg.report import check_report

        check_report(report)
    from napari_latentseg.measure import contours_unavailable_reason

    located_model = api.locate_model(model)
    settings = InferenceSettings.for_model(
        located_model.card, samples=samples, source=sampling, seed=seed, threshold=threshold, device=device,
        precision=precision, slices=_parse_slice_range(slices), box=_parse_box(roi), tolerance=tolerance,
        classes=None if classes is None else [name.strip() for name in classes.split(",")],
        cleanup=_make_postprocess(min_size, fill_holes=fill_holes, keep_largest=keep_largest),
    )  # fmt: skip
    if agreement:
        check_agreement(settings.samples, settings.source, format)
    image = _open_image(scan, series, channel, parse_spacing(spacing))
    # the name of a file or folder may be the patient's
    stem = case or (f"scan-{_input_sha256(image, settings.box)[:8]}" if deidentify else stem_of(scan))
    check_result(
        image, out, stem, classes=located_model.card.classes, format=format, agreement=agreement,
        contours=contours, band=band, table=table, report=report, append_to=append_to,
        input_sha256=partial(_input_sha256, image, settings.box),
        is_box=settings.box is not None, overwrite=overwrite,
    )  # fmt: skip
    with progress_bar("segmenting", quiet=quiet) as progress:
        run = api.start_run(image, located_model, settings, plane=plane, codec=codec)
        segmentation = run.finish(progress)
    why_no_band = contours_unavailable_reason(segmentation, located_model.card) if band else ""
    why_no_agreement = agreement_unavailable_reason(segmentation) if agreement else ""
    written = api.write_result(
        segmentation, out, stem, case=case or "", scan=run.state.original, card=located_model.card,
        format=format, agreement=agreement and not why_no_agreement, contours=contours,
        band=band and not why_no_band, table=table, report=report, append_to=append_to,
        deidentify=deidentify, overwrite=overwrite,
    )  # fmt: skip
    for path in written:
        print_line(str(path), quiet=quiet)
    left_out = [
        f"no {what}: {why[0].lower()}{why[1:]}"
        for what, why in (("agreement", why_no_agreement), ("contours", why_no_band))
        if why
    ]
    for line in [*_size_lines(segmentation, located_model.card), *_remarks(segmentation), *left_out]:
        print_line(line, quiet=quiet)


def _open_image(path: Path, series: int | None, channel: int | None, spacing: Sequence[float] | None) -> Scan:
    from napari_latentseg.core.given_spacing import give_spacing
    from napari_latentseg.core.reorient import select_channel
    from napari_latentseg.io import read_scan

    image = read_scan(path, series=series)
    if channel is not None:
        image = select_channel(image, channel)
    return image if spacing is None else give_spacing(image, spacing)


def _input_sha256(image: Scan, box: tuple[int, int, int, int] | None) -> str:
    """The hash by which the record of a run names its image."""
    return list(image.iter_sha256(box))[-1]


def _size_lines(segmentation: Segmentation, card: ModelCard) -> list[str]:
    """The size of each class, what its interval rests on, and what was not segmented."""
    from napari_latentseg.measure import class_sizes, sizes_note

    return [*(row.describe() for row in class_sizes(segmentation, card)), sizes_note(segmentation, card)]


def _remarks(segmentation: Segmentation) -> list[str]:
    """What a person should know of a result: whether the model fits the image, and of its samples."""
    from napari_latentseg.measure import expected_dice_lines

    record, remarks = segmentation.record, []
    if record.fit is not None:
        remarks.append(record.fit.describe())
    if record.tolerance is not None and record.complete and record.samples < record.samples_asked:
        remarks.append(f"{record.samples} of {record.samples_asked} samples were enough")
    if segmentation.variance is None:
        samples = "1 sample" if record.samples == 1 else f"{record.samples} samples"
        reason = "one pass" if record.source == "none" else samples
        remarks.append(f"no variance: {reason} cannot tell how much samples differ (3 or more can)")
    return [*remarks, *expected_dice_lines(record.expected_dice)]


def evaluate(
    model: ModelOption,
    data: AnnotatedFolder,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the whole report to this JSON file.")
    ] = None,
    samples: Samples = None,
    sampling: SamplingSource = None,
    threshold: Threshold = None,
    seed: Seed = 0,
    device: Device = "auto",
    subset: Annotated[
        str, typer.Option(help="all, or validation: the model's own validation images.")
    ] = "all",
    labels: LabelsOption = None,
    quiet: Quiet = False,
) -> None:
    """Score a model on annotated images: Dice (DSC), IoU and HD95.

    An image that cannot be used is left out with the reason, and the exit code is 3.
    """
    from napari_latentseg import api
    from napari_latentseg.utils.atomic import atomic_path, check_writable_folder, ensure_writable_folder

    if json_file is not None:
        if json_file.is_dir():
            raise BadInput(json_file, "is a folder", "give the name of a file")
        check_writable_folder(json_file.absolute().parent)
    with progress_bar("scoring", quiet=quiet) as progress:
        report = api.evaluate(
            model, data, samples=samples, source=sampling, seed=seed, threshold=threshold, device=device,
            subset=subset, labels=labels, on_note=lambda text: print_line(text, quiet=quiet),
            progress=progress,
        )  # fmt: skip
    if json_file is not None:
        ensure_writable_folder(json_file.absolute().parent)
        with atomic_path(json_file) as temporary:
            temporary.write_text(json.dumps(report.to_json(), indent=2) + "\n", "utf-8")
    mean = report.mean
    print_line(
        f"DSC {mean.dsc:.4f}  IoU {mean.iou:.4f}  HD95 {mean.hd95:.1f} pixel"
        f"  ({report.image_count} images, {report.samples} samples from {report.source})",
        quiet=quiet,
    )
    if warning := _training_overlap(report, subset):
        print_line(warning, quiet=quiet)
    exit_partial([image.reason for image in report.left_out])


def _training_overlap(report: EvaluationReport, subset: str) -> str:
    """A warning where the model has seen some of the images in training; empty where it has not."""
    training, validation, total = report.training_count, report.validation_count, report.image_count
    if subset == "validation" or not (training or validation):
        return ""
    if not training:
        return (
            f"{validation} of {total} images were validation images in training: the weights may have been"
            " chosen by them"
        )
    also = f", and {validation} to validate it" if validation else ""
    remedy = " (--subset validation scores those alone)" if validation else ""
    return f"{training} of {total} images were used to train the model{also}: the scores are too high{remedy}"


def _make_postprocess(min_size: float, *, fill_holes: bool, keep_largest: bool) -> PostProcess:
    from napari_latentseg.core.postprocess import PostProcess

    if not 0 <= min_size < math.inf:
        raise BadInput("min-size", f"{min_size:g} is no size", "give 0 or more")
    return PostProcess(smallest=min_size, fill_holes=fill_holes, keep_largest=keep_largest)


def _parse_box(text: str | None) -> tuple[int, int, int, int] | None:
    """Top, left, bottom and right of ``"0,0,512,512"``.

    Raises
    ------
    BadInput
        If it is not four whole numbers.
    """
    if text is None:
        return None
    numbers = [part.strip() for part in text.split(",")]
    if len(numbers) != 4 or not all(part.isdecimal() for part in numbers):
        raise BadInput("roi", f"{text!r} is no box", "write TOP,LEFT,BOTTOM,RIGHT in whole pixels")
    top, left, bottom, right = (int(part) for part in numbers)
    return top, left, bottom, right


def _parse_slice_range(text: str | None) -> tuple[int, int] | None:
    """First and last slice, counted from 0, of ``"40-60"`` or ``"50"``, which are counted from 1.

    Raises
    ------
    BadInput
        If it is neither.
    """
    if text is None:
        return None
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or int(first) < 1:
        raise BadInput("slices", f"{text!r} is no range", "write 40-60, or 50; the first slice is 1")
    return int(first) - 1, int(last if dash else first) - 1
