"""The candidate of a fine-tuning as a model folder: weights, card, comparison, log, split, replay."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from napari_latentseg.core.percent import percent
from napari_latentseg.data.cases import Case
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.fit import FitReference
from napari_latentseg.finetuning.budget import VALIDATION_FRACTION, CaseSplit
from napari_latentseg.finetuning.comparison import SCORING_SAMPLES
from napari_latentseg.finetuning.config import FineTuneConfig
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.finetuning.new_structure import fit_of_taught
from napari_latentseg.inference.fit import extend_reference
from napari_latentseg.models.card import Ancestor, MetricRecord, ModelCard, TrainingData
from napari_latentseg.models.comparison import Comparison
from napari_latentseg.models.folder import Model, save_model_folder
from napari_latentseg.models.layout import COMPARISON_FILE, REPLAY_FILE, SPLIT_FILE, WEIGHTS_FILE
from napari_latentseg.models.split import read_split
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.events import FineTuneEpoch, TrainEpoch
from napari_latentseg.training.history import training_curve, training_log
from napari_latentseg.training.output_dir import TRAINING_FILE, is_model_of_stopped_training
from napari_latentseg.training.provenance import combined_licence
from napari_latentseg.utils.device import Compute

__all__ = ["Candidate", "write_candidate"]


@dataclass(frozen=True)
class Candidate:
    """The candidate: the fine-tuned model before it is adopted.

    Attributes
    ----------
    model
        The base; after the fine-tuning its method has the weights to write.
    name, version
        Of the candidate; the version is the one that it gets when it is adopted.
    threshold
        Of its calibrated mean.
    out
        The candidate's folder.
    cases
        All, in the order of their numbers from 1.
    config, seed, minutes
        The settings of the fine-tuning.
    compute
        Device and arithmetic.
    checkpoint
        Of the fine-tuning; removed unless it was stopped.
    resume
        Whether it was resumed, and may replace what was written on the stop.
    is_new_structure
        Whether it was taught what its base had to be pointed at.
    """

    model: Model
    name: str
    version: str
    threshold: float
    out: Path
    cases: tuple[Case, ...]
    config: FineTuneConfig
    seed: int
    minutes: float
    compute: Compute
    checkpoint: Checkpoint
    resume: bool
    is_new_structure: bool = False


def write_candidate(
    candidate: Candidate,
    tuner: Tuner,
    split: CaseSplit,
    comparison: Comparison,
    events: Sequence[FineTuneEpoch],
    seconds: float,
) -> ModelCard:
    """Write the fine-tuned model into the candidate's folder.

    Parameters
    ----------
    candidate
        What is written.
    tuner
        After `select_interpolation`.
    split
        Training and validation cases.
    comparison
        With the base.
    events
        Of the epochs.
    seconds
        That the training took.

    Returns
    -------
    ModelCard
        As written.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    numbered = list(enumerate(candidate.cases, start=1))
    taught = [case for number, case in numbered if number not in split.validation_cases]
    validation = [case for number, case in numbered if number in split.validation_cases]
    card = _card(candidate, split, comparison, _fit(candidate, taught, validation))
    base, folder = candidate.model.card, candidate.model.folder
    rows = _log_rows(events, candidate.config.learning_rate)
    extras = {
        TRAINING_FILE: _json(_training_record(candidate, tuner, card.parent, seconds)),
        COMPARISON_FILE: _json(comparison.model_dump(mode="json")),
        "training_log.csv": training_log(rows),
        "training_curve.png": training_curve(rows),
        SPLIT_FILE: _json(read_split(folder).extended(train=taught, validation=validation).to_json()),
    }
    if REPLAY_FILE in base.files:  # the encoding part of the model has not changed, so replay is still valid
        extras[REPLAY_FILE] = (folder / REPLAY_FILE).read_bytes()
    replace = candidate.resume and is_model_of_stopped_training(
        candidate.out, candidate.checkpoint.training_id
    )
    try:
        written = save_model_folder(candidate.out, candidate.model.method, card, extras, replace=replace)
    except OSError as error:
        raise BadInput(
            candidate.out, f"cannot be written ({error.strerror})", "free some disk space"
        ) from error
    if not tuner.stopped:
        candidate.checkpoint.remove()
    return written


