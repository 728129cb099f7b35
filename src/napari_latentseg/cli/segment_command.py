"""`segment`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_latentseg.cli.console import EXIT_PARTIAL, print_error, print_json, print_line, progress_bar
from napari_latentseg.cli.json_records import measurement_json
from napari_latentseg.cli.options import (
    Channel,
    CodecOption,
    Device,
    JsonOutput,
    ModelOption,
    Quiet,
    Samples,
    SamplingSource,
    Seed,
    Series,
    Spacing,
    Threads,
    Threshold,
    parse_spacing,
    use_threads,
)
from napari_latentseg.cli.point_order import CommandWithPoints, point_order
from napari_latentseg.cli.prompt_options import (
    Boxes,
    HintPoints,
    NotHintPoints,
    NotPoints,
    Points,
    PromptsFile,
    StructureSize,
    Through,
    parse_hints,
    parse_prompts,
)
from napari_latentseg.cli.segment_options import (
    Agreement,
    Band,
    ClassNames,
    Contours,
    Deidentify,
    Doubt,
    Engine,
    FillHoles,
    KeepLargest,
    MinSize,
    Precision,
    ResultFormat,
    SlicePlane,
    Table,
    Tolerance,
    make_postprocess,
    parse_classes,
)
from napari_latentseg.cli.structure_size import size_in_pixels
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.api.files import FileResult
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.models.card import ModelCard

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command of this file."""
    app.command(cls=CommandWithPoints)(segment)


def segment(
    context: typer.Context,
    scans: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCAN...",
            help="Images or volumes: files, folders of DICOM or OME-Zarr, a folder with images in it, or"
            " series of an archive (dicomweb://HOST/PATH?patient=ID).",
        ),
    ],
    model: ModelOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the result.")],
    samples: Samples = None,
    sampling: SamplingSource = None,
    threshold: Threshold = None,
    seed: Seed = 0,
    device: Device = "auto",
    threads: Threads = None,
    precision: Precision = "auto",
    engine: Engine = "auto",
    codec: CodecOption = None,
    series: Series = None,
    channel: Channel = None,
    spacing: Spacing = None,
    plane: SlicePlane = "acquired",
    slices: Annotated[
        str | None, typer.Option(help="Segment only these slices, counted from 1: 40-60, or 50.")
    ] = None,
    roi: Annotated[
        str | None,
        typer.Option(help="Segment only this box of each slice: TOP,LEFT,BOTTOM,RIGHT in pixels, from 0."),
    ] = None,
    point: Points = None,
    outside: NotPoints = None,
    around: Boxes = None,
    structure_size: StructureSize = None,
    prompts: PromptsFile = None,
    through: Through = False,
    hint: HintPoints = None,
    hint_not: NotHintPoints = None,
    classes: ClassNames = None,
    tolerance: Tolerance = None,
    min_size: MinSize = 0.0,
    fill_holes: FillHoles = False,
    keep_largest: KeepLargest = False,
    format: ResultFormat = None,
    agreement: Agreement = False,
    doubt: Doubt = False,
    contours: Contours = False,
    band: Band = False,
    table: Table = False,
    report: Annotated[
        Path | None, typer.Option(help="Also write a report on one page: an HTML file.")
    ] = None,
    append_to: Annotated[
        Path | None, typer.Option(help="Also add the classes to this table of cases, a CSV file.")
    ] = None,
    append_objects: Annotated[
        bool, typer.Option("--append-objects", help="Also add each connected object to the table of cases.")
    ] = False,
    deidentify: Deidentify = False,
    case: Annotated[
        str | None,
        typer.Option(help="A code for the case: the files are named after it; record and report name it."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Also replace results of another image, and files that were changed."
        ),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Skip images that already have a complete result of this model, also with --overwrite.",
        ),
    ] = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
) -> None:
    """Segment images or volumes; writes STEM_mask, STEM_mean, STEM_variance and STEM_run.json of each.

    If some of several images cannot be segmented, they are named, the others get their results, and the
    exit code is 3.
    """
    from napari_latentseg import api
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.io.result_format import check_agreement

    _check_outputs(out, format, case, report)
    size = size_in_pixels(structure_size, scans, series=series, spacing=parse_spacing(spacing))
    pointed_at = parse_prompts(point, outside, around, size, prompts, point_order(context))
    hints = parse_hints(hint, hint_not)
    use_threads(threads)
    model_found = api.locate_model(model)
    settings = InferenceSettings.for_model(
        model_found.card, samples=samples, source=sampling, seed=seed, threshold=threshold, device=device,
        precision=precision, engine=engine, slices=_parse_slice_range(slices), box=_parse_box(roi),
        tolerance=tolerance, classes=parse_classes(classes),
        cleanup=make_postprocess(min_size, fill_holes=fill_holes, keep_largest=keep_largest),
    )  # fmt: skip
    if agreement:
        check_agreement(settings.samples, settings.source, format)
    results = _Results(model_found.card, as_json=as_json, quiet=quiet)
    with progress_bar("segmenting", quiet=quiet or as_json) as progress:
        files = api.segment_files(
            scans, model_found, out, settings, plane=plane, series=series, channel=channel,
            spacing=parse_spacing(spacing), codec=codec, case=case or "", skip_existing=skip_existing,
            on_start=results.count, progress=lambda done: progress(results.fraction(done)),
            format=format, agreement=agreement, doubt=doubt, contours=contours, band=band, table=table,
            report=report, append_to=append_to, append_objects=append_objects, deidentify=deidentify,
            overwrite=overwrite, prompts=pointed_at, through=through, hints=hints,
        )  # fmt: skip
        for result in files:
            results.add(result)
    results.end()


