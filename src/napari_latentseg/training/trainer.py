"""The training loop, one for every method."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.plane import sample_plane
from napari_latentseg.methods.base import Batch, Method
from napari_latentseg.methods.registry import build_method
from napari_latentseg.precision import Compute, is_out_of_memory
from napari_latentseg.training.cache import remembering
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset, Example, steps_per_epoch, training_batches

__all__ = ["EpochEvent", "Trainer"]


@dataclass(frozen=True)
class EpochEvent:
    """What one epoch gave.

    Attributes
    ----------
    epoch, epochs
        Which one of how many, from 1.
    losses
        Mean of each term over the epoch.
    learning_rate
        At the epoch's end.
    dsc
        Mean DSC over the images kept apart, at working size, cut at 0.5; None where it was not looked at.
    best
        That of the weights that would be kept now.
    seconds
        Since the start.
    """

    epoch: int
    epochs: int
    losses: dict[str, float]
    learning_rate: float
    dsc: float | None
    best: float | None
    seconds: float

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
        Frozen.
    compute
        Device and arithmetic.
    stop
        Asked after every epoch; True makes it the last one.

    Attributes
    ----------
    method
        What is trained; after the run it carries the weights that were selected.
    best_dsc
        On the images kept apart.
    learnt
        Whether any step has changed the weights.
    """

    config: TrainingConfig
    data: Dataset
    codec: Codec
    compute: Compute
    stop: Callable[[], bool] = lambda: False
    method: Method = field(init=False)
    best_dsc: float | None = field(init=False, default=None)
    best_epoch: int = field(init=False, default=0)
    learnt: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not self.data.train:
            raise BadInput("data", "no image is left to learn from", "add images")
        torch.manual_seed(self.config.seed)
        self.method = build_method(self.config.method, self.codec, self.config.settings)
        self.method.to(self.compute.torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self) -> Generator[EpochEvent, None, None]:
        """Train, one event an epoch. Closing the iterator stops, and keeps what was selected so far."""
        with remembering(self.method, self.config.cache_latents):
            yield from self._epochs()

    def _epochs(self) -> Generator[EpochEvent, None, None]:
        config = self.config
        rng = np.random.default_rng(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        weights = [p for p in self.method.trained.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, config.learning_rate, weight_decay=config.weight_decay)
        steps = steps_per_epoch(self.data.train, config)
        average = (
            AveragedModel(self.method.trained, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
            if config.ema_decay
            else None
        )
        kept: dict[str, Tensor] | None = None
        start = time.perf_counter()
        try:
            for epoch in range(config.epochs):
                self.method.train()
                losses: dict[str, float] = {}
                for step, batch in enumerate(training_batches(self.data.train, config, rng)):
                    at = epoch + (step / steps if config.schedule_by == "step" else 0)
                    rate = config.learning_rate * learning_rate_factor(config, at)
                    optimizer.param_groups[0]["lr"] = rate
                    self.learnt |= rate > 0
                    for name, value in self._step(batch, optimizer, weights, generator).items():
                        losses[name] = losses.get(name, 0.0) + value / steps
                    if average is not None:
                        average.update_parameters(self.method.trained)
                found = None
                last = epoch == config.epochs - 1 or self.stop()
                if last or (epoch + 1) % config.validate_every == 0:
                    current = _copy(self.method.trained)
                    if average is not None:
                        self.method.trained.load_state_dict(average.module.state_dict())
                    found = self.validate()
                    if self.best_dsc is None or found > self.best_dsc or config.select == "last":
                        kept, self.best_epoch = _copy(self.method.trained), epoch + 1
                        self.best_dsc = found if config.select == "last" else max(found, self.best_dsc or 0.0)
                    self.method.trained.load_state_dict(current)
                yield EpochEvent(
                    epoch + 1,
                    config.epochs,
                    losses,
                    optimizer.param_groups[0]["lr"],
                    found,
                    self.best_dsc,
                    time.perf_counter() - start,
                )
                if last:
                    break
        finally:
            if kept is not None:
                self.method.trained.load_state_dict(kept)
            self.method.eval()

    def _step(
        self,
        batch: Batch,
        optimizer: torch.optim.Optimizer,
        weights: list[nn.Parameter],
        generator: torch.Generator,
    ) -> dict[str, float]:
        device = self.compute.torch_device()
        batch = Batch(batch.images.to(device), batch.masks.to(device))
        optimizer.zero_grad(set_to_none=True)
        try:
            with self.compute.autocast():
                terms = self.method.loss(batch, generator)
            total = torch.stack([t.float() for t in terms.values()]).sum()
            if not bool(torch.isfinite(total)):
                raise BadInput("training", "the loss is no longer a number", "lower the learning rate")
            total.backward()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise BadInput(
                "memory", f"is too small for batches of {len(batch.images)}", "lower the batch size"
            ) from error
        if self.config.clip_gradient:
            nn.utils.clip_grad_norm_(weights, self.config.clip_gradient)
        optimizer.step()
        return {name: float(term.detach()) for name, term in terms.items()}

    def validate(self) -> float:
        """Mean DSC over the planes kept apart, one pass each without test-time augmentation."""
        self.method.eval()
        return float(np.mean([self._dsc(example) for example in self.data.apart]))

    def _dsc(self, example: Example) -> float:
        image, mask = example.tensors()
        found = sample_plane(self.method, image, self.config.preprocess, self.compute)
        return dice((found[0] > 0.5).numpy(), mask[0].numpy() > 0.5)


def learning_rate_factor(config: TrainingConfig, epoch: float) -> float:
    """Linear from zero over the warm-up, then half a cosine to zero; GMS sets it once an epoch.

    Parameters
    ----------
    config
        Its `epochs`, `warmup_epochs` and `schedule_by` are used.
    epoch
        From 0; whole numbers where the schedule goes by epochs, and then the last epoch of the warm-up is at
        the full rate and the last of all at zero.
    """
    last = 1 if config.schedule_by == "epoch" else 0
    if epoch < config.warmup_epochs:
        return min(1.0, epoch / max(config.warmup_epochs - last, 1e-9))
    done = (epoch - config.warmup_epochs) / max(1e-9, config.epochs - config.warmup_epochs - last)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in module.state_dict().items()}
