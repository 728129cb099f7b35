"""`evaluate`."""

from __future__ import annotations

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
    use_threads,
)
from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from napari_latentseg.evaluation.readers import ReaderReport
    from napari_latentseg.evaluation.report import EvaluationReport, StabilityReport

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
            help="Number of samples; the model's default where not given. 1,2,5,10 gives a table of scores.",
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
    readers: ReaderFolders = None,
    reconstruction: Annotated[
        bool,
        typer.Option(
            "--reconstruction", help="Score what the model's autoencoders make of images and masks instead."
        ),
    ] = False,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or auto.")] = "float32",
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
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on annotated images: Dice (DSC), IoU and HD95.

    HD95 counts pixels, or voxels of a volume, whatever their size in mm, as in the models' cards; `compare`
    gives it in mm.

    An image that cannot be used is left out with the reason, and the exit code is 3.
    """
    from napari_latentseg import api
    from napari_latentseg.evaluation.report import ReconstructionReport
    from napari_latentseg.utils.atomic import atomic_path, check_output_file, ensure_writable_folder

    if out is not None:
        check_output_file(out, (".json",), overwrite=overwrite)
    if reconstruction and (protocol or stability or samples or readers):
        why = "scores the autoencoders, without samples, readers or a protocol"
        raise BadInput("reconstruction", why, "leave out --samples, --protocol, --readers and --stability")
    use_threads(threads)
    is_silent = quiet or as_json
    images: dict[str, Any] = {
        "device": device, "precision": precision, "subset": subset, "split": split or None, "labels": labels,
        "codec": codec, "on_note": lambda text: print_line(text, quiet=is_silent),
    }  # fmt: skip
    with progress_bar("scoring", quiet=is_silent) as progress:
        report: EvaluationReport | ReconstructionReport
        if reconstruction:
            report = api.evaluate_reconstruction(model, data, progress=progress, **images)
        else:
            report = api.evaluate(
                model, data, samples=_parse_samples(samples), source=sampling, seed=seed, threshold=threshold,
                protocol=protocol, stability=stability, readers=readers, progress=progress, **images,
            )  # fmt: skip
    if out is not None:
        ensure_writable_folder(out.absolute().parent)
        with atomic_path(out) as temporary:
            temporary.write_text(json_text(report.to_json(), indent=2) + "\n", "utf-8")
    if as_json:
        print_json(report.to_json())
    elif isinstance(report, ReconstructionReport):
        print_table(report.rows(), quiet=quiet)
    else:
        _print_report(report, subset, quiet=quiet)
    exit_partial([image.reason for image in report.left_out])


def _parse_samples(text: str | None) -> int | list[int] | None:
    """The numbers of ``"5"`` or ``"1,2,5,10"``.

    Raises
    ------
    BadInput
        If one of them is no whole number.
    """
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInput("samples", f"{text!r} is no whole number", "write 5, or 1,2,5,10") from error
    return numbers[0] if len(numbers) == 1 else numbers


def _print_report(report: EvaluationReport, subset: str, *, quiet: bool) -> None:
    mean, protocol = report.mean, report.protocol
    images = f"{report.image_count} images, {report.samples} samples from {report.source}"
    if protocol is not None:
        mean = protocol.mean
        at = "at file size" if protocol.size is None else f"at {protocol.size} x {protocol.size}"
        images = f"protocol {protocol.name} {at}, {images}"
    scores = f"DSC {mean.dsc:.4f}  IoU {mean.iou:.4f}  HD95 {mean.hd95:.1f} pixel"
    if protocol is not None:
        pooled = f"DSC {protocol.pooled.dsc:.4f}  IoU {protocol.pooled.iou:.4f} pooled over all pixels"
        if protocol.aggregation == "pooled":
            scores = f"{pooled}; {scores} as means over images"
        elif protocol.soft_dsc is not None:
            scores += f"  soft DSC {protocol.soft_dsc:.4f}"
    print_line(f"{scores}  ({images})", quiet=quiet)
    for name, scores_of_class in report.classes.items():
        print_line(
            f"  {name}: DSC {scores_of_class.dsc:.4f}  IoU {scores_of_class.iou:.4f}"
            f"  HD95 {scores_of_class.hd95:.1f} pixel  ({scores_of_class.images} images)",
            quiet=quiet,
        )
    if protocol is not None and any(protocol.empty.values()):
        counts = ", ".join(f"{which} {count}" for which, count in protocol.empty.items() if count)
        print_line(f"empty masks: {counts}", quiet=quiet)
    if report.by_samples:
        rows = [("samples", "DSC", "IoU", "HD95")]
        rows += [
            (str(row.samples), f"{row.dsc:.4f}", f"{row.iou:.4f}", f"{row.hd95:.1f}")
            for row in report.by_samples
        ]
        print_table(rows, quiet=quiet)
    if report.stability is not None:
        print_line(_stability_line(report.stability), quiet=quiet)
    if report.readers is not None:
        for line in _reader_lines(report.readers):
            print_line(line, quiet=quiet)
    if warning := _training_overlap(report, subset):
        print_line(warning, quiet=quiet)


def _stability_line(stability: StabilityReport) -> str:
    def text(value: float | None, unit: str) -> str:
        return "none" if value is None else f"{value:.2f} {unit}" if unit else f"{value:.4f}"

    parts = [
        f"{title} PSNR {text(psnr, 'dB')}, SSIM {text(ssim, '')}"
        for title, psnr, ssim in (
            ("masks", stability.mask_psnr, stability.mask_ssim),
            ("probabilities", stability.probability_psnr, stability.probability_ssim),
        )
    ]
    counts = f"{stability.pairs} pairs, {stability.identical} with equal masks"
    skipped = f"; {stability.skipped} with an empty mask left out" if stability.skipped else ""
    return f"samples against the first: {'; '.join(parts)} ({counts}{skipped})"


def _reader_lines(report: ReaderReport) -> list[str]:
    mean = report.mean
    return [
        f"GED2 {mean.ged2:.4f}  matched IoU {mean.matched_iou:.4f}  ({report.readers} readers, 1 - IoU)",
        f"  mean distance of a sample and a reader {mean.sample_reader_distance:.4f}, of two samples"
        f" {mean.sample_distance:.4f}, of two readers {mean.reader_distance:.4f}",
    ]


def _training_overlap(report: EvaluationReport, subset: str) -> str:
    """A warning where the model has seen some of the images in training; empty where it has not."""
    training, validation, total = report.training_count, report.validation_count, report.image_count
    if (subset == "validation" and not report.subset) or not (training or validation):
        return ""
    if not training:
        return (
            f"{validation} of {total} images were validation images in training: the weights may have been"
            " chosen by them"
        )
    also = f", and {validation} to validate it" if validation else ""
    remedy = " (--subset validation scores those alone)" if validation and not report.subset else ""
    return f"{training} of {total} images were used to train the model{also}: the scores are too high{remedy}"
