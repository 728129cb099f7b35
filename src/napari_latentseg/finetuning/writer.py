"""The candidate of a fine-tuning as a model folder: weights, card, comparison, log, split, replay."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.budget import VALIDATION_FRACTION, Parts
from napari_latentseg.finetuning.comparison import SAMPLES
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.models.card import Ancestor, MetricRecord, ModelCard, TrainingData
from napari_latentseg.models.folder import save_model_folder
from napari_latentseg.models.layout import COMPARISON, REPLAY, SPLIT, WEIGHTS
from napari_latentseg.models.split import read_split
from napari_latentseg.training.about import licence_of
from napari_latentseg.training.log import training_curve, training_log
from napari_latentseg.training.place import TRAINING, is_stopped_model

if TYPE_CHECKING:
    from napari_latentseg.finetuning.job import FineTuneJob

__all__ = ["write_candidate"]

Event = dict[str, Any]


def write_candidate(
    job: FineTuneJob,
    tuner: Tuner,
    parts: Parts,
    comparison: Event,
    events: list[Event],
    seconds: float,
) -> ModelCard:
    """Write the model that was taught into the candidate's folder; gives its card.

    Parameters
    ----------
    job
        Its method carries the weights that are written.
    tuner
        After `settle`.
    parts
        Which cases were learnt from, and which were kept apart.
    comparison
        With the base, as `comparison.json` has it.
    events
        Of the epochs.
    seconds
        That the teaching took.

    Raises
    ------
    BadInput
        Where it cannot be written.
    """
    base, folder = job.model.card, job.model.folder
    learned = len({case for case, _ in parts.train})
    own = TrainingData(
        name="your annotated images",
        licence="not stated",
        images=learned,
        kept_apart=len(parts.apart),
        split=f"{VALIDATION_FRACTION:.0%} by case, seed {job.seed}" if parts.apart else "",
    )
    card = base.replace(
        name=job.name,
        version=job.new_version,
        parent=f"{base.name} {base.version}",
        lineage=(
            *base.lineage,
            Ancestor(name=base.name, version=base.version, sha256=base.files[WEIGHTS]),
        ),
        training_data=(*base.training_data, own),
        licence=licence_of(base.licence, [one.licence for one in base.training_data]),
        metrics=_metrics(job, comparison),
        # measured on the base's weights
        reliability=None,
        volume_interval=None,
    )
    numbered = list(enumerate(job.lessons, start=1))
    split = read_split(folder).extended(
        train=[lesson for number, lesson in numbered if number not in parts.apart],
        validation=[lesson for number, lesson in numbered if number in parts.apart],
    )
    told = [
        {"stage": "", "epoch": i, "losses": e["losses"], "measured": {}, "dsc": e["dsc"],
         "learning_rate": job.plan.learning_rate, "seconds": e["seconds"]}
        for i, e in enumerate(events, start=1)
    ]  # fmt: skip
    stopped = {"stopped": True, "training": job.checkpoint.training} if tuner.stopped else {}
    run = stopped | {
        "steps": tuner.step,
        "pieces": len(tuner.new),
        "seconds": round(seconds),
        "device": job.compute.device,
        "precision": job.compute.precision,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "python": platform.python_version(),
    }
    about = {"base": card.parent, "plan": asdict(job.plan), "share": tuner.share, "seed": job.seed}
    extras = {
        TRAINING: _json(about | {"minutes": job.minutes, "run": run}),
        COMPARISON: _json(comparison),
        "training_log.csv": training_log(told),
        "training_curve.png": training_curve(told),
        SPLIT: _json(split.to_json()),
    }
    if REPLAY in base.files:  # what encodes an image has not changed, so its pieces still hold
        extras[REPLAY] = (folder / REPLAY).read_bytes()
    replace = job.resume and is_stopped_model(job.out, job.checkpoint.training)
    try:
        written = save_model_folder(job.out, job.method, card, extras, replace=replace)
    except OSError as error:
        raise BadInput(job.out, f"cannot be written ({error.strerror})", "make room") from error
    if not tuner.stopped:
        job.checkpoint.remove()
    return written


def _metrics(job: FineTuneJob, comparison: Event) -> tuple[MetricRecord, ...]:
    held = comparison["held_out"]
    if held is None:
        return ()
    after = held["after"]
    is_one = job.method.is_deterministic
    values = {"dsc": after["dsc"]} | ({"hd95": after["hd95"]} if after["hd95"] is not None else {})
    return (
        MetricRecord(
            data=f"your annotated images: the {held['cases']} cases kept apart, never trained on; the"
            " weights were chosen on them, which flatters the figure",
            images=held["cases"],
            samples=1 if is_one else SAMPLES,
            source="none" if is_one else job.model.card.sources[0],
            values=values,
            unit=held["unit"],
        ),
    )


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
