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
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.pipeline import computed_ahead
from napari_latentseg.methods.base import Batch, Method, Stage
from napari_latentseg.methods.registry import build_method
from napari_latentseg.training.batches import (
    images_per_batch,
    steps_per_epoch,
    training_batches,
    unaugmented_batches,
)
from napari_latentseg.training.begin_from import InitialModel
from napari_latentseg.training.checkpoint import Checkpoint
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset
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
from napari_latentseg.training.schedule import check_learning_rate, epoch_count, warmup_epoch_count
from napari_latentseg.training.snapshot import Snapshot, StageState, restore, take_snapshot
from napari_latentseg.training.split_batch import SplitBatch
from napari_latentseg.training.stage_run import StageRun
from napari_latentseg.training.validation import Validation
from napari_latentseg.utils.device import Compute, move_to_device

__all__ = ["Trainer"]

# Images at once where a stage looks at all of them before its first step: without gradients so many fit
# wherever one fits with them.
_PREPARATION_BATCH = 16

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
    first_member
        A trained member whose conditioner is used as it is, so that the predictor alone is trained; None to
        train everything.
    initial_model
        Whose weights the training begins with; None to begin anew.

    Attributes
    ----------
    method
        What is trained; after the run it has the selected weights.
    validation
        Of the method.
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
    first_member: Method | None = None
    initial_model: InitialModel | None = None
    method: Method = field(init=False)
    validation: Validation = field(init=False)
    best_dsc: float | None = field(init=False, default=None)
    best_epoch: int = field(init=False, default=0)
    has_learnt: bool = field(init=False, default=False)
    stopped: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if not self.data.train:
            raise BadInput("data", "no image is left to train on", "add images")
        torch.manual_seed(self.config.seed)
        self.method = build_method(self.config.method, self.codec, self.config.settings)
        self._check_configuration()
        if self.first_member is None:
            if self.initial_model is None:
                load_pretrained_weights(self.method, self.config.published_weights)
                load_pretrained_unet(self.method, self.config.pretrained_unet)
            else:
                self.initial_model.load_into(self.method)
            load_perceptual_network(self.method, self.config.perceptual)
        else:
            self.method.share_conditioning(self.first_member)
        move_to_device(self.method, self.compute.torch_device())
        self.validation = Validation(self.method, self.data, self.config, self.compute, self.processes)

    def _check_configuration(self) -> None:
        """Refuse settings that do not fit the method, the images or the number of processes."""
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
        for stage in self._stages():
            size = images_per_batch(self.data.train, self.config.for_stage(stage.name))
            if size < (count := self.processes.count):
                raise BadInput(
                    "batch_size",
                    f"{size} images cannot be shared by {count} processes",
                    f"launch at most {size}",
                )
            stage_config = self.config.for_stage(stage.name)
            check_learning_rate(stage_config, steps_per_epoch(self.data.train, stage_config))

    def run(self) -> Generator[TrainEpoch, None, None]:
        """Train; yields an event for each epoch. Closing the iterator stops, with the best weights so far."""
        rng = np.random.default_rng(self.config.seed)
        generator = torch.Generator().manual_seed(self.config.seed)
        with cached_latents(self.method, self.config.cache_latents):
            first_stage = 0 if self.snapshot is None else int(self.snapshot.metadata["stage"])
            stages = self._stages()
            for stage_index, stage in enumerate(stages):
                if stage_index < first_stage:
                    continue
                self.best_dsc, self.best_epoch, self.has_learnt = None, 0, False
                yield from self._run_stage(stage_index, stage, rng, generator)
                if self.stopped:
                    # without the last stage there is no answer yet
                    self.has_learnt &= stage_index + 1 == len(stages)
                    break

    def _stages(self) -> list[Stage]:
        """The stages to train."""
        if self.first_member is not None:
            return [self.method.predictor_stage()]
        return [stage for stage in self.method.stages() if not self.config.leaves_out(stage.name)]

    def _run_stage(
        self, stage_index: int, stage: Stage, rng: np.random.Generator, generator: torch.Generator
    ) -> Generator[TrainEpoch, None, None]:
        run = self._begin_stage(stage_index, stage, rng, generator)
        try:
            for epoch in range(run.state.epoch, run.epochs):
                self._train_epoch(run, epoch, rng, generator)
                event, checkpoint = self._end_epoch(run, epoch, rng, generator)
                yield event
                self._write_checkpoint(checkpoint)
                if self.stopped:
                    break
        finally:
            if run.state.best.weights is not None:
                stage.trainable.load_state_dict(run.state.best.weights)
            self.method.eval()

    def _begin_stage(
        self, stage_index: int, stage: Stage, rng: np.random.Generator, generator: torch.Generator
    ) -> StageRun:
        config = self.config.for_stage(stage.name)
        self.method.eval()
        if self.snapshot is None:
            with torch.no_grad():
                few = config.replace(batch_size=min(config.batch_size, _PREPARATION_BATCH))
                stage.on_start(map(self._to_device, unaugmented_batches(self.data.train, few)))
        self.method.requires_grad_(False)
        stage.trainable.requires_grad_(True)
        optimizer = torch.optim.AdamW(
            parameter_groups(
                list(stage.trainable.parameters()),
                self.method.pretrained_modules.values(),
                self.config.published_rate,
            ),
            config.learning_rate,
            weight_decay=config.weight_decay,
            # one pass over the weights, 4 to 7 % of a step on a CPU; a last bit may differ
            fused=self.compute.torch_device().type in ("cpu", "cuda"),
        )
        average = None
        if config.ema_decay:
            average = averaged(stage.trainable, config.ema_decay, warmup=config.ema_warmup)
        step = TrainingStep(
            optimizer, stage.trainable, config.clip_gradient, config.accumulate, average,
            processes=self.processes,
        )  # fmt: skip
        batches = steps_per_epoch(self.data.train, config)
        epochs = epoch_count(config, batches)
        progress = StageProgress(
            self.on_progress, stage.name, epochs, batches, images_per_batch(self.data.train, config)
        )
        split = SplitBatch(
            step, stage.loss, self.method.loss_row_count, self.compute, self.processes, progress.images_done,
            on_size=partial(self._report_memory, stage.name),
        )  # fmt: skip
        state = StageState(stage_index, optimizer, average)
        if self.snapshot is not None:
            self._restore(self.snapshot, stage, state, rng, generator)
            self.snapshot = None
        self._equalise(state)
        return StageRun(
            stage, config, step, split, progress, state, epochs, batches,
            warmup=warmup_epoch_count(config, batches), start=time.perf_counter() - state.seconds,
        )  # fmt: skip

    def _train_epoch(
        self, run: StageRun, epoch: int, rng: np.random.Generator, generator: torch.Generator
    ) -> None:
        """The steps of an epoch, or those until a stop is heard."""
        state = run.state
        self._set_training_mode(run.stage)
        state.rng_state = rng.bit_generator.state
        run.step.forget_gradient()
        run.progress.begin_epoch(epoch, state.batch_index, sum(state.losses.values()))
        # of an epoch that was stopped, the first batches are drawn again but not trained on again
        for batch in self._batches(run.config, rng, state.batch_index):
            if run.split.memory is None:
                kept = state.best.weights is not None
                run.split.choose_part_size(batch, generator, state.part_size, has_kept_weights=kept)
            learning_rate = run.learning_rate(epoch)
            run.step.set_learning_rate(learning_rate)
            # at a step's first batch, and alone, a stop need not wait for the parts of the batch
            can_give_up = self.processes.count == 1 and state.batch_index % run.config.accumulate == 0
            run.split.should_stop = self.should_stop if can_give_up else lambda: False
            losses = run.split.add_gradient(batch, generator)
            if losses is None:
                self.stopped = True
                break
            self.has_learnt |= learning_rate > 0
            run.batch_done(losses)
            is_step_complete = run.is_step_complete
            if is_step_complete:
                run.step.update()
            self.stopped = self.stopped or self.processes.any(self.should_stop())
            if self.stopped and is_step_complete:
                break
        state.seconds = time.perf_counter() - run.start
        run.progress.end_epoch()

    def _end_epoch(
        self, run: StageRun, epoch: int, rng: np.random.Generator, generator: torch.Generator
    ) -> tuple[TrainEpoch, Snapshot | None]:
        """Validate where it is due; gives the event of the epoch, and the state for the checkpoint if due."""
        state = run.state
        # on a stop within an epoch: before the validation below, which a straight run does not have
        is_interrupted = self.stopped and state.batch_index < run.batches
        if is_interrupted:
            self._write_checkpoint(self._checkpoint_state(state, generator))
        losses = {name: value / state.batch_index for name, value in state.losses.items()}
        measured = run.stage.after_epoch()
        is_validation_epoch = epoch == run.epochs - 1 or (epoch + 1) % run.config.validate_every == 0
        dsc = self._validate_and_keep(run, epoch) if is_validation_epoch and not is_interrupted else None
        state.epoch, state.batch_index, state.losses = epoch + 1, 0, {}
        state.rng_state = rng.bit_generator.state
        checkpoint_due = not is_interrupted and self._checkpoint_due()
        checkpoint = self._checkpoint_state(state, generator) if checkpoint_due else None
        if self.stopped and dsc is None:
            dsc = self._validate_and_keep(run, epoch)
        event = TrainEpoch(
            stage=run.stage.name,
            epoch=epoch + 1,
            epochs=run.epochs,
            losses=losses,
            learning_rate=run.step.optimizer.param_groups[0]["lr"],
            dsc=dsc,
            best=self.best_dsc,
            seconds=state.seconds,
            measured=measured,
        )
        return event, checkpoint

    def _report_memory(self, stage: str, batch_size: int, part_size: int, total_bytes: int) -> None:
        self.on_progress(
            TrainMemory(stage=stage, batch_size=batch_size, part_size=part_size, total_bytes=total_bytes)
        )

    def _equalise(self, stage_state: StageState) -> None:
        """Give all processes the weights of the main one, where a stage begins or is resumed."""
        weights = {name: v for name, v in self.method.state_dict().items() if not name.startswith("codec.")}
        averages = {} if stage_state.ema_model is None else stage_state.ema_model.state_dict()
        self.processes.equalise([*weights.values(), *averages.values()])

    def _validate_and_keep(self, run: StageRun, epoch: int) -> float:
        """Validate the weights that would be kept now, and keep them where they are the best so far."""
        trainable, average = run.stage.trainable, run.state.ema_model
        with with_weights(trainable, None if average is None else average.module.state_dict()):
            dsc = self.validation.mean_dice(run.stage)
            is_latest = run.config.select == "last"
            if run.state.best.offer(trainable.state_dict(), dsc, latest=is_latest):
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
