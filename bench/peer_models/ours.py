"""Our model: the package's own trainer, with the schedule of the configuration shortened to the time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.core.scan import Scan
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import open_codec
from napari_latentseg.training.batches import steps_per_epoch
from napari_latentseg.training.config import StageConfig, TrainingConfig
from napari_latentseg.training.dataset import Dataset
from napari_latentseg.training.schedule import epoch_count, warmup_epoch_count
from napari_latentseg.training.trainer import Trainer
from napari_latentseg.utils.device import Compute
from peer_models.budget import CpuBudget, fitting_batch
from peer_models.data import Images
from peer_models.scoring import Trained

COMPUTE = Compute("cpu", "float32")
NEVER = 10**6  # epochs
TIMED_STEPS = 3


def train_ours(images: Images, budget: CpuBudget, seed: int, work: Path) -> Trained:
    """Train by the configuration of the data set."""
    config = images.config.replace(seed=seed, members=1)
    codec, spec = open_codec(config.codec, revision=config.codec_revision) if config.codec else (None, None)
    plans = planned_stages(config, images.slices, codec)
    seconds, setup = _step_seconds(config, plans, images.slices, codec)
    all_steps = sum(plan.steps for plan in plans.values())
    mean_seconds = sum(plan.steps * seconds[name] for name, plan in plans.items()) / all_steps
    batch = fitting_batch(budget.seconds, mean_seconds / config.batch_size, config.batch_size)
    if batch < config.batch_size:  # the time of a step is not quite proportional to its images
        config = config.replace(batch_size=batch)
        seconds, setup = _step_seconds(config, plans, images.slices, codec)
    # the stages in about their proportion, in units of the shortest
    shortest = min(plan.steps for plan in plans.values())
    lengths = {name: round(plan.steps / shortest) for name, plan in plans.items()}
    unit_seconds = sum(lengths[name] * seconds[name] for name in plans)
    unit = max(1, int((budget.seconds - setup) / unit_seconds))
    short = shortened(config, plans, {name: n * unit for name, n in lengths.items()}, unit)
    trainer = Trainer(*epoch_of(short, images.slices, unit * batch), codec, COMPUTE)
    with budget.counting():
        for _ in trainer.run():
            pass
    trainable = {id(p): p.numel() for stage in trainer.method.stages() for p in stage.trainable.parameters()}
    model = Model(trainer.method, _card(short, trainer.method, spec, images), work)
    predictor = Predictor(model, "cpu", "float32")
    settings = InferenceSettings.for_model(model.card, precision="float32", engine="torch")

    def probabilities(scan: Scan) -> NDArray[np.float32]:
        return np.asarray(predictor.segment(scan, settings).mean)

    note = f"{config.method}, " + ("one pass" if settings.samples == 1 else f"mean of {settings.samples}")
    return Trained(probabilities, sum(trainable.values()), unit * sum(lengths.values()), batch, note)


@dataclass(frozen=True)
class StagePlan:
    """A stage as it is configured: its steps, and the share of them in which the learning rate rises."""

    steps: int
    warmup_share: float


def planned_stages(config: TrainingConfig, data: Dataset, codec: Codec | None) -> dict[str, StagePlan]:
    """The stages of a training as they are configured."""
    plans = {}
    for stage in build_method(config.method, codec, config.settings).stages():
        own = config.for_stage(stage.name)
        batches = steps_per_epoch(data.train, own)
        epochs = epoch_count(own, batches)
        plans[stage.name] = StagePlan(epochs * batches, warmup_epoch_count(own, batches) / epochs)
    return plans


def _step_seconds(
    config: TrainingConfig, plans: Mapping[str, StagePlan], data: Dataset, codec: Codec | None
) -> tuple[dict[str, float], float]:
    """Processor seconds of a step of each stage, and of what is done before the first steps."""
    short = shortened(config, plans, dict.fromkeys(plans, 3 * TIMED_STEPS), TIMED_STEPS)
    trainer = Trainer(*epoch_of(short, data, TIMED_STEPS * config.batch_size), codec, COMPUTE)
    ticks: dict[str, list[float]] = {name: [] for name in plans}
    begins: dict[str, float] = {}
    last = time.process_time()
    for event in trainer.run():
        begins.setdefault(event.stage, last)
        last = time.process_time()
        ticks[event.stage].append(last)
    # the second epoch of three: in the first torch prepares its convolutions, the third is validated
    epochs = {name: times[1] - times[0] for name, times in ticks.items()}
    setup = sum(max(0.0, times[0] - begins[name] - epochs[name]) for name, times in ticks.items())
    return {name: seconds / TIMED_STEPS for name, seconds in epochs.items()}, setup


def shortened(
    config: TrainingConfig, plans: Mapping[str, StagePlan], steps: Mapping[str, int], unit: int
) -> TrainingConfig:
    """The configuration with fewer steps: the warm-up and the averaging of the weights shrink with them.

    Parameters
    ----------
    plans, steps
        Of each stage, as it is configured, and its steps from now on.
    unit
        Steps of an epoch, see `epoch_of`; those of each stage are a multiple.
    """
    stages = {}
    for name, count in steps.items():
        own, epochs = config.for_stage(name), max(1, count // unit)
        shrink = min(1.0, count / plans[name].steps)
        stages[name] = StageConfig(
            epochs=epochs,
            warmup_epochs=plans[name].warmup_share * epochs,
            batch_size=config.batch_size,
            accumulate=1,
            learning_rate=own.learning_rate,
            weight_decay=own.weight_decay,
            clip_gradient=own.clip_gradient,
            ema_decay=max(0.0, 1 - (1 - own.ema_decay) / shrink) if own.ema_decay else 0.0,
            validate_every=NEVER,
        )
    return config.replace(
        stages=stages, schedule_by="step", steps=None, warmup_steps=None, select="last", validate_planes=1
    )


def epoch_of(config: TrainingConfig, data: Dataset, images: int) -> tuple[TrainingConfig, Dataset]:
    """The configuration and the data, with so many images in an epoch."""
    if config.draw is not None:
        return config.replace(draw=config.draw.replace(planes=images)), data
    rng = np.random.default_rng(config.seed)
    rounds = -(-images // len(data.train))
    order = np.concatenate([rng.permutation(len(data.train)) for _ in range(rounds)])[:images]
    return config.replace(crops_per_image=1), replace(data, train=[data.train[i] for i in order])


def _card(config: TrainingConfig, method: Method, spec: CodecSpec | None, images: Images) -> ModelCard:
    sources = method.available_sources(has_augmentation=False)
    return ModelCard(
        name="ours",
        title="ours",
        method=config.method,
        settings=config.settings,
        codec=spec,
        preprocess=config.preprocess,
        augment=config.augment,
        classes=images.classes,
        # one pass where the method is deterministic, as of the other networks
        sources=("none",) if method.is_deterministic else sources,
        default_samples=config.card.default_samples,
    )
