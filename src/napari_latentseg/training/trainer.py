"""The training loop, one for every method."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.pipeline import computed_ahead
from napari_latentseg.inference.tile_inference import sample_plane, sample_planes
from napari_latentseg.methods.base import Batch, Method, Stage
from napari_latentseg.methods.registry import build_method
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import (
    Dataset,
    images_per_batch,
    steps_per_epoch,
    training_batches,
    unaugmented_batches,
)
from napari_latentseg.training.events import TrainEpoch, TrainMemory, TrainProgress
from napari_latentseg.training.latent_cache import cached_latents
from napari_latentseg.training.loop import TrainingStep, averaged, parameter_groups, with_weights
from napari_latentseg.training.pretrained import (
    load_perceptual_network,
    load_pretrained_unet,
    load_pretrained_weights,
)
from napari_latentseg.training.processes import ONE_PROCESS, Processes
from napari_latentseg.training.progress import StageProgress
from napari_latentseg.training.schedule import (
    check_learning_rate,
    epoch_count,
    learning_rate_factor,
    warmup_epoch_count,
)
from napari_latentseg.training.scoring import CaseScorer
from napari_latentseg.training.snapshot import Snapshot, StageState, restore, take_snapshot
from napari_latentseg.training.split_batch import SplitBatch
from napari_latentseg.training.stored_slices import TrainingSlice
from napari_latentseg.utils.device import Compute

__all__ = ["Trainer"]

# Images at once where a stage looks at all of them before its first step: without gradients so many fit
# wherever one fits with them.
_PREPARATION_BATCH = 16

_SAMPLED_TOGETHER = 16  # validation slices

# Not Lightning, nor the trainer of accelerate: neither resumes in the middle of an epoch bit for bit with
# safetensors alone (both pickle), nor has stages that are trained one after the other.


@dataclass
class Trainer:
    """Trains a method on a data set.

    Parameters
    ----------
    config
        Of the training.
    data
        From `read_dataset`.
    codec
        Frozen; None for a method that trains its own.
    compute
        Device and arithmetic.
    should_stop
        Called after every batch; True makes it the last one, or the last of those whose gradients are
        accumulated for one step. Called after every part of a batch too, which is then given up.
    checkpoint
        Where the state is written: after an epoch when `Checkpoint.is_due`, and on a stop.
    snapshot
        From a checkpoint, to resume; all other arguments must be as before.
    processes
        Those that train together. Their number does not matter to a resumed training.
    on_progress
        Called about once a second within an epoch, and with the memory of a step before the first one.

    Attributes
    ----------
    method
        What is trained; after the run it has the selected weights.
    best_dsc
        Of the selected weights, on the validation slices.
    has_learnt
        Whether any step of the last stage has changed the weights; during the run, of the current stage.
    stopped
        Whether `should_stop` ended it.
    """

    config: TrainingConfig
    data: Dataset
    codec: Codec | None
    compute: Compute
    should_stop: Callable[[], bool] = lambda: False
    checkpoint: Checkpoint | None = None
    snapshot: Snapshot | None = None
    processes: Processes = ONE_PROCESS
    on_progress: Callable[[TrainMemory | TrainProgress], None] = lambda event: None
    method: Method = field(init=False)
    best_dsc: float | None = field(init=False, default=None)
    best_epoch: int = field(init=False, default=0)
    has_learnt: bool = field(init=False, default=False)
    stopped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not self.data.train:
            raise BadInput("data", "no image is left to train on", "add images")
        torch.manual_seed(self.config.seed)
        self.method = build_method(self.config.method, self.codec, self.config.settings)
        named_classes, expected_classes = len(self.data.train[0].annotated), self.method.class_count
        if named_classes != expected_classes:
            raise BadInput(
                "classes",
                f"{named_classes} are named, but the settings have {expected_classes}",
                "correct it",
            )
        if self.config.preprocess.size % (multiple := self.method.size_multiple):
            raise BadInput(
                "preprocess.size",
                f"is {self.config.preprocess.size}",
                f"use a multiple of the method's {multiple}",
            )
        if (
            self.config.preprocess.neighbours is not None
            and getattr(self.method.config, "image_channels", 3) == 1
        ):
            raise BadInput(
                "preprocess.neighbours",
                "the method turns its images into grey, which would mix the slices",
                "set image_channels to 3 in settings",
            )
        for stage in self.method.stages():
            size = images_per_batch(self.data.train, self.config.for_stage(stage.name))
            if size < (count := self.processes.count):
                raise BadInput(
                    "batch_size",
                    f"{size} images cannot be shared by {count} processes",
                    f"launch at most {size}",
                )
            stage_config = self.config.for_stage(stage.name)
            check_learning_rate(stage_config, steps_per_epoch(self.data.train, stage_config))
        load_pretrained_weights(self.method, self.config.published_weights)
        load_pretrained_unet(self.method, self.config.pretrained_unet)
        load_perceptual_network(self.method, self.config.perceptual)
        self.method.to(self.compute.torch_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]

    def run(self) -> Generator[TrainEpoch, None, None]:
        """Train; yields an event for each epoch. Closing the iterator stops, with the best weights so far."""
        rng = np.random.default_rng(self.config.seed)
        generator = torch.Generator().manual_seed(self.config.seed)
        with cached_latents(self.method, self.config.cache_latents):
            first_stage = 0 if self.snapshot is None else int(self.snapshot.metadata["stage"])
            stages = self.method.stages()
            for stage_index, stage in enumerate(stages):
                if stage_index < first_stage:
                    continue
                self.best_dsc, self.best_epoch, self.has_learnt = None, 0, False
                yield from self._run_stage(stage_index, stage, rng, generator)
                if self.stopped:
                    self.has_learnt &= stage_index + 1 == len(
                        stages
                    )  # without the last there is no answer yet
                    break

    def _run_stage(
        self, stage_index: int, stage: Stage, rng: np.random.Generator, generator: torch.Generator
    ) -> Generator[TrainEpoch, None, None]:
        config = self.config.for_stage(stage.name)
        self.method.eval()
        if self.snapshot is None:
            with torch.no_grad():
                few = config.replace(batch_size=min(config.batch_size, _PREPARATION_BATCH))
                stage.on_start(map(self._to_device, unaugmented_batches(self.data.train, few)))
        self.method.requires_grad_(False)
        stage.trainable.requires_grad_(True)
        weights = list(stage.trainable.parameters())
        pretrained = self.method.pretrained_modules.values()
        optimizer = torch.optim.AdamW(
            parameter_groups(weights, pretrained, self.config.published_rate),
            config.learning_rate,
            weight_decay=config.weight_decay,
            # one pass over the weights, 4 to 7 % of a step on a CPU; a last bit may differ
            fused=self.compute.torch_device().type in ("cpu", "cuda"),
        )
        batches = steps_per_epoch(self.data.train, config)
        epochs, warmup = epoch_count(config, batches), warmup_epoch_count(config, batches)
        ema_model = None
        if config.ema_decay:
            ema_model = averaged(stage.trainable, config.ema_decay, warmup=config.ema_warmup)
        step = TrainingStep(
            optimizer, stage.trainable, config.clip_gradient, config.accumulate, ema_model,
            processes=self.processes,
        )  # fmt: skip
        stage_state = StageState(stage_index, optimizer, ema_model)
        progress = StageProgress(
            self.on_progress, stage.name, epochs, batches, images_per_batch(self.data.train, config)
        )
        split = SplitBatch(
            step, stage.loss, self.method.loss_row_count, self.compute, self.processes, progress.images_done,
            on_size=partial(self._report_memory, stage.name),
        )  # fmt: skip
        if self.snapshot is not None:
            self._restore(self.snapshot, stage, stage_state, rng, generator)
            self.snapshot = None
        self._equalise(stage_state)
        start = time.perf_counter() - stage_state.seconds
        try:
            for epoch in range(stage_state.epoch, epochs):
                self._set_training_mode(stage)
                stage_state.rng_state = rng.bit_generator.state
                step.forget_gradient()
                progress.begin_epoch(epoch, stage_state.batch_index, sum(stage_state.losses.values()))
                # of an epoch that was stopped, the first batches are drawn again but not trained on again
                for batch in self._batches(config, rng, stage_state.batch_index):
                    if split.memory is None:
                        kept = stage_state.best.weights is not None
                        split.choose_part_size(batch, generator, stage_state.part_size, has_kept_weights=kept)
                    schedule_epoch = epoch + (
                        stage_state.batch_index / batches if config.schedule_by == "step" else 0
                    )
                    learning_rate = config.learning_rate * learning_rate_factor(
                        config, schedule_epoch, epochs, warmup
                    )
                    step.set_learning_rate(learning_rate)
                    # at a step's first batch, and alone, a stop need not wait for the parts of the batch
                    can_give_up = (
                        self.processes.count == 1 and stage_state.batch_index % config.accumulate == 0
                    )
                    split.should_stop = self.should_stop if can_give_up else lambda: False
                    batch_losses = split.add_gradient(batch, generator)
                    if batch_losses is None:
                        self.stopped = True
                        break
                    self.has_learnt |= learning_rate > 0
                    for name, value in batch_losses.items():
                        stage_state.losses[name] = stage_state.losses.get(name, 0.0) + value
                    progress.batch_done(sum(batch_losses.values()))
                    stage_state.batch_index += 1
                    stage_state.part_size = split.part_size
                    is_step_complete = (
                        stage_state.batch_index % config.accumulate == 0 or stage_state.batch_index == batches
                    )
                    if is_step_complete:
                        step.update()
                    self.stopped = self.stopped or self.processes.any(self.should_stop())
                    if self.stopped and is_step_complete:
                        break
                stage_state.seconds = time.perf_counter() - start
                progress.end_epoch()
                # on a stop within an epoch: before the validation below, which a straight run does not have
                is_interrupted = self.stopped and stage_state.batch_index < batches
                if is_interrupted:
                    self._write_checkpoint(self._checkpoint_state(stage_state, generator))
                losses = {name: value / stage_state.batch_index for name, value in stage_state.losses.items()}
                measured = stage.after_epoch()
                is_validation_epoch = epoch == epochs - 1 or (epoch + 1) % config.validate_every == 0
                validates = is_validation_epoch and not is_interrupted
                dsc = self._validate_and_keep(stage, stage_state, config, epoch) if validates else None
                stage_state.epoch, stage_state.batch_index, stage_state.losses, stage_state.rng_state = (
                    epoch + 1,
                    0,
                    {},
                    rng.bit_generator.state,
                )
                checkpoint_due = not is_interrupted and self._checkpoint_due()
                state = self._checkpoint_state(stage_state, generator) if checkpoint_due else None
                if self.stopped and dsc is None:
                    dsc = self._validate_and_keep(stage, stage_state, config, epoch)
                yield TrainEpoch(
                    stage=stage.name,
                    epoch=epoch + 1,
                    epochs=epochs,
                    losses=losses,
                    learning_rate=optimizer.param_groups[0]["lr"],
                    dsc=dsc,
                    best=self.best_dsc,
                    seconds=stage_state.seconds,
                    measured=measured,
                )
                self._write_checkpoint(state)
                if self.stopped:
                    break
        finally:
            if stage_state.best.weights is not None:
                stage.trainable.load_state_dict(stage_state.best.weights)
            self.method.eval()

    def _report_memory(self, stage: str, batch_size: int, part_size: int, total_bytes: int) -> None:
        self.on_progress(
            TrainMemory(stage=stage, batch_size=batch_size, part_size=part_size, total_bytes=total_bytes)
        )

    def _equalise(self, stage_state: StageState) -> None:
        """Give all processes the weights of the main one, where a stage begins or is resumed."""
        weights = {name: v for name, v in self.method.state_dict().items() if not name.startswith("codec.")}
        averages = {} if stage_state.ema_model is None else stage_state.ema_model.state_dict()
        self.processes.equalise([*weights.values(), *averages.values()])

    def _validate_and_keep(
        self, stage: Stage, stage_state: StageState, config: TrainingConfig, epoch: int
    ) -> float:
        """Validate the weights that would be kept now, and keep them where they are the best so far."""
        weights = None if stage_state.ema_model is None else stage_state.ema_model.module.state_dict()
        with with_weights(stage.trainable, weights):
            dsc = self.validate(stage)
            if stage_state.best.offer(stage.trainable.state_dict(), dsc, latest=config.select == "last"):
                self.best_dsc, self.best_epoch = dsc, epoch + 1
        return dsc

    def _checkpoint_due(self) -> bool:
        return self.checkpoint is not None and (self.stopped or self.checkpoint.is_due())

    def _checkpoint_state(self, stage_state: StageState, generator: torch.Generator) -> Snapshot | None:
        """The state for the checkpoint; None where nothing was learned yet."""
        if self.checkpoint is None or not (
            self.has_learnt or stage_state.stage_index or self.checkpoint.common.tensors
        ):
            return None
        stage_snapshot = take_snapshot(self.method, stage_state, generator)
        selection_state = {
            "best_dsc": self.best_dsc,
            "best_epoch": self.best_epoch,
            "learnt": self.has_learnt,
        }
        return Snapshot(stage_snapshot.tensors, stage_snapshot.metadata | selection_state)

    def _write_checkpoint(self, state: Snapshot | None) -> None:
        if self.checkpoint is not None and state is not None:
            self.checkpoint.write(state)

    def _restore(
        self,
        checkpoint: Snapshot,
        stage: Stage,
        stage_state: StageState,
        rng: np.random.Generator,
        generator: torch.Generator,
    ) -> None:
        try:
            restore(checkpoint, self.method, stage.trainable, stage_state, rng, generator)
            self.best_dsc, self.best_epoch = (
                checkpoint.metadata["best_dsc"],
                checkpoint.metadata["best_epoch"],
            )
            stage_state.best.score = self.best_dsc
            self.has_learnt = checkpoint.metadata["learnt"]
            if self.processes.count > 1 and self.compute.device.startswith("cuda"):
                # that of the main process, for every GPU: all of them draw the same numbers
                torch.cuda.set_rng_state(checkpoint.tensors["random.cuda.0"], self.compute.device)
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            raise BadInput(
                "checkpoint", "does not fit this version of the program", "train from the beginning"
            ) from error

    def _set_training_mode(self, stage: Stage) -> None:
        """Training mode for what the stage trains; evaluation mode for the rest."""
        self.method.train()
        trainable_submodules = set(stage.trainable.modules())
        for module in self.method.trainable_modules.children():
            if module not in trainable_submodules:
                module.eval()

    def _batches(self, config: TrainingConfig, rng: np.random.Generator, start: int) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on; the next are made while one is trained on."""
        remaining = islice(training_batches(self.data.train, config, rng, self.processes.share), start, None)
        with closing(computed_ahead(remaining, self._to_device)) as computed:
            yield from (made[1] for made in computed if made is not None)

    def _to_device(self, batch: Batch) -> Batch:
        device = self.compute.torch_device()

        def moved(tensor: Tensor) -> Tensor:
            if device.type == "cuda":  # the copy overlaps with the step before
                return tensor.pin_memory().to(device, non_blocking=True)
            return tensor.to(device)

        annotated = None if batch.annotated is None else moved(batch.annotated)
        return replace(batch, images=moved(batch.images), masks=moved(batch.masks), annotated=annotated)

    def validate(self, stage: Stage) -> float:
        """Mean Dice over the validation slices, of one sample each without test-time augmentation."""
        self.method.eval()
        validation_slices = self.data.validation
        # evenly from all of them, which are in the order of data sets and cases
        slice_count = min(len(validation_slices), self.config.validate_planes or len(validation_slices))
        selected_slices = [
            validation_slices[i * len(validation_slices) // slice_count] for i in range(slice_count)
        ]
        sampled_scores: dict[int, float | None] = {}
        if stage.validate is None and not self.method.is_deterministic:
            # a diffusion samples several slices in a batch; not all, of which many classes take gigabytes
            own_indices = range(self.processes.index, slice_count, self.processes.count)
            for start in range(0, len(own_indices), _SAMPLED_TOGETHER):
                indices = own_indices[start : start + _SAMPLED_TOGETHER]
                images = [selected_slices[i].to_float()[0].numpy() for i in indices]
                drawn = sample_planes(self.method, images, self.config.preprocess, self.compute)
                for i, sample in zip(indices, drawn, strict=True):
                    sampled_scores[i] = self._slice_dsc(stage, selected_slices[i], sample[0])

        def score(i: int) -> float | None:
            return sampled_scores[i] if i in sampled_scores else self._slice_dsc(stage, selected_slices[i])

        all_scores = self.processes.map(range(slice_count), score)
        scores = [score for score in all_scores if score is not None]
        return float(np.mean(scores)) if scores else 0.0

    def _slice_dsc(
        self, stage: Stage, validation_slice: TrainingSlice, sample: NDArray[np.float32] | None = None
    ) -> float | None:
        """The mean over the annotated classes of a slice; None where there are none.

        Parameters
        ----------
        stage, validation_slice
            What is validated.
        sample
            The method's prediction `(K, h, w)`; None where it is not computed yet.
        """
        image, mask = validation_slice.to_float()
        if sample is not None:
            probability = sample
        elif stage.validate is None:
            probability = sample_plane(self.method, image.numpy(), self.config.preprocess, self.compute)
        else:
            device, (height, width) = self.compute.torch_device(), mask.shape[-2:]
            # a slice that is scaled to a spacing has any size, and the networks take multiples
            multiple = self.method.size_multiple
            margins = (0, -width % multiple, 0, -height % multiple)
            padded = (F.pad(x[None], margins, mode="replicate").to(device) for x in (image, mask))
            with torch.inference_mode(), self.compute.autocast():
                reconstruction = stage.validate(*padded)[0, :, :height, :width]
            probability = reconstruction.float().cpu().numpy()
        scorer = CaseScorer(self.config.card.threshold)
        scorer.add(probability, mask.numpy() > 0.5, validation_slice.annotated)
        return scorer.dsc[0] if scorer.dsc else None
