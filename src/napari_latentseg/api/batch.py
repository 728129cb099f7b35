"""Segment many scans: find them, segment each, keep a table, and go on where an earlier run ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.batch_executor import choose_executor
from napari_latentseg.api.case_run import keep_model, model_key, segment_case
from napari_latentseg.api.chosen_model import (
    check_codec_here,
    check_without_prompts,
    given_codec,
    locate_chosen_model,
)
from napari_latentseg.api.images import spacing_numbers
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import as_path, whole_number

if TYPE_CHECKING:
    from napari_latentseg.batches.case import BatchCase, CaseOutcome
    from napari_latentseg.batches.events import BatchEvent
    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["BatchReport", "batch", "segment_case"]


@dataclass(frozen=True)
class BatchReport:
    """The outcome of the cases of a batch, or of a part of one.

    Attributes
    ----------
    table
        The file `cases.tsv`.
    outcomes
        For each case its name, state (``"done"``, ``"failed"`` or ``"skipped"``), reason, seconds, result,
        sizes and most doubtful slice, in the order in which they ended.
    is_stopped
        Whether it was stopped before the last case.
    cases
        What was to be done: for each case its name, path, series, and the problem that was known before.
    passed_over
        How many files of a folder are no cases, by the reason.

    Examples
    --------
    >>> from napari_latentseg import BatchReport
    >>> BatchReport(Path("results/cases.tsv"), ()).count("failed")
    0
    """

    table: Path
    outcomes: tuple[CaseOutcome, ...]
    is_stopped: bool = False
    cases: tuple[BatchCase, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def count(self, state: str) -> int:
        """How many cases ended in a state."""
        return sum(outcome.state == state for outcome in self.outcomes)


def batch(
    scans: str | Path | None,
    model: Model | LocatedModel | str | Path,
    out: str | Path,
    *,
    case_list: str | Path | None = None,
    layout: str = "flat",
    part: int = 1,
    parts: int = 1,
    resume: bool = False,
    fail_fast: bool = False,
    dry_run: bool = False,
    samples: int | None = None,
    source: str | None = None,
    seed: int = 0,
    threshold: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    codec: str | Path | None = None,
    channel: int | None = None,
    spacing: float | Sequence[float] | None = None,
    plane: str = "acquired",
    classes: Sequence[str] | None = None,
    cleanup: PostProcess | None = None,
    tolerance: float | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    on_event: Callable[[BatchEvent], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    **outputs: Any,
) -> BatchReport:
    """Segment many scans into one folder; one that fails does not stop the others.

    Parameters
    ----------
    scans
        A folder, in which each file and each DICOM series is a case, however deep; a pattern such as
        ``"scans/*/t1.nii.gz"``; a BIDS data set, whose raw images in `anat`, `pet` and `micr` are cases; a
        folder `imagesTs` of nnU-Net; a CSV file, as `case_list`; or the address of an archive, of which each
        series that matches is a case. None with `case_list`.
    model
        A loaded model, or the name or folder of one. It is loaded once.
    out
        The folder of the results and of the table `cases.tsv`, which grows as cases end.
    case_list
        A CSV file with the columns ``case``, ``path`` and, for a file or folder of several images,
        ``series``. Paths start from its folder, or else from `scans`. The names of the cases are codes, which
        the run records name too.
    layout
        ``"flat"``: each case has a folder with what `segment` writes; ``"bids"``: BIDS derivatives, a label
        map or the mask of a single class, and the mean probability of each class; ``"nnunet"``: a label map
        for each case, as nnU-Net calls it.
    part, parts
        Do only the cases of one of several parts, counted from 1; other processes do the others.
    resume
        Skip cases that an earlier run into this folder has finished, unless input, model or settings are
        others now.
    fail_fast
        Stop at the first case that fails.
    dry_run
        Only find the cases, and check the output folder; nothing is segmented or written.
    samples, source, seed, threshold, device, precision, engine, codec, channel, spacing, plane, classes, \
