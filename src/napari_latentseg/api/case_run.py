"""Segment one case of a batch, in whatever process: read it, segment it, write its result and its state."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.api.chosen_model import load_chosen_model, locate_chosen_model
from napari_latentseg.api.images import open_image
from napari_latentseg.errors import FULL_DISK_ERRORS, BadInput, Cancelled
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.batches.case import BatchCase, BatchJob, CaseOutcome
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.inference.run import Run
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["keep_model", "model_key", "segment_case"]

# The model of this process, by folder, key and codec: the folder may get another model meanwhile.
_kept: dict[tuple[Path, str, Path | None], Model | LocatedModel] = {}


_FILE_NAME = re.compile(r"[\w)]\.[A-Za-z]\w{0,4}(?!\w)|[/\\]")  # an ending such as .raw, or a path
_PLAIN_SUBJECT = re.compile(r"[a-z ]+")  # such as "channel", which is no name of a file

# Subjects of errors that would recur with every case.
_OF_THE_MACHINE = ("device", "precision", "engine")


class _NoModel(BadInput):
    """The model cannot be loaded or run on this machine, for this case or any other."""


def segment_case(job: BatchJob, case: BatchCase, progress: Progress = no_progress) -> CaseOutcome:
    """Segment one case of a batch and write its result; every error becomes the reason of its failure.

    The model is loaded once in a process. Other processes can run it, as it and its arguments can be pickled.

    Parameters
    ----------
    job, case
        What to do.
    progress
        Called with the fraction done; what it raises stops the case.

    Returns
    -------
    CaseOutcome
        ``"skipped"`` where an earlier run finished it and `job.resume` is set.
    """
    from napari_latentseg.batches.case import CaseOutcome
    from napari_latentseg.io.dicomweb.retrieve import temporary_copy

    started_at = time.monotonic()
    stops_batch = False
    try:
        if case.problem is not None:
            raise case.problem
        with temporary_copy(case.path, case.series) as (path, series):
            case = replace(case, path=path, series=series)
            return _segment(job, case, progress, started_at)
    except Cancelled:
        raise
    except BadInput as error:
        problem, stops_batch = error, _is_disk_full(error) or isinstance(error, _NoModel)
    except MemoryError:
        problem = BadInput(case.path, "does not fit into memory", "close other programs")
    except OSError as error:
        problem, stops_batch = BadInput(case.path, f"failed ({error.strerror})"), _is_disk_full(error)
    except Exception as error:
        # a file that trips a fault of ours, or of a library, must not cost the others their results
        why = f"failed because of a bug ({type(error).__name__})"
        problem = BadInput(case.path, why, "`segment --verbose` shows where it arose")
    hides_names = job.outputs.get("deidentify") and not isinstance(problem, _NoModel)
    reason = _without_file_names(problem, case) if hides_names else str(problem)
    seconds = time.monotonic() - started_at
    return CaseOutcome(
        case=case.name, state="failed", reason=reason, seconds=seconds, stops_batch=stops_batch
    )


def _without_file_names(error: BadInput, case: BatchCase) -> str:
    """Why a case failed, without names of files and folders, which may be those of patients.

    Not only of the image itself: the error may be about a file of its series, or name the data of its header.
    """
    names = (name.casefold() for part in case.path.parts[-2:] for name in (part, part.split(".")[0]))
    own = {name for name in names if len(name) > 2}  # shorter ones name nobody, and are words such as "in"

    def names_files(text: str) -> bool:
        words = text.casefold()
        return bool(_FILE_NAME.search(text)) or any(
            re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words) for name in own
        )

    what = error.what if _PLAIN_SUBJECT.fullmatch(error.what) and not names_files(error.what) else case.name
    why = "cannot be used (`info` on the image says why)" if names_files(error.why) else error.why
    return str(BadInput(what, why, "" if names_files(error.remedy) else error.remedy))


def _segment(job: BatchJob, case: BatchCase, progress: Progress, started_at: float) -> CaseOutcome:
    """Segment a case that is not finished.

    Raises
    ------
    BadInput
        If it cannot be read or segmented, or its result cannot be written.
    """
    from napari_latentseg.api.case_target import target_of
    from napari_latentseg.batches.case import CaseOutcome
    from napari_latentseg.batches.case_input import CaseInput
    from napari_latentseg.batches.case_state import (
        CaseState,
        fingerprint,
        finished_outcome,
        read_state,
        write_state,
    )
    from napari_latentseg.batches.summary import doubtful_slice, lowest_expected_dice, sizes_of
    from napari_latentseg.io.file_hashes import path_sha256

    files = CaseInput(case)
    expected = fingerprint(job, case, files.sha256)
    if job.resume and (finished := finished_outcome(job.out, case.name, expected)) is not None:
        return finished.replace(state="skipped")
    image = open_image(files.read(), channel=job.channel, spacing=job.spacing)
    card = _model_of(job).card
    target = target_of(job, case, card)
    target.check(image)
    run = _start(job, image)
    segmentation = run.finish(progress)
    files.check_unchanged()
    target.check(image)  # a person may have saved something there meanwhile
    earlier = read_state(job.out, case.name)
    begun = CaseState(
        fingerprint=expected, is_finished=False, files=target.prepare(segmentation, run.state.original),
        earlier_files={} if earlier is None else earlier.files | earlier.earlier_files,
    )  # fmt: skip
    progress(1.0)  # the last moment at which the case can be given up
    write_state(job.out, case.name, begun)
    written, left_out = target.commit()
    outcome = CaseOutcome(
        case=case.name,
        state="done",
        reason="; ".join(left_out),
        seconds=time.monotonic() - started_at,
        result=written[-1].relative_to(job.out).as_posix(),
        sizes=sizes_of(segmentation, card),
        doubtful_slice=doubtful_slice(segmentation),
        fit=segmentation.record.fit.state if segmentation.record.fit is not None else "",
        expected_dice=lowest_expected_dice(segmentation),
    )
    hashes = {path.relative_to(job.out).as_posix(): path_sha256(path) for path in written}
    state = CaseState(fingerprint=expected, is_finished=True, files=hashes, outcome=outcome)
    write_state(job.out, case.name, state)
    return outcome


def _start(job: BatchJob, image: Scan) -> Run:
    """Start a run, and keep its model for the next case.

    Raises
    ------
    BadInput
        If the model cannot be loaded, or the image cannot be segmented by it.
    """
    from napari_latentseg.api.inference import start_run

    model = _model_of(job)
    try:
        run = start_run(image, model, job.settings, plane=job.plane, codec=job.codec)
    except BadInput as refusal:
        if refusal.what in _OF_THE_MACHINE:
            raise _NoModel(refusal.what, refusal.why, refusal.remedy) from refusal
        try:  # is it the image, or would every case fail?
            keep_model(job, load_chosen_model(model, job.codec))
        except BadInput as error:
            raise _NoModel(error.what, error.why, error.remedy) from error
        raise
    keep_model(job, run.model)
    return run


def _model_of(job: BatchJob) -> Model | LocatedModel:
    """The model that is kept, or its folder.

    Raises
    ------
    BadInput
        If it is gone, or another one by now.
    """
    kept = _kept.get(_key(job))
    if kept is not None:
        return kept
    try:
        model = locate_chosen_model(job.model)
        if model_key(model.card) != job.model_key:
            raise BadInput(job.model, "was replaced while the batch ran", "start it again with --resume")
    except BadInput as error:
        raise _NoModel(error.what, error.why, error.remedy) from error
    keep_model(job, model)
    return model


def keep_model(job: BatchJob, model: Model | LocatedModel) -> None:
    """Keep one model in this process for further cases; an earlier one goes."""
    if _kept.get(_key(job)) is not model:
        _kept.clear()
        _kept[_key(job)] = model


def model_key(card: ModelCard) -> str:
    """A key that changes with the weights of a model and of its codec."""
    files = ",".join(f"{name}:{sha256}" for name, sha256 in sorted(card.files.items()))
    return f"{card.name} {card.version} {files} {card.codec.sha256 if card.codec is not None else ''}"


def _key(job: BatchJob) -> tuple[Path, str, Path | None]:
    return job.model, job.model_key, job.codec


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is a disk without space."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL_DISK_ERRORS:
            return True
        error = error.__cause__
    return False
