"""`demo` and `evaluate`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_latentseg.cli.console import exit_partial, json_text, print_json, print_line, progress_bar
from napari_latentseg.cli.options import (
    AnnotatedFolder,
    Device,
    JsonOutput,
    LabelsOption,
    ModelOption,
    Overwrite,
    Quiet,
    Samples,
    SamplingSource,
    Seed,
    Threads,
    Threshold,
    use_threads,
)
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.evaluation.report import EvaluationReport

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(demo)
    app.command()(evaluate)


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Also write the result and a screenshot into this folder."),
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


def evaluate(
    model: ModelOption,
    data: AnnotatedFolder,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the whole report to this JSON file.")
    ] = None,
    samples: Samples = None,
    sampling: SamplingSource = None,
    threshold: Threshold = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    subset: Annotated[
        str, typer.Option(help="all, or validation: the model's own validation images.")
    ] = "all",
    labels: LabelsOption = None,
    overwrite: Overwrite = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on annotated images: Dice (DSC), IoU and HD95.

    HD95 counts pixels, or voxels of a volume, whatever their size in mm, as in the models' cards; `compare`
    gives it in mm.

    An image that cannot be used is left out with the reason, and the exit code is 3.
    """
    from napari_latentseg import api
    from napari_latentseg.utils.atomic import atomic_path, check_output_file, ensure_writable_folder

    if out is not None:
        check_output_file(out, (".json",), overwrite=overwrite)
    use_threads(threads)
    with progress_bar("scoring", quiet=quiet or as_json) as progress:
        report = api.evaluate(
            model, data, samples=samples, source=sampling, seed=seed, threshold=threshold, device=device,
            subset=subset, labels=labels, on_note=lambda text: print_line(text, quiet=quiet or as_json),
            progress=progress,
        )  # fmt: skip
    if out is not None:
        ensure_writable_folder(out.absolute().parent)
        with atomic_path(out) as temporary:
            temporary.write_text(json_text(report.to_json(), indent=2) + "\n", "utf-8")
    if as_json:
        print_json(report.to_json())
        exit_partial([image.reason for image in report.left_out])
        return
    mean = report.mean
    print_line(
        f"DSC {mean.dsc:.4f}  IoU {mean.iou:.4f}  HD95 {mean.hd95:.1f} pixel"
        f"  ({report.image_count} images, {report.samples} samples from {report.source})",
        quiet=quiet,
    )
    for name, scores in report.classes.items():
        print_line(
            f"  {name}: DSC {scores.dsc:.4f}  IoU {scores.iou:.4f}  HD95 {scores.hd95:.1f} pixel"
            f"  ({scores.images} images)",
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
