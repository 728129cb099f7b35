"""`evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import (
    exit_partial,
    json_text,
    print_json,
    print_line,
    print_table,
    progress_bar,
)
from napari_latentseg.cli.evaluation_clicks import check_scored_by_clicks, one_number, print_clicks
from napari_latentseg.cli.evaluation_events import event_progress, print_note_event
from napari_latentseg.cli.evaluation_lines import print_evaluation
from napari_latentseg.cli.options import (
    AnnotatedFolder,
    CodecOption,
    Device,
    JsonOutput,
    LabelsOption,
    ModelOption,
    Overwrite,
    Quiet,
    ReaderFolders,
    SamplingSource,
    Seed,
    SplitOption,
    Threads,
    Threshold,
    check_one_output,
    use_threads,
)
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.evaluation.click_report import ClickReport
    from napari_latentseg.evaluation.report import EvaluationReport, ReconstructionReport

    _Report = EvaluationReport | ReconstructionReport | ClickReport

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command()(evaluate)


def evaluate(
    model: ModelOption,
    data: AnnotatedFolder,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the whole report to this JSON file.")
    ] = None,
    samples: Annotated[
        str | None,
        typer.Option(
            "--samples",
            "-n",
            help="Number of samples. Default: the model's. 1,2,5,10 gives a table of scores.",
        ),
    ] = None,
    sampling: SamplingSource = None,
    threshold: Threshold = None,
    protocol: Annotated[
        str | None, typer.Option(help="Score as a paper does: gms, sdseg, medseglatdiff or guided.")
    ] = None,
    stability: Annotated[
        bool, typer.Option("--stability", help="Also compare the samples of each image (PSNR, SSIM).")
    ] = False,
    objects: Annotated[
        bool,
        typer.Option(
            "--objects", help="Also match the objects of the masks, such as nuclei, at an IoU above 0.5."
        ),
    ] = False,
    readers: ReaderFolders = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Compare with another model on the same images (mean difference, Wilcoxon test): its name or"
            " folder, or the JSON file of an earlier evaluation.",
        ),
    ] = None,
    patients: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Which part of an image's name is the patient, as '^(patient[0-9]+)'; intervals and tests"
            " are then over patients.",
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Also write an HTML page: intervals, distribution, best and worst image, calibration.",
        ),
    ] = None,
    worst_images: Annotated[
        Path | None,
        typer.Option(
            "--worst-images",
            metavar="FOLDER",
            help="Also write the results of the ten images with the lowest Dice, with their reference masks.",
        ),
    ] = None,
    clicks: Annotated[
        int | None,
        typer.Option(
            help="For a model that is pointed at: the largest number of clicks on an object. Default: 5. Such"
            " a model is always scored by the clicks of a simulated person.",
        ),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            help="For a model that is pointed at: at most this many images, chosen evenly. Default: all."
        ),
    ] = None,
    reconstruction: Annotated[
        bool,
        typer.Option(
            "--reconstruction",
            help="Score how well the model's autoencoders reconstruct images and masks instead.",
        ),
    ] = False,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or auto. Default: auto; with a protocol, float32."),
    ] = None,
    threads: Threads = None,
    subset: Annotated[
        str,
        typer.Option(
            help="all, or validation: the model's own validation images. With --split also train and test."
        ),
    ] = "all",
    split: SplitOption = None,
    labels: LabelsOption = None,
    codec: CodecOption = None,
    overwrite: Overwrite = False,
    events: Annotated[
        bool,
        typer.Option("--events", help="Print one JSON object per line; a line `stop` on the input stops."),
    ] = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on annotated images: Dice, IoU and HD95.

    HD95 is in pixels, or voxels of a volume, as in the models' cards; `compare` gives it in mm.

    An image that cannot be used is left out with the reason, and the exit code is 3.
    """
    from napari_latentseg import api
    from napari_latentseg.utils.atomic import check_output_file

    check_one_output(events=events, as_json=as_json)
    for file, endings in ((out, (".json",)), (page, (".html", ".htm"))):
        if file is not None:
            check_output_file(file, endings, overwrite=overwrite)
    if reconstruction:
        _check_reconstruction(
            [
                protocol,
                stability or None,
                samples,
                sampling,
                threshold,
                readers,
                objects or None,
                seed or None,
            ],
            [against, patients, page, worst_images],
        )
    use_threads(threads)
    located = api.locate_model(model)
    is_pointed_at = located.card.takes_prompts and not reconstruction
    if is_pointed_at:
        unused = {
            "--sampling": sampling, "--threshold": threshold, "--protocol": protocol,
            "--stability": stability, "--objects": objects, "--readers": readers, "--against": against,
            "--patients": patients, "--worst-images": worst_images, "--split": split or None,
            "--labels": labels, "--precision": precision, "--seed": seed or None,
        }  # fmt: skip
        check_scored_by_clicks(unused)
    elif clicks is not None or images is not None:
        why = "are for a model that is pointed at, such as any-structure"
        raise BadInput("--clicks and --images", why, "leave them out")
    is_silent = quiet or as_json or events
    with progress_bar("scoring", quiet=is_silent) as show_progress:
        progress = event_progress() if events else show_progress
        on_note = print_note_event if events else lambda text: print_line(text, quiet=is_silent)
        common: dict[str, Any] = {
            "device": device, "subset": subset, "codec": codec, "on_note": on_note, "progress": progress,
        }  # fmt: skip
        chosen: dict[str, Any] = {"split": split or None, "labels": labels}
        report: _Report
        if is_pointed_at:
            report = api.evaluate_clicks(
                model, data, clicks=5 if clicks is None else clicks, images=images,
                samples=one_number(samples), report=page, **common,
            )  # fmt: skip
        elif reconstruction:
            report = api.evaluate_reconstruction(
                located, data, precision="float32" if precision is None else precision, **chosen, **common
            )
        else:
            report = api.evaluate(
                located, data, samples=_parse_samples(samples), source=sampling, seed=seed,
                threshold=threshold,
                protocol=protocol, stability=stability, objects=objects, readers=readers,
                against=against, patients=patients, report=page, worst_images=worst_images,
                precision=precision, **chosen, **common,
            )  # fmt: skip
    if out is not None:
        _write_json(report, out)
    if as_json:
        print_json(report.to_json())
    else:
        _print_report(report, subset, quiet=is_silent)
    for written in (out, page, worst_images):
        if written is not None:
            print_line(str(written), quiet=is_silent)
    exit_partial([image.reason for image in report.left_out])