def _card(
    candidate: Candidate, split: CaseSplit, comparison: Comparison, fit: FitReference | None
) -> ModelCard:
    """The base's card with what is new; without the figures that were measured with the base's weights."""
    base, has_validation = candidate.model.card, bool(split.validation_cases)
    own = TrainingData(
        name="your annotated images",
        licence="not stated",
        images=len({s.case for s in split.train}),
        validation_images=len(split.validation_cases),
        split=f"{percent(VALIDATION_FRACTION)} by case, seed {candidate.seed}" if has_validation else "",
    )
    parent = Ancestor(name=base.name, version=base.version, sha256=base.files[WEIGHTS_FILE])
    return base.replace(
        name=candidate.name,
        version=candidate.version,
        threshold=candidate.threshold,
        parent=f"{base.name} {base.version}",
        lineage=(*base.lineage, parent),
        training_data=(*base.training_data, own),
        licence=combined_licence(base.licence, [one.licence for one in base.training_data]),
        metrics=_metrics(candidate, comparison),
        # the temperature is not left out: that of the base is still the best guess
        reliability=None,
        temperature_fit=None,
        volume_interval=None,
        contour_band=None,
        expected_dice=None,
        bfloat16=None,
        sample_agreement=(),
        member_dsc=(),
        fit=fit,
    )


def _log_rows(events: Sequence[FineTuneEpoch], learning_rate: float) -> list[TrainEpoch]:
    """One row for each time that the weights were validated, where a training's log has one an epoch."""
    return [
        TrainEpoch(
            stage="",
            epoch=i,
            epochs=len(events),
            losses=event.losses,
            learning_rate=learning_rate,
            dsc=event.dsc,
            best=event.best,
            seconds=event.seconds,
        )
        for i, event in enumerate(events, start=1)
    ]


def _training_record(candidate: Candidate, tuner: Tuner, base: str, seconds: float) -> dict[str, Any]:
    """The settings of the fine-tuning, and how it ran."""
    stopped = {"stopped": True, "training": candidate.checkpoint.training_id} if tuner.stopped else {}
    return {
        "base": base,
        "plan": asdict(candidate.config),
        "share": tuner.alpha,
        "seed": candidate.seed,
        "minutes": candidate.minutes,
        "run": stopped
        | {
            "steps": tuner.step,
            "pieces": len(tuner.train_patches),
            "seconds": round(seconds),
            "device": candidate.compute.device,
            "precision": candidate.compute.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
        },
    }


def _fit(candidate: Candidate, taught: Sequence[Case], validation: Sequence[Case]) -> FitReference | None:
    """What images it was made for: those of its base and those that it was taught."""
    model, compute = candidate.model, candidate.compute
    if candidate.is_new_structure:
        return fit_of_taught(model, compute, taught, validation)
    fit = model.card.fit
    return None if fit is None else extend_reference(fit, model, compute, taught)


def _metrics(candidate: Candidate, comparison: Comparison) -> tuple[MetricRecord, ...]:
    validation = comparison.held_out
    if validation is None:
        return ()
    after = validation.after
    is_one = candidate.model.method.is_deterministic
    values, base_values = (
        {"dsc": scores.dsc} | ({"hd95": scores.hd95} if scores.hd95 is not None else {})
        for scores in (after, validation.before)
    )
    return (
        MetricRecord(
            data=f"your annotated images: the {validation.cases} validation cases, never trained on; the"
            " weights were selected on them, so this score is optimistic",
            images=validation.cases,
            samples=1 if is_one else SCORING_SAMPLES,
            source="none" if is_one else candidate.model.card.sources[0],
            values=values,
            unit=validation.unit,
            base_values=base_values,
        ),
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