cleanup, tolerance
        As for `segment`, for every case.
    workers
        How many processes on this machine share the cases, and the threads of this one; 1 is this process.
        More need `dask.distributed`.
    scheduler
        The address of a scheduler of dask, ``"tcp://node7:8786"``, whose workers do the cases; or the file
        that `dask scheduler --scheduler-file` wrote. They see all folders under the same paths.
    on_event
        Called with each event, see `napari_latentseg.batches.events`.
    should_stop
        Asked often; once it says True, the batch ends without the case at hand.
    **outputs
        Options of `write_result`: `format`, `agreement`, `doubt`, `contours`, `band`, `table` and
        `deidentify`.

    Returns
    -------
    BatchReport
        What became of each case.

    Raises
    ------
    BadInput
        If there is no such model or input, an argument is not possible, the folder holds a batch and `resume`
        is not given, another batch writes into it, its disk is full, or no worker can be reached.

    Examples
    --------
    >>> from napari_latentseg import batch
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> folder = write_annotated_phantoms("phantoms", 2, shape=(96, 128)) / "images"
    >>> report = batch(folder, "breast-ultrasound", "results", samples=3)
    >>> [(outcome.case, outcome.state) for outcome in report.outcomes]
    [('phantom_0', 'done'), ('phantom_1', 'done')]
    >>> batch(folder, "breast-ultrasound", "results", samples=3, resume=True).count("skipped")
    2
    """
    from napari_latentseg.batches.batch_folder import BatchFolder
    from napari_latentseg.batches.case import BatchJob
    from napari_latentseg.batches.find_cases import cases_of_part, find_cases
    from napari_latentseg.batches.run import run_batch
    from napari_latentseg.core.reorient import check_plane
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.codec_lookup import codec_folder
    from napari_latentseg.utils.atomic import check_writable_folder

    located, output_folder = locate_chosen_model(model), as_path("out", out)
    check_without_prompts(located.card)
    settings = InferenceSettings.for_model(
        located.card, samples=samples, source=source, seed=seed, threshold=threshold, device=device,
        precision=precision, engine=engine, classes=classes, cleanup=cleanup, tolerance=tolerance,
    )  # fmt: skip
    outputs = {name: value for name, value in outputs.items() if value not in (None, False)}
    _check_outputs(outputs, layout, settings.samples, settings.source)
    check_plane(plane)
    channel = None if channel is None else whole_number("channel", channel)
    if channel is not None and channel < 1:
        raise BadInput("channel", f"is {channel}", "count from 1")
    steps = None if spacing is None else tuple(spacing_numbers(spacing))
    folder = BatchFolder(output_folder, whole_number("part", part), whole_number("parts", parts))
    found = find_cases(
        None if scans is None else as_path("scans", scans),
        case_list=None if case_list is None else as_path("case_list", case_list),
        out=output_folder, deidentify=bool(outputs.get("deidentify")),
    )  # fmt: skip
    own_cases = cases_of_part(found.cases, folder.part, folder.parts)
    check_writable_folder(output_folder)
    if not resume:
        folder.check_unused()
    given = given_codec(codec)
    codec_path = None if given is None else codec_folder(given).absolute()
    if codec_path is None:
        check_codec_here(located, settings)
    if dry_run:
        return BatchReport(folder.table, (), False, own_cases, found.passed_over)
    job = BatchJob(
        located.folder.absolute(), model_key(located.card), output_folder.absolute(), settings, plane,
        channel, steps, codec_path, layout, outputs, resume, folder.work.absolute(),
    )  # fmt: skip
    keep_model(job, located)
    executor = choose_executor(
        segment_case, located, settings, codec_path, workers=workers, scheduler=scheduler
    )
    run = run_batch(
        folder, job, own_cases, executor, located.card, fail_fast=fail_fast,
        on_event=on_event, should_stop=should_stop,
    )  # fmt: skip
    return BatchReport(folder.table, run.outcomes, run.is_stopped, own_cases, found.passed_over)


def _check_outputs(outputs: dict[str, Any], layout: str, samples: int, source: str) -> None:
    """Refuse options that no case could have.

    Raises
    ------
    BadInput
        If an option or the layout is not known, or does not fit the samples.
    """
    from napari_latentseg.batches.target import check_layout
    from napari_latentseg.errors import choose_from
    from napari_latentseg.io.result_format import check_agreement, check_format

    known = ("format", "agreement", "doubt", "contours", "band", "table", "deidentify")
    for name in outputs:
        if name not in known:
            raise BadInput(name, "is not an option of batch", choose_from(name, known))
    check_layout(layout, outputs)
    check_format(outputs.get("format"))
    if outputs.get("agreement"):
        check_agreement(samples, source, outputs.get("format"))