def _check_reconstruction(of_samples: Sequence[object], of_comparison: Sequence[object]) -> None:
    """Refuse what says nothing of an autoencoder.

    Parameters
    ----------
    of_samples, of_comparison
        What was given with options on samples, and on the comparison of images; None where nothing was.

    Raises
    ------
    BadInput
        With the options to leave out.
    """
    if any(value is not None for value in of_samples):
        why = "scores the autoencoders, without samples, readers, objects or a protocol"
        remedy = (
            "leave out --samples, --sampling, --seed, --threshold, --protocol, --readers, --objects and"
            " --stability"
        )
        raise BadInput("reconstruction", why, remedy)
    if any(value is not None for value in of_comparison):
        why = "gives no scores of images to compare"
        raise BadInput("reconstruction", why, "leave out --against, --patients, --report and --worst-images")


def _write_json(report: _Report, out: Path) -> None:
    from napari_latentseg.utils.atomic import atomic_path, ensure_writable_folder

    ensure_writable_folder(out.absolute().parent)
    with atomic_path(out) as temporary:
        temporary.write_text(json_text(report.to_json(), indent=2) + "\n", "utf-8")


def _print_report(report: _Report, subset: str, *, quiet: bool) -> None:
    """Print the figures of an evaluation of any kind, as lines or a table."""
    from napari_latentseg.evaluation.click_report import ClickReport
    from napari_latentseg.evaluation.report import ReconstructionReport

    if isinstance(report, ClickReport):
        print_clicks(report, quiet=quiet)
    elif isinstance(report, ReconstructionReport):
        print_table(report.rows(), quiet=quiet)
    else:
        print_evaluation(report, subset, quiet=quiet)


def _parse_samples(text: str | None) -> int | list[int] | None:
    """The numbers of ``"5"`` or ``"1,2,5,10"``.

    Raises
    ------
    BadInput
        If one of them is not a whole number.
    """
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInput("samples", f"{text!r} is not a whole number", "write 5, or 1,2,5,10") from error
    return numbers[0] if len(numbers) == 1 else numbers