class _Results:
    """Prints what becomes of each image, and keeps what is said of all of them at the end.

    Parameters
    ----------
    card
        Of the model.
    as_json
        Whether all is printed at the end, for other programs.
    quiet
        Whether nothing but errors is printed.
    """

    def __init__(self, card: ModelCard, *, as_json: bool, quiet: bool) -> None:
        self._card, self._is_json, self._quiet = card, as_json, quiet
        self._number, self._total = 1, 1
        self._records: list[dict[str, Any]] = []
        self._failures: list[BadInput] = []

    def count(self, number: int, total: int) -> None:
        """Take note that an image begins, which is so many of all."""
        self._number, self._total = number, total

    def fraction(self, done: float) -> float:
        """The fraction of all that is done, where so much is done of the present image."""
        return (self._number - 1 + done) / self._total

    def add(self, result: FileResult) -> None:
        """Print a result, or keep it for the end."""
        if result.error is not None:
            self._failures.append(result.error)
            if self._total > 1:
                print_error(_of_scan(result.scan, result.error))
        elif self._is_json:
            self._records.append(_result_json(result, self._card))
        else:
            _print_result(result, self._card, quiet=self._quiet)

    def end(self) -> None:
        """Say what is left to be said.

        Raises
        ------
        BadInput
            If the only image has no result.
        typer.Exit
            If images have none: with code 2 if all, else with 3.
        """
        failures, total = self._failures, self._total
        if failures and total == 1:
            raise failures[0]
        if self._is_json:
            print_json({"results": self._records, "errors": [str(error) for error in failures]})
        if failures:
            print_error(f"{len(failures)} of {count_text(total, 'image')} without a result")
            raise typer.Exit(2 if len(failures) == total else EXIT_PARTIAL)


def _check_outputs(out: Path, format: str | None, case: str | None, report: Path | None) -> None:
    """Refuse, before anything is read, what cannot be written.

    Raises
    ------
    BadInput
        If the folder, the format, the code of the case or the report is none.
    """
    from napari_latentseg.io.result_format import check_format
    from napari_latentseg.io.result_names import check_case_code
    from napari_latentseg.utils.atomic import check_writable_folder

    check_writable_folder(out)
    check_format(format)
    if case is not None:  # an empty one, of a script's unset variable, must not give way to the file's name
        check_case_code(case)
    if report is not None:
        from napari_latentseg.report import check_report

        check_report(report)


def _of_scan(scan: Path, error: BadInput) -> str:
    """An error with the image that it is about; that of a DICOM series names a file in it alone."""
    return str(error) if scan.name in Path(error.what).parts else f"{scan.name}: {error}"


def _print_result(result: FileResult, card: ModelCard, *, quiet: bool) -> None:
    """The files of a result, the sizes of its classes, and what a person should know of it."""
    if result.segmentation is None:
        print_line(f"{result.scan}: has a result already", quiet=quiet)
        return
    for path in result.written:
        print_line(str(path), quiet=quiet)
    segmentation = result.segmentation
    for line in [*_size_lines(segmentation, card), *_remarks(segmentation), *result.left_out]:
        print_line(line, quiet=quiet)


def _result_json(result: FileResult, card: ModelCard) -> dict[str, Any]:
    """A result for other programs."""
    from napari_latentseg.measure import class_sizes

    segmentation = result.segmentation
    if segmentation is None:
        return {"image": str(result.scan), "skipped": True}
    return {
        "image": str(result.scan),
        "skipped": False,
        "files": [str(path) for path in result.written],
        "sizes": [measurement_json(row) for row in class_sizes(segmentation, card)],
        "remarks": [*_remarks(segmentation), *result.left_out],
    }


def _size_lines(segmentation: Segmentation, card: ModelCard) -> list[str]:
    """The size of each class, what its interval rests on, and what was not segmented."""
    from napari_latentseg.measure import class_sizes, sizes_note

    note = sizes_note(segmentation, card, with_fit_reasons=False)  # `_remarks` has them, on the next line
    return [*(row.describe() for row in class_sizes(segmentation, card)), note]


def _remarks(segmentation: Segmentation) -> list[str]:
    """What a person should know of a result: whether the model fits the image, and of its samples."""
    from napari_latentseg.core.hints import MIN_EFFECTIVE_SAMPLES
    from napari_latentseg.measure import expected_dice_lines

    record, remarks = segmentation.record, []
    if record.fit is not None:
        remarks.append(record.fit.describe())
    if record.tolerance is not None and record.complete and record.samples < record.samples_asked:
        remarks.append(f"{record.samples} of {record.samples_asked} samples were enough")
    if record.hints is not None:
        remarks.append(record.hints.describe())
        if record.hints.effective_samples < MIN_EFFECTIVE_SAMPLES:
            remarks.append(
                "hardly any sample agrees with the hints: correct the mask, or point at the structure"
            )
    if segmentation.variance is None:
        samples = count_text(record.samples, "sample")
        reason = "one pass" if record.source == "none" else samples
        remarks.append(f"no variance: {reason} cannot tell how much samples differ (3 or more can)")
    return [*remarks, *expected_dice_lines(record.expected_dice)]


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
        raise BadInput("roi", f"{text!r} is not a box", "write TOP,LEFT,BOTTOM,RIGHT in whole pixels")
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
        raise BadInput("slices", f"{text!r} is not a range", "write 40-60, or 50; the first slice is 1")
    return int(first) - 1, int(last if dash else first) - 1
