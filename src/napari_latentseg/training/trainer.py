"""The training loop, one for every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.plane import sample_plane
from napari_latentseg.methods.base import Batch, Method, Stage
from napari_latentseg.methods.registry import build_method
from napari_latentseg.precision import Compute, is_out_of_memory
from napari_latentseg.training.cache import remembering
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import (
    Dataset,
    Example,
    plain_batches,
    steps_per_epoch,
    training_batches,
)
from napari_latentseg.training.loop import TrainingStep, averaged, with_weights
from napari_latentseg.training.published import begin_from_published
from napari_latentseg.training.schedule import epochs_of, learning_rate_factor, warmup_of
from napari_latentseg.training.scoring import CaseScorer
from napari_latentseg.training.state import Saved, StageRun, restore, snapshot

__all__ = ["EpochEvent", "Trainer"]

# Not Lightning or accelerate: neither goes on from the middle of an epoch to the same bit with safetensors
# alone (both pickle), nor knows stages that learn one after the other.


@dataclass(frozen=True)
class EpochEvent:
    """What one epoch gave.

    Attributes
    ----------
    stage
        Of a method that is trained in several; empty where there is one.
    epoch, epochs
        Which one of how many in the stage, from 1.
    losses
        Mean of each term over the epoch.
    learning_rate
        At the epoch's end.
    dsc
        Mean DSC over the images kept apart, at working size, of the masks that the stage gives, cut at the
        card's threshold; None where it was not looked at.
    best
        That of the weights that would be kept now.
    seconds
        Since the start of the stage.
    measured
        What else the method tells of the epoch.
    """

    stage: str
    epoch: int
    epochs: int
    losses: dict[str, float]
    learning_rate: float
    dsc: float | None
    best: float | None
    seconds: float
    measured: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """For a log."""
        return asdict(self)


@dataclass
class Trainer:
    """Trains a method on a data set.

    Parameters
    ----------
    config
        Everything that is settled beforehand.
    data
        From `read_dataset`.
    codec
        Frozen; None for a method that trains its own.
    compute
        Device and arithmetic.
    stop
        Asked after every batch; True makes it the last one, or the last of those whose gradients are added up
        for one step.
    checkpoint
        Where the state is written after an epoch when its time has come, and on a stop.
    saved
        From a checkpoint, to go on from; the rest must be as it was.

    Attributes
    ----------
    method
        What is trained; after the run it carries the weights that were selected.
    best_dsc
        On the images kept apart.
    learnt
        Whether any step of the last stage has changed the weights; while it runs, of the stage under way.
    stopped
        Whether `stop` ended it.
    """

    config: TrainingConfig
    data: Dataset
    codec: Codec | None
    compute: Compute
    stop: Callable[[], bool] = lambda: False
    checkpoint: Checkpoint | None = None
    saved: Saved | None = None
    method: Method = field(init=False)
    best_dsc: float | None = field(init=False, default=None)
    best_epoch: int = field(init=False, default=0)
    learnt: bool = field(init=False, default=False)
    stopped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not self.data.train:
            raise BadInput("data", "no image is left to learn from", "add images")
        torch.manual_seed(self.config.seed)
        self.method = build_method(self.config.method, self.codec, self.config.settings)
        named, wanted = len(self.data.train[0].annotated), self.method.class_count
        if named != wanted:
            raise BadInput("classes", f"{named} are named, but the settings have {wanted}", "correct it")
        if self.config.preprocess.size % (step := self.method.size_multiple):
            raise BadInput(
                "preprocess.size",
                f"is {self.config.preprocess.size}",
                f"use a multiple of the method's {step}",
            )
        begin_from_published(self.method, self.config.published_weights)
        self.method.to(self.compute.torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self) -> Generator[EpochEvent, None, None]:
        """Train, one event an epoch. Closing the iterator stops, and keeps what was selected so far."""
        rng = np.random.default_rng(self.config.seed)
        generator = torch.Generator().manual_seed(self.config.seed)
        with remembering(self.method, self.config.cache_latents):
            first = 0 if self.saved is None else int(self.saved.told["stage"])
            stages = self.method.stages()
            for number, stage in enumerate(stages):
                if number < first:
                    continue
                self.best_dsc, self.best_epoch, self.learnt = None, 0, False
                yield from self._stage(number, stage, rng, generator)
                if self.stopped:
                    self.learnt &= number + 1 == len(stages)  # without the last there is no answer yet
                    break

    def _stage(
        self, number: int, stage: Stage, rng: np.random.Generator, generator: torch.Generator
    ) -> Generator[EpochEvent, None, None]:
        config = self.config.of_stage(stage.name)
        self.method.eval()
        if self.saved is None:
            with torch.no_grad():
                stage.begin(self._moved(plain_batches(self.data.train, config)))
        self.method.requires_grad_(False)
        stage.parts.requires_grad_(True)
        weights = list(stage.parts.parameters())
        optimizer = torch.optim.AdamW(
            self._groups(weights), config.learning_rate, weight_decay=config.weight_decay
        )
        batches = steps_per_epoch(self.data.train, config)
        epochs, warmup = epochs_of(config, batches), warmup_of(config, batches)
        average = None
        if config.ema_decay:
            average = averaged(stage.parts, config.ema_decay, warmup=config.ema_warmup)
        step = TrainingStep(optimizer, stage.parts, config.clip_gradient, config.accumulate, average)
        run = StageRun(number, optimizer, average)
        if self.saved is not None:
            self._go_on(self.saved, stage, run, rng, generator)
            self.saved = None
        start = time.perf_counter() - run.seconds
        try:
            for epoch in range(run.epoch, epochs):
                self._to_training(stage)
                run.order = rng.bit_generator.state
                step.forget_gradient()
                # of an epoch that was stopped, the first batches are drawn again but not learnt from again
                rest = islice(training_batches(self.data.train, config, rng), run.batch, None)
                for batch in self._moved(rest):
                    at = epoch + (run.batch / batches if config.schedule_by == "step" else 0)
                    rate = config.learning_rate * learning_rate_factor(config, at, epochs, warmup)
                    step.set_learning_rate(rate)
                    self.learnt |= rate > 0
                    for name, value in self._add_gradient(step, stage, batch, generator).items():
                        run.losses[name] = run.losses.get(name, 0.0) + value
                    run.batch += 1
                    complete = run.batch % config.accumulate == 0 or run.batch == batches
                    if complete:
                        step.update()
                    self.stopped = self.stopped or self.stop()
                    if self.stopped and complete:
                        break
                run.seconds = time.perf_counter() - start
                # a stop has the state written as it is without all that is done on a stop alone
                cut_short = self.stopped and run.batch < batches
                if cut_short:
                    self._write(self._state(run, generator))
                losses = {name: value / run.batch for name, value in run.losses.items()}
                measured = stage.after_epoch()
                turn = epoch == epochs - 1 or (epoch + 1) % config.validate_every == 0
                due = turn and not cut_short
                found = self._look(stage, run, config, epoch) if due else None
                run.epoch, run.batch, run.losses, run.order = epoch + 1, 0, {}, rng.bit_generator.state
                is_time = not cut_short and self._is_time()
                state = self._state(run, generator) if is_time else None
                if self.stopped and found is None:
                    found = self._look(stage, run, config, epoch)
                yield EpochEvent(
                    stage.name,
                    epoch + 1,
                    epochs,
                    losses,
                    optimizer.param_groups[0]["lr"],
                    found,
                    self.best_dsc,
                    run.seconds,
                    measured,
                )
                self._write(state)
                if self.stopped:
                    break
        finally:
            if run.best.weights is not None:
                stage.parts.load_state_dict(run.best.weights)
            self.method.eval()

    def _look(self, stage: Stage, run: StageRun, config: TrainingConfig, epoch: int) -> float:
        """Judge the weights that would be kept now, and keep them where they are the best so far."""
        weights = None if run.average is None else run.average.module.state_dict()
        with with_weights(stage.parts, weights):
            dsc = self.validate(stage)
            if run.best.offer(stage.parts.state_dict(), dsc, latest=config.select == "last"):
                self.best_dsc, self.best_epoch = dsc, epoch + 1
        return dsc

    def _is_time(self) -> bool:
        return self.checkpoint is not None and (self.stopped or self.checkpoint.is_due())

    def _state(self, run: StageRun, generator: torch.Generator) -> Saved | None:
        """The state for the checkpoint; None where there is nothing to keep."""
        if self.checkpoint is None or not (self.learnt or run.number or self.checkpoint.around.tensors):
            return None
        saved = snapshot(self.method, run, generator)
        own = {"best_dsc": self.best_dsc, "best_epoch": self.best_epoch, "learnt": self.learnt}
        return Saved(saved.tensors, saved.told | own)

    def _write(self, state: Saved | None) -> None:
        if self.checkpoint is not None and state is not None:
            self.checkpoint.write(state)

    def _go_on(
        self,
        saved: Saved,
        stage: Stage,
        run: StageRun,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> None:
        try:
            restore(saved, self.method, stage.parts, run, rng, generator)
            self.best_dsc, self.best_epoch = saved.told["best_dsc"], saved.told["best_epoch"]
            run.best.score = self.best_dsc
            self.learnt = saved.told["learnt"]
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            raise BadInput(
                "checkpoint", "does not fit this version of the program", "train from the beginning"
            ) from error

    def _groups(self, weights: list[nn.Parameter]) -> list[dict[str, Any]]:
        """The weights, those that begin from published ones in a group of their own."""
        slow = {p for part in self.method.published_parts.values() for p in part.parameters()}
        groups = [
            {"params": [p for p in weights if p not in slow], "fraction": 1.0},
            {"params": [p for p in weights if p in slow], "fraction": self.config.published_rate},
        ]
        return [group for group in groups if group["params"]]

    def _to_training(self, stage: Stage) -> None:
        """What this stage does not teach stays as it is in use."""
        self.method.train()
        taught = set(stage.parts.modules())
        for part in self.method.trained.children():
            if part not in taught:
                part.eval()

    def _moved(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        device = self.compute.torch_device()
        for batch in batches:
            annotated = None if batch.annotated is None else batch.annotated.to(device)
            yield Batch(batch.images.to(device), batch.masks.to(device), annotated)

    def _add_gradient(
        self, step: TrainingStep, stage: Stage, batch: Batch, generator: torch.Generator
    ) -> dict[str, float]:
        try:
            with self.compute.autocast():
                terms = stage.loss(batch, generator)
            return step.add_gradient(terms)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # half a batch would be another training: its norms and its overlap are those of a whole batch
            raise BadInput(
                "memory", f"is too small for batches of {len(batch.images)}", "lower the batch size"
            ) from error

    def validate(self, stage: Stage) -> float:
        """Mean DSC over the planes kept apart, one sample each without test-time augmentation."""
        self.method.eval()
        every = self.data.apart
        # evenly from all of them, which lie set by set and case by case
        count = min(len(every), self.config.validate_planes or len(every))
        chosen = [every[i * len(every) // count] for i in range(count)]
        found = [score for example in chosen if (score := self._dsc(stage, example)) is not None]
        return float(np.mean(found)) if found else 0.0

    def _dsc(self, stage: Stage, example: Example) -> float | None:
        """The mean over the classes that were looked for in the plane; None where there are none."""
        image, mask = example.tensors()
        if stage.judge is None:
            probability = sample_plane(self.method, image, self.config.preprocess, self.compute)
        else:
            device = self.compute.torch_device()
            with torch.inference_mode(), self.compute.autocast():
                probability = stage.judge(image[None].to(device), mask[None].to(device))[0].float().cpu()
        scorer = CaseScorer(self.config.card.threshold)
        scorer.add(probability.numpy(), mask.numpy() > 0.5, example.annotated)
        return scorer.dsc[0] if scorer.dsc else None
