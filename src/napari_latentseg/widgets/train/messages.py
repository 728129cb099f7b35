"""The text that the Train widget shows for the state and the events of a fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg import api
from napari_latentseg.core.percent import percent
from napari_latentseg.errors import BadInput
from napari_latentseg.models.comparison import Comparison
from napari_latentseg.training.events import (
    FineTuneData,
    FineTuneEpoch,
    FineTuneProgress,
    FineTuneSaved,
    Judged,
)
from napari_latentseg.utils.counts import count_text

if TYPE_CHECKING:
    from napari_latentseg.widgets.train.process import TrainingProcess

__all__ = ["newest_candidate", "planned_validation_text", "training_progress", "validation_text"]


def planned_validation_text(cases: int | None) -> str:
    """Which part of the data will be used for validation, before the training has split it.

    Parameters
    ----------
    cases
        Number of cases; None where the files have not been read yet.
    """
    if cases is None:
        return "Validation: about 20 % of the cases, at least one."
    if cases < 2:
        return (
            "Validation: none, there is only one case. Approve a second one: without validation nobody can"
            " tell whether the new model is better."
        )
    return f"Validation: about 20 % of the {cases} cases, at least one."


def validation_text(data: FineTuneData) -> str:
    """Number of validation and training cases of a running fine-tuning, and its note."""
    left_out = [f"left out: {reason}" for reason in data.left_out]
    note = _sentence("; ".join(filter(None, [data.note, *left_out])))
    if not data.apart:
        return note or "Validation: none."
    validation, training = count_text(data.apart, "case"), count_text(data.train, "case")
    return f"Validation: {validation}; training: {training}. {note}".strip()


def training_progress(training: TrainingProcess, is_writing: bool) -> tuple[float, str]:
    """Progress of a training, and the line of text that describes it.

    Parameters
    ----------
    training
        The training of the viewer.
    is_writing
        Whether the layers to train on are still being written to files.

    Returns
    -------
    fraction
        In [0, 1].
    text
        Empty where there is nothing to say.
    """
    if is_writing:
        return 0.0, "writing the layers to files"
    match training.state:
        case "failed":
            return 0.0, training.error
        case "preparing" if training.stage_fraction:
            return 0.0, f"encoding the images, {percent(training.stage_fraction)}"
        case "preparing":
            return 0.0, _starting_text(training)
        case "stopping" if not training.epochs:
            return 0.0, "stopping"
        case "stopping":
            return 1.0, "stopping; validating the best weights so far"
        case "validating":
            return training.stage_fraction, "validating both models on the same cases"
        case "running":
            return _epoch_progress(training.epochs[-1] if training.epochs else None, training.progress)
    return 0.0, ""


def _starting_text(training: TrainingProcess) -> str:
    """The training that is being started, in words; the form that shows it is hidden then."""
    request = training.request
    return "starting" if request is None else f"starting: {request.base}, for {request.minutes:g} min"


def _epoch_progress(epoch: FineTuneEpoch | None, progress: FineTuneProgress | None) -> tuple[float, str]:
    """Progress since the last validation, and its Dice."""
    latest = epoch if progress is None else progress
    if latest is None:
        return 0.0, "starting"
    parts = [f"about {_duration(latest.left)} left" if latest.left >= 1 else "a moment left"]
    if epoch is not None and epoch.dsc is not None:
        base = f" (base model {epoch.base_dsc:.3f})" if epoch.base_dsc is not None else ""
        parts.insert(0, f"Dice {epoch.dsc:.3f}{base}")
    text = ", ".join(parts)
    if progress is not None:
        planned = "" if progress.steps is None else f" of {progress.steps}"
        loss = "" if progress.loss is None else f", loss {progress.loss:.3g}"
        text += f"\nstep {progress.step}{planned}{loss}, {progress.images_per_second:.3g} images/s"
    return latest.seconds / max(latest.seconds + latest.left, 1e-9), text


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}." if note else ""


def _duration(seconds: float) -> str:
    minutes, remaining_seconds = divmod(round(seconds), 60)
    return f"{minutes}:{remaining_seconds:02d} min" if minutes else f"{remaining_seconds} s"


def newest_candidate() -> tuple[Judged, FineTuneSaved] | None:
    """The newest fine-tuned model that was neither adopted nor discarded; reads files.

    Returns
    -------
    judged, saved
        The events with which its training ended; None where no model waits for a decision.
    """
    from napari_latentseg.models.layout import COMPARISON_FILE

    candidates: list[tuple[float, Path, Comparison]] = []
    try:
        for folder in api.list_candidates().values():
            path = folder / COMPARISON_FILE
            comparison = Comparison.model_validate_json(path.read_bytes())
            candidates.append((path.stat().st_mtime, folder, comparison))
        if not candidates:
            return None
        _, folder, comparison = max(candidates, key=lambda candidate: candidate[0])
        return _final_events(folder, comparison)
    except (OSError, ValueError, BadInput):
        return None  # a folder that is no complete candidate; Models lists what can be read


def _final_events(folder: Path, comparison: Comparison) -> tuple[Judged, FineTuneSaved]:
    """The events of a training that has ended, from its `comparison.json`."""
    judged = Judged(verdict=comparison.verdict, line=comparison.line, comparison=comparison)
    scores = comparison.held_out
    saved = FineTuneSaved(
        folder=str(folder),
        name=folder.name,
        base=comparison.base.name,
        version=comparison.new.version,
        stopped=False,
        dsc=None if scores is None else scores.after.dsc,
        seconds=0.0,  # not recorded in the comparison, and not shown
    )
    return judged, saved
