"""The steps of a fine-tuning, on encoded patches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.config import FineTuneConfig, ValidationResult
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.training.loop import BestWeights, TrainingStep, averaged, copied, with_weights
from napari_latentseg.training.patches import EncodedPatches
from napari_latentseg.training.schedule import warmup_then_cosine
from napari_latentseg.training.scoring import score_patches
from napari_latentseg.training.snapshot import Snapshot, add_prefix, strip_prefix
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.oom import BatchSize

__all__ = ["Tuner"]

_VALIDATIONS_PER_RUN = 16  # at most: enough points for a curve and for selecting weights
# Validations after the last step, for which time must be left: one for each of the four interpolations of
# `FineTuneConfig.shares`, one for the threshold, and half of one in reserve.
_CLOSING_VALIDATIONS = 5.5
_MAX_STEPS = 4000  # of batches of 16: each of 1,024 encoded patches comes some forty times, beside replay


@dataclass
class Tuner:
    """Trains the last part of a method, and keeps the best weights.

    Parameters
    ----------
    method, spec
        The model, which is changed in place, and its part that is trained.
    train_patches, validation_patches
        Training patches, and validation patches, on which the weights are selected; None for none of these.
    replay_train, replay_validation
        The same of the model's own training; None where it has no replay.
    compute
        Device and arithmetic.
    config
        The settings.
    seed
        Draws the batches and the noise of the losses.
    threshold
        Probabilities above it are in the mask.
    steps
        How many in all; None to compute it from `budget_seconds` after the first eight steps.
    budget_seconds
        For steps and validations.
    should_stop
        Called after every step; True makes it the last.
    on_step
        Called after every step, when it is known whether it was the last.

    Attributes
    ----------
    best_weights
        The best weights so far.
    best_validation
        Their validation; that of the base until something was better.
    alpha
        The interpolation that `select_interpolation` has chosen, in [0, 1].
    validate_every
        Steps between two validations.
    has_learnt
        Whether there was any step.
    """

    method: Method
    spec: FineTuneSpec
    train_patches: EncodedPatches
    validation_patches: EncodedPatches | None
    replay_train: EncodedPatches | None
    replay_validation: EncodedPatches | None
    compute: Compute
    config: FineTuneConfig
    seed: int
    threshold: float
    steps: int | None
    budget_seconds: float
    should_stop: Callable[[], bool] = lambda: False
    on_step: Callable[[], None] = lambda: None
    best_weights: dict[str, Tensor] | None = field(init=False, default=None)
    base_weights: dict[str, Tensor] = field(init=False)
    base_validation: ValidationResult | None = field(init=False, default=None)
    best_validation: ValidationResult | None = field(init=False, default=None)
    alpha: float = field(init=False, default=0.0)
    step: int = field(init=False, default=0)
    spent_seconds: float = field(init=False, default=0.0)
    stopped: bool = field(init=False, default=False)
    validate_every: int = field(init=False, default=0)
    selected_weights: dict[str, Tensor] | None = field(init=False, default=None)
    seconds_in_steps: float = field(init=False, default=0.0)
    images_in_steps: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.method.requires_grad_(False).eval()
        self.spec.trainable.requires_grad_(True)
        parts = self.spec.trainable
        self.base_weights = copied(parts.state_dict())
        self._base_parameters = [p.detach().clone() for p in parts.parameters()]
        optimizer = torch.optim.AdamW(parts.parameters(), self.config.learning_rate, weight_decay=0.0)
        self._ema_parameters = averaged(parts, self.config.average, from_start=True)
        self._training = TrainingStep(
            optimizer,
            parts,
            clip_gradient=1.0,
            average=self._ema_parameters,
            name="fine-tuning",
            remedy="check the images for odd values",
        )
        self._rng = np.random.default_rng([self.seed, 1])
        self._generator = torch.Generator().manual_seed(self.seed)
        self._losses: dict[str, list[float]] = {}
        self._batch_size = BatchSize(self.config.batch, "is too small to learn in")
        self._has_time_budget = self.steps is None
        self._validation_seconds = 0.0
        self._working_weights: dict[str, Tensor] | None = None

    @property
    def has_learnt(self) -> bool:
        """Whether there was any step."""
        return self.step > 0

    @property
    def images_per_second(self) -> float:
        """Images learnt from in a second of the steps; 0 before the first."""
        return self.images_in_steps / self.seconds_in_steps if self.seconds_in_steps else 0.0

    @property
    def recent_loss(self) -> float | None:
        """The mean of the sum of all terms since the last validation; None before the first step after it."""
        if not self._losses:
            return None
        return sum(float(np.mean(values)) for values in self._losses.values())

    def run(self) -> Generator[ValidationResult, None, None]:
        """Train; yields a validation of the base first, then one after another until the time is over."""
        start_time = time.perf_counter() - self.spent_seconds
        if self.base_validation is None:
            self.base_validation = self.best_validation = self._validate({})
            self._validation_seconds = time.perf_counter() - start_time
            yield self.base_validation
        if self.steps is not None and not self.validate_every:
            self.validate_every = -(-self.steps // _VALIDATIONS_PER_RUN)
        step_seconds: list[float] = []
        start_time = time.perf_counter() - self.spent_seconds
        while not self.stopped and (self.steps is None or self.step < self.steps):
            step_start = time.perf_counter()
            self._training_step()
            step_end = time.perf_counter()
            step_seconds.append(step_end - step_start)
            self.seconds_in_steps += step_end - step_start
            self.spent_seconds = step_end - start_time
            if self.steps is None and len(step_seconds) == 8:
                self._plan_steps(float(np.median(step_seconds)))
            self.stopped = self.should_stop()
            self.on_step()
            # also on a machine that became slower after the steps were planned, time is left for the last
            # validations
            is_out_of_time = (
                self._has_time_budget
                and self.spent_seconds > self.budget_seconds - _CLOSING_VALIDATIONS * self._validation_seconds
            )
            if (
                self.stopped
                or is_out_of_time
                or self.step == self.steps
                or (self.validate_every and not self.step % self.validate_every)
            ):
                validation_start = time.perf_counter()
                validation = self._validate_average()
                self._validation_seconds = max(
                    self._validation_seconds, time.perf_counter() - validation_start
                )
                self.spent_seconds = time.perf_counter() - start_time
                yield validation
            if is_out_of_time:
                break

    def select_interpolation(self) -> float:
        """Interpolate between the base and the best weights, and load the best of `FineTuneConfig.shares`.

        Without validation patches it is `FineTuneConfig.unjudged_share` of the way at most; less where too
        much Dice on replay would be lost.

        Returns
        -------
        float
            `alpha`, in [0, 1].
        """
        candidate_weights = self.best_weights or self._ema_weights()
        base_validation = self.base_validation
        scored_alphas: list[tuple[float, float]] = []
        for alpha in self.config.shares:
            if self.validation_patches is None and alpha > self.config.unjudged_share:
                continue
            self._load_interpolated(candidate_weights, alpha)
            dsc, replay = self._validation_scores()
            replay_loss = 0.0
            if replay is not None and base_validation is not None and base_validation.replay is not None:
                replay_loss = max(0.0, base_validation.replay - replay - self.config.tolerated)
            score = (alpha if dsc is None else dsc) - 4 * replay_loss
            scored_alphas.append((score, alpha))
        # of interpolations that are as good, the smallest, which changes least
        best_score = max(score for score, _ in scored_alphas)
        self.alpha = min(alpha for score, alpha in scored_alphas if score >= best_score - 1e-4)
        self._load_interpolated(candidate_weights, self.alpha)
        self.selected_weights = copied(self.spec.trainable.state_dict())
        return self.alpha

    def load_base_weights(self) -> None:
        """Load the weights of the base, until `restore_working_weights` or `load_best_weights`."""
        self._store_working_weights()
        self.spec.trainable.load_state_dict(self.base_weights)

    def load_best_weights(self) -> None:
        """Load the weights that would be kept now; after `select_interpolation`, those that are."""
        self._store_working_weights()
        weights = self.selected_weights or self.best_weights or self._ema_weights()
        self.spec.trainable.load_state_dict(weights)

    def restore_working_weights(self) -> None:
        """Load the weights that are being trained again."""
        if self._working_weights is not None:
            self.spec.trainable.load_state_dict(self._working_weights)
            self._working_weights = None

    def _store_working_weights(self) -> None:
        if self._working_weights is None:
            self._working_weights = copied(self.spec.trainable.state_dict())

    def _training_step(self) -> None:
        rng_states = self._rng.bit_generator.state, self._generator.get_state()

        def add_gradient(count: int) -> dict[str, float]:
            self._rng.bit_generator.state = rng_states[0]
            self._generator.set_state(rng_states[1])
            self._training.forget_gradient()
            return self._gradient_of(self._sample_batch(count))

        for name, value in self._batch_size.attempt(add_gradient).items():
            self._losses.setdefault(name, []).append(value)
        self._training.set_learning_rate(self._learning_rate())
        self._training.update()
        self.step += 1
        self.images_in_steps += self._batch_size.rows

    def _learning_rate(self) -> float:
        config = self.config
        total_steps = self.steps or 10 * config.warmup
        return warmup_then_cosine(config.learning_rate, self.step, config.warmup, total_steps)

    def _sample_batch(self, count: int) -> EncodedPatches:
        """A batch of new patches and replay, shuffled, so that both are among those that are decoded."""
        replay_count = 0 if self.replay_train is None else round(count * self.config.replay_share)
        row_indices = torch.from_numpy(self._rng.integers(len(self.train_patches), size=count - replay_count))
        batch = self.train_patches.select(row_indices)
        if self.replay_train is not None and replay_count:
            row_indices = torch.from_numpy(self._rng.integers(len(self.replay_train), size=replay_count))
            batch = EncodedPatches.concatenate([batch, self.replay_train.select(row_indices)])
            batch = batch.select(torch.from_numpy(self._rng.permutation(len(batch))))
        return batch

    def _gradient_of(self, batch: EncodedPatches) -> dict[str, float]:
        device = self.compute.torch_device()
        decoded = max(1, round(self.config.decoded_share * len(batch)))
        with self.compute.autocast():
            terms = self.spec.loss(
                batch.features.to(device, torch.float32),
                batch.target.to(device, torch.float32),
                batch.masks.to(device, torch.float32),
                batch.annotated.to(device),
                self._generator,
                decoded,
            )
        penalty = None
        if self.config.towards_base:
            weights = zip(self._training.weights, self._base_parameters, strict=True)
            away = [(now - begun).square().sum() for now, begun in weights]
            penalty = self.config.towards_base * torch.stack(away).sum()
        return self._training.add_gradient(terms, penalty)

    def _plan_steps(self, seconds_per_step: float) -> None:
        """Set the number of steps from the time that is left, of which a fifth is for validations."""
        remaining_seconds = max(
            0.0,
            0.8
            * (self.budget_seconds - self.spent_seconds - _CLOSING_VALIDATIONS * self._validation_seconds),
        )
        self.steps = self.step + max(1, min(_MAX_STEPS, int(remaining_seconds / seconds_per_step)))
        self.validate_every = max(
            -(-self.steps // _VALIDATIONS_PER_RUN), math.ceil(4 * self._validation_seconds / seconds_per_step)
        )

    def _validate_average(self) -> ValidationResult:
        losses = {name: float(np.mean(values)) for name, values in self._losses.items()}
        self._losses = {}
        weights = self._ema_weights()
        with with_weights(self.spec.trainable, weights):
            validation = self._validate(losses)
        best = BestWeights(self.best_weights, self._selection_score(self.best_validation))
        # without validation patches the last weights are kept; they are averaged, and used by half
        if best.offer(weights, self._selection_score(validation), latest=self.validation_patches is None):
            self.best_weights, self.best_validation = best.weights, validation
        return validation

    def _selection_score(self, validation: ValidationResult | None) -> float:
        base_validation = self.base_validation
        if validation is None or validation.dsc is None:
            return 0.0
        replay_loss = 0.0
        if (
            validation.replay is not None
            and base_validation is not None
            and base_validation.replay is not None
        ):
            replay_loss = max(0.0, base_validation.replay - validation.replay - self.config.tolerated)
        return validation.dsc - replay_loss

    def _validate(self, losses: dict[str, float]) -> ValidationResult:
        return ValidationResult(self.step, *self._validation_scores(), losses, self.spent_seconds)

    def _validation_scores(self) -> tuple[float | None, float | None]:
        dsc_values = [
            None
            if patches is None or not len(patches)
            else score_patches(patches, self.spec, self.method, self.compute, self.threshold)[0]
            for patches in (self.validation_patches, self.replay_validation)
        ]
        return dsc_values[0], dsc_values[1]

    def _ema_weights(self) -> dict[str, Tensor]:
        """A copy of the exponential moving average of the weights."""
        return copied(self._ema_parameters.module.state_dict())

    def _load_interpolated(self, weights: Mapping[str, Tensor], alpha: float) -> None:
        interpolated = {
            name: (base + alpha * (weights[name] - base)) if base.is_floating_point() else weights[name]
            for name, base in self.base_weights.items()
        }
        # rounded as a model folder stores them, so that the model that is saved is scored
        self.spec.trainable.load_state_dict(
            {name: v.half().float() if v.is_floating_point() else v for name, v in interpolated.items()}
        )

    def snapshot(self) -> Snapshot:
        """The state, from which the fine-tuning is resumed."""
        tensors = add_prefix("now", self.spec.trainable.state_dict())
        tensors |= add_prefix(
            "average", {str(i): a for i, a in enumerate(self._ema_parameters.module.parameters())}
        )
        tensors |= add_prefix("kept", self.best_weights or {})
        for number, parameter_state in self._training.optimizer.state_dict()["state"].items():
            tensors |= add_prefix(
                f"optimizer.{number}", {k: torch.as_tensor(v) for k, v in parameter_state.items()}
            )
        tensors["random"] = self._generator.get_state()
        metadata = {
            "step": self.step,
            "steps": self.steps,
            "every": self.validate_every,
            "spent": self.spent_seconds,
            "batch": self._batch_size.rows,
            "order": self._rng.bit_generator.state,
            "kept": self.best_weights is not None,
            "base_look": _validation_to_dict(self.base_validation),
            "best": _validation_to_dict(self.best_validation),
            "losses": self._losses,
        }
        return Snapshot(tensors, metadata)

    def restore(self, checkpoint: Snapshot) -> None:
        """Load the state that `snapshot` gave.

        Raises
        ------
        BadInput
            If it is of another model or version of the program.
        """
        tensors, metadata = checkpoint.tensors, checkpoint.metadata
        try:
            self.spec.trainable.load_state_dict(strip_prefix("now", tensors))
            with torch.no_grad():
                for i, average in enumerate(self._ema_parameters.module.parameters()):
                    average.copy_(tensors[f"average.{i}"])
            self._ema_parameters.n_averaged.fill_(metadata["step"] + 1)
            if metadata["kept"]:
                current_weights = self.spec.trainable.state_dict()
                self.best_weights = {
                    k: v.to(current_weights[k].device) for k, v in strip_prefix("kept", tensors).items()
                }
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in strip_prefix("optimizer", tensors).items():
                number, _, key = name.partition(".")
                like_weight = self._training.weights[int(number)]
                has_weight_shape = value.shape == like_weight.shape and value.ndim > 0
                value = torch.empty_like(like_weight).copy_(value) if has_weight_shape else value
                state.setdefault(int(number), {})[key] = value
            groups = self._training.optimizer.state_dict()["param_groups"]
            self._training.optimizer.load_state_dict({"state": state, "param_groups": groups})
            self._generator.set_state(tensors["random"])
            self._rng.bit_generator.state = metadata["order"]
            self.step, self.steps, self.spent_seconds = metadata["step"], metadata["steps"], metadata["spent"]
            self.validate_every = metadata["every"]
            self._batch_size.rows, self._losses = metadata["batch"], metadata["losses"]
            self.base_validation, self.best_validation = (
                _validation_from_dict(metadata["base_look"]),
                _validation_from_dict(metadata["best"]),
            )
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            raise BadInput(
                "checkpoint", "does not fit this model", "begin again, without --resume"
            ) from error


def _validation_to_dict(validation: ValidationResult | None) -> dict[str, Any] | None:
    return (
        None
        if validation is None
        else {name: getattr(validation, name) for name in ValidationResult.__dataclass_fields__}
    )


def _validation_from_dict(values: dict[str, Any] | None) -> ValidationResult | None:
    return None if values is None else ValidationResult(**values)
