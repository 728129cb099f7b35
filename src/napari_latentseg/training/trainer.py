"""The training loop, one for every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.plane import sample_plane
from napari_latentseg.methods.base import Batch, Method, Stage
from napari_latentseg.methods.registry import build_method
from napari_latentseg.precision import Compute, is_out_of_memory
from napari_latentseg.training.cache import remembering
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import (
    Dataset,
    Example,
    plain_batches,
    steps_per_epoch,
    training_batches,
)
from napari_latentseg.training.published import begin_from_published
from napari_latentseg.training.schedule import epochs_of, learning_rate_factor

__all__ = ["EpochEvent", "Trainer"]


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
        Mean DSC over the images kept apart, at working size, cut at 0.5, of the masks that the stage gives;
        None where it was not looked at.
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
        Asked after every batch; True makes it the last one.

    Attributes
    ----------
    method
        What is trained; after the run it carries the weights that were selected.
    best_dsc
        On the images kept apart.
    learnt
        Whether any step of the last stage that was begun has changed the weights.
    """

    config: TrainingConfig
    data: Dataset
    codec: Codec | None
    compute: Compute
    stop: Callable[[], bool] = lambda: False
    method: Method = field(init=False)
    best_dsc: float | None = field(init=False, default=None)
    best_epoch: int = field(init=False, default=0)
    learnt: bool = field(init=False, default=False)
    _stopped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not self.data.train:
            raise BadInput("data", "no image is left to learn from", "add images")
        torch.manual_seed(self.config.seed)
        self.method = build_method(self.config.method, self.codec, self.config.settings)
        begin_from_published(self.method, self.config.published_weights)
        self.method.to(self.compute.torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self) -> Generator[EpochEvent, None, None]:
        """Train, one event an epoch. Closing the iterator stops, and keeps what was selected so far."""
        rng = np.random.default_rng(self.config.seed)
        generator = torch.Generator().manual_seed(self.config.seed)
        with remembering(self.method, self.config.cache_latents):
            for stage in self.method.stages():
                self.best_dsc, self.best_epoch, self.learnt = None, 0, False
                yield from self._stage(stage, rng, generator)
                if self._stopped:
                    break

    def _stage(
        self, stage: Stage, rng: np.random.Generator, generator: torch.Generator
    ) -> Generator[EpochEvent, None, None]:
        config = self.config.of_stage(stage.name)
        self.method.eval()
        with torch.no_grad():
            stage.begin(self._moved(plain_batches(self.data.train, config)))
        self.method.requires_grad_(False)
        stage.parts.requires_grad_(True)
        weights = list(stage.parts.parameters())
        optimizer = torch.optim.AdamW(
            self._groups(weights), config.learning_rate, weight_decay=config.weight_decay
        )
        batches = steps_per_epoch(self.data.train, config)
        epochs = epochs_of(config, batches)
        average = AveragedModel(stage.parts, multi_avg_fn=_average(config)) if config.ema_decay else None
        kept: dict[str, Tensor] | None = None
        start = time.perf_counter()
        try:
            for epoch in range(epochs):
                self._to_training(stage)
                losses: dict[str, float] = {}
                optimizer.zero_grad(set_to_none=True)
                done = 0
                for number, batch in enumerate(self._moved(training_batches(self.data.train, config, rng))):
                    at = epoch + (number / batches if config.schedule_by == "step" else 0)
                    rate = config.learning_rate * learning_rate_factor(config, at, epochs)
                    for group in optimizer.param_groups:
                        group["lr"] = rate * group["fraction"]
                    self.learnt |= rate > 0
                    for name, value in self._add_gradient(stage, batch, generator, config).items():
                        losses[name] = losses.get(name, 0.0) + value
                    done = number + 1
                    if done % config.accumulate == 0 or done == batches:
                        self._step(optimizer, weights, config)
                        if average is not None:
                            average.update_parameters(stage.parts)
                    if self.stop():
                        self._stopped = True
                        break
                losses = {name: value / done for name, value in losses.items()}
                measured = stage.after_epoch()
                found = None
                last = epoch == epochs - 1 or self._stopped
                if last or (epoch + 1) % config.validate_every == 0:
                    current = _copy(stage.parts)
                    if average is not None:
                        stage.parts.load_state_dict(average.module.state_dict())
                    found = self.validate(stage)
                    if self.best_dsc is None or found > self.best_dsc or config.select == "last":
                        kept, self.best_epoch = _copy(stage.parts), epoch + 1
                        self.best_dsc = found if config.select == "last" else max(found, self.best_dsc or 0.0)
                    stage.parts.load_state_dict(current)
                yield EpochEvent(
                    stage.name,
                    epoch + 1,
                    epochs,
                    losses,
                    optimizer.param_groups[0]["lr"],
                    found,
                    self.best_dsc,
                    time.perf_counter() - start,
                    measured,
                )
                if last:
                    break
        finally:
            if kept is not None:
                stage.parts.load_state_dict(kept)
            self.method.eval()

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
        self, stage: Stage, batch: Batch, generator: torch.Generator, config: TrainingConfig
    ) -> dict[str, float]:
        try:
            with self.compute.autocast():
                terms = stage.loss(batch, generator)
            total = torch.stack([t.float() for t in terms.values()]).sum()
            if not bool(torch.isfinite(total)):
                raise BadInput("training", "the loss is no longer a number", "lower the learning rate")
            (total / config.accumulate).backward()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise BadInput(
                "memory", f"is too small for batches of {len(batch.images)}", "lower the batch size"
            ) from error
        return {name: float(term.detach()) for name, term in terms.items()}

    def _step(
        self, optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], config: TrainingConfig
    ) -> None:
        if config.clip_gradient:
            nn.utils.clip_grad_norm_(weights, config.clip_gradient)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def validate(self, stage: Stage) -> float:
        """Mean DSC over the planes kept apart, one sample each without test-time augmentation."""
        self.method.eval()
        found = [score for example in self.data.apart if (score := self._dsc(stage, example)) is not None]
        return float(np.mean(found)) if found else 0.0

    def _dsc(self, stage: Stage, example: Example) -> float | None:
        """The mean over the classes that were looked for in the plane; None where there are none."""
        image, mask = example.tensors()
        if stage.judge is None:
            found = sample_plane(self.method, image, self.config.preprocess, self.compute)
        else:
            device = self.compute.torch_device()
            with torch.inference_mode(), self.compute.autocast():
                found = stage.judge(image[None].to(device), mask[None].to(device))[0].float().cpu()
        scores = [
            dice((p > 0.5).numpy(), m.numpy() > 0.5)
            for p, m, counts in zip(found, mask, example.annotated, strict=True)
            if counts
        ]
        return float(np.mean(scores)) if scores else None


def _average(config: TrainingConfig) -> Callable[..., None]:
    """The update of the averaged weights."""
    if not config.ema_warmup:
        fixed: Callable[..., None] = get_ema_multi_avg_fn(config.ema_decay)
        return fixed

    def update(averaged: Any, current: Any, count: Tensor) -> None:
        decay = min(config.ema_decay, (1 + float(count)) / (10 + float(count)))
        get_ema_multi_avg_fn(decay)(averaged, current, count)

    return update


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in module.state_dict().items()}
