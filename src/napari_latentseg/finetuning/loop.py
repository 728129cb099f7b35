"""The steps of a fine-tuning, on pieces that were encoded once."""

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
from napari_latentseg.finetuning.plan import Look, Plan
from napari_latentseg.methods.base import Method, Tuning
from napari_latentseg.oom import BatchSize
from napari_latentseg.precision import Compute
from napari_latentseg.training.loop import BestWeights, TrainingStep, averaged, copied, with_weights
from napari_latentseg.training.pieces import Pieces
from napari_latentseg.training.schedule import warmup_then_cosine
from napari_latentseg.training.scoring import score_patches
from napari_latentseg.training.state import Saved, under, within

__all__ = ["Tuner"]

_LOOKS = 16  # at the most
_CLOSING = 4.5  # looks that settling takes: one a share, and some room
_MOST_STEPS = 4000


@dataclass
class Tuner:
    """Teaches the last part of a method, and keeps the best.

    Parameters
    ----------
    method, tuning
        What learns, in place.
    new, choose
        Pieces to learn, and to choose by.
    replay, replay_choose
        The same of the model's own training; None where it has none.
    compute
        Device and arithmetic.
    plan
        See there.
    seed
        Draws the batches and the losses' noise.
    threshold
        Where probabilities are cut.
    steps
        How many in all; settled from `seconds` after the first few where not given.
    seconds
        For steps and looks.
    stop
        Asked after every step.

    Attributes
    ----------
    kept
        The best weights so far.
    best
        Their look; that of the base until something was better.
    share
        How much of the way from the base is in the weights after `settle`.
    every
        Steps between two looks.
    learnt
        Whether any step was made.
    """

    method: Method
    tuning: Tuning
    new: Pieces
    choose: Pieces | None
    replay: Pieces | None
    replay_choose: Pieces | None
    compute: Compute
    plan: Plan
    seed: int
    threshold: float
    steps: int | None
    seconds: float
    stop: Callable[[], bool] = lambda: False
    kept: dict[str, Tensor] | None = field(init=False, default=None)
    base: dict[str, Tensor] = field(init=False)
    base_look: Look | None = field(init=False, default=None)
    best: Look | None = field(init=False, default=None)
    share: float = field(init=False, default=0.0)
    step: int = field(init=False, default=0)
    spent: float = field(init=False, default=0.0)
    stopped: bool = field(init=False, default=False)
    every: int = field(init=False, default=0)
    settled: dict[str, Tensor] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.method.requires_grad_(False).eval()
        self.tuning.parts.requires_grad_(True)
        parts = self.tuning.parts
        self.base = copied(parts.state_dict())
        self._begun = [p.detach().clone() for p in parts.parameters()]
        optimizer = torch.optim.AdamW(parts.parameters(), self.plan.learning_rate, weight_decay=0.0)
        self._average = averaged(parts, self.plan.average, from_start=True)
        self._training = TrainingStep(
            optimizer,
            parts,
            clip_gradient=1.0,
            average=self._average,
            name="fine-tuning",
            remedy="check the images for odd values",
        )
        self._rng = np.random.default_rng([self.seed, 1])
        self._generator = torch.Generator().manual_seed(self.seed)
        self._losses: dict[str, list[float]] = {}
        self._batch = BatchSize(self.plan.batch, "is too small to learn in")
        self._is_timed = self.steps is None
        self._dear = 0.0
        self._working: dict[str, Tensor] | None = None

    @property
    def learnt(self) -> bool:
        """Whether any step was made."""
        return self.step > 0

    def run(self) -> Generator[Look, None, None]:
        """Learn; yields a look at the base first, then one after another until the time is over."""
        clock = time.perf_counter() - self.spent
        if self.base_look is None:
            self.base_look = self.best = self._look({})
            self._dear = time.perf_counter() - clock
            yield self.base_look
        if self.steps is not None and not self.every:
            self.every = -(-self.steps // _LOOKS)
        measured: list[float] = []
        clock = time.perf_counter() - self.spent
        while not self.stopped and (self.steps is None or self.step < self.steps):
            begun = time.perf_counter()
            self._learn()
            now = time.perf_counter()
            measured.append(now - begun)
            self.spent = now - clock
            if self.steps is None and len(measured) == 8:
                self._settle_length(float(np.median(measured)))
            # on a machine that has become slower since the length was settled the closing looks fit in, too
            late = self._is_timed and self.spent > self.seconds - _CLOSING * self._dear
            self.stopped = self.stop()
            if self.stopped or late or self.step == self.steps or (self.every and not self.step % self.every):
                looking = time.perf_counter()
                look = self._looked()
                self._dear = max(self._dear, time.perf_counter() - looking)
                self.spent = time.perf_counter() - clock
                yield look
            if late:
                break

    def settle(self) -> float:
        """Put the best weights in place: as much of the way from the base to them as serves.

        Where nothing can be chosen by, half of the way; less where too much of the old would be lost.

        Returns
        -------
        float
            The share.
        """
        kept = self.kept or self._averaged()
        base = self.base_look
        found: list[tuple[float, float]] = []
        for share in self.plan.shares:
            if self.choose is None and share > 0.5:
                continue
            self._place(kept, share)
            dsc, replay = self._scores()
            lost = 0.0
            if replay is not None and base is not None and base.replay is not None:
                lost = max(0.0, base.replay - replay - self.plan.tolerated)
            worth = (share if dsc is None else dsc) - 4 * lost
            found.append((worth, share))
        # of shares that are as good, the smallest: it changes least
        best = max(worth for worth, _ in found)
        self.share = min(share for worth, share in found if worth >= best - 1e-4)
        self._place(kept, self.share)
        self.settled = copied(self.tuning.parts.state_dict())
        return self.share

    def show_base(self) -> None:
        """Put the base's weights in place, until `back_to_work` or `show_kept`."""
        self._put_aside()
        self.tuning.parts.load_state_dict(self.base)

    def show_kept(self) -> None:
        """Put in place what would be kept now; after `settle`, what is."""
        self._put_aside()
        weights = self.settled or self.kept or self._averaged()
        self.tuning.parts.load_state_dict(weights)

    def back_to_work(self) -> None:
        """Go on with the weights that learn."""
        if self._working is not None:
            self.tuning.parts.load_state_dict(self._working)
            self._working = None

    def _put_aside(self) -> None:
        if self._working is None:
            self._working = copied(self.tuning.parts.state_dict())

    def _learn(self) -> None:
        state = self._rng.bit_generator.state, self._generator.get_state()

        def add_gradient(count: int) -> dict[str, float]:
            self._rng.bit_generator.state = state[0]
            self._generator.set_state(state[1])
            self._training.forget_gradient()
            return self._gradient_of(self._drawn(count))

        for name, value in self._batch.attempt(add_gradient).items():
            self._losses.setdefault(name, []).append(value)
        self._training.set_learning_rate(self._rate())
        self._training.update()
        self.step += 1

    def _rate(self) -> float:
        plan = self.plan
        total = self.steps or 10 * plan.warmup
        return warmup_then_cosine(plan.learning_rate, self.step, plan.warmup, total)

    def _drawn(self, count: int) -> Pieces:
        """A batch; new pieces and the model's own in turn, so that both are among those that are decoded."""
        old = 0 if self.replay is None else round(count * self.plan.replay_share)
        rows = torch.from_numpy(self._rng.integers(len(self.new), size=count - old))
        batch = self.new.rows(rows)
        if self.replay is not None and old:
            rows = torch.from_numpy(self._rng.integers(len(self.replay), size=old))
            batch = Pieces.joined([batch, self.replay.rows(rows)])
            batch = batch.rows(torch.from_numpy(self._rng.permutation(len(batch))))
        return batch

    def _gradient_of(self, batch: Pieces) -> dict[str, float]:
        device = self.compute.torch_device()
        decoded = max(1, round(self.plan.decoded_share * len(batch)))
        with self.compute.autocast():
            terms = self.tuning.loss(
                batch.features.to(device, torch.float32),
                batch.target.to(device, torch.float32),
                batch.masks.to(device, torch.float32),
                batch.annotated.to(device),
                self._generator,
                decoded,
            )
        penalty = None
        if self.plan.towards_base:
            weights = zip(self._training.weights, self._begun, strict=True)
            away = [(now - begun).square().sum() for now, begun in weights]
            penalty = self.plan.towards_base * torch.stack(away).sum()
        return self._training.add_gradient(terms, penalty)

    def _settle_length(self, each: float) -> None:
        """How many steps the time allows, where a fifth of it goes into looks, and after how many to look."""
        left = max(0.0, 0.8 * (self.seconds - self.spent - _CLOSING * self._dear))
        self.steps = self.step + max(1, min(_MOST_STEPS, int(left / each)))
        self.every = max(-(-self.steps // _LOOKS), math.ceil(4 * self._dear / each))

    def _looked(self) -> Look:
        losses = {name: float(np.mean(values)) for name, values in self._losses.items()}
        self._losses = {}
        weights = self._averaged()
        with with_weights(self.tuning.parts, weights):
            look = self._look(losses)
        best = BestWeights(self.kept, self._worth(self.best))
        # with nothing to choose by, the last are kept: they are average, and go half of the way
        if best.offer(weights, self._worth(look), latest=self.choose is None):
            self.kept, self.best = best.weights, look
        return look

    def _worth(self, look: Look | None) -> float:
        base = self.base_look
        if look is None or look.dsc is None:
            return 0.0
        lost = 0.0
        if look.replay is not None and base is not None and base.replay is not None:
            lost = max(0.0, base.replay - look.replay - self.plan.tolerated)
        return look.dsc - lost

    def _look(self, losses: dict[str, float]) -> Look:
        return Look(self.step, *self._scores(), losses, self.spent)

    def _scores(self) -> tuple[float | None, float | None]:
        found = [
            None
            if pieces is None or not len(pieces)
            else score_patches(pieces, self.tuning, self.method, self.compute, self.threshold)[0]
            for pieces in (self.choose, self.replay_choose)
        ]
        return found[0], found[1]

    def _averaged(self) -> dict[str, Tensor]:
        """The weights, each in place of its average."""
        return copied(self._average.module.state_dict())

    def _place(self, weights: Mapping[str, Tensor], share: float) -> None:
        mixed = {
            name: (base + share * (weights[name] - base)) if base.is_floating_point() else weights[name]
            for name, base in self.base.items()
        }
        # as a model folder keeps them, so that what is judged is what is loaded later
        self.tuning.parts.load_state_dict(
            {name: v.half().float() if v.is_floating_point() else v for name, v in mixed.items()}
        )

    def saved(self) -> Saved:
        """Everything that the rest of it depends on."""
        tensors = under("now", self.tuning.parts.state_dict())
        tensors |= under("average", {str(i): a for i, a in enumerate(self._average.module.parameters())})
        tensors |= under("kept", self.kept or {})
        for number, each in self._training.optimizer.state_dict()["state"].items():
            tensors |= under(f"optimizer.{number}", {k: torch.as_tensor(v) for k, v in each.items()})
        tensors["random"] = self._generator.get_state()
        told = {
            "step": self.step,
            "steps": self.steps,
            "every": self.every,
            "spent": self.spent,
            "batch": self._batch.rows,
            "order": self._rng.bit_generator.state,
            "kept": self.kept is not None,
            "base_look": _told(self.base_look),
            "best": _told(self.best),
            "losses": self._losses,
        }
        return Saved(tensors, told)

    def go_on(self, saved: Saved) -> None:
        """Take up where `saved` was asked for.

        Raises
        ------
        BadInput
            Where it is of another model or of another version of the program.
        """
        tensors, told = saved.tensors, saved.told
        try:
            self.tuning.parts.load_state_dict(within("now", tensors))
            with torch.no_grad():
                for i, average in enumerate(self._average.module.parameters()):
                    average.copy_(tensors[f"average.{i}"])
            self._average.n_averaged.fill_(told["step"] + 1)
            if told["kept"]:
                like = self.tuning.parts.state_dict()
                self.kept = {k: v.to(like[k].device) for k, v in within("kept", tensors).items()}
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in within("optimizer", tensors).items():
                number, _, key = name.partition(".")
                like_weight = self._training.weights[int(number)]
                same = value.shape == like_weight.shape and value.ndim > 0
                value = torch.empty_like(like_weight).copy_(value) if same else value
                state.setdefault(int(number), {})[key] = value
            groups = self._training.optimizer.state_dict()["param_groups"]
            self._training.optimizer.load_state_dict({"state": state, "param_groups": groups})
            self._generator.set_state(tensors["random"])
            self._rng.bit_generator.state = told["order"]
            self.step, self.steps, self.spent = told["step"], told["steps"], told["spent"]
            self.every = told["every"]
            self._batch.rows, self._losses = told["batch"], told["losses"]
            self.base_look, self.best = _look_of(told["base_look"]), _look_of(told["best"])
        except (RuntimeError, LookupError, TypeError, ValueError) as error:
            raise BadInput(
                "checkpoint", "does not fit this model", "begin again, without --resume"
            ) from error


def _told(look: Look | None) -> dict[str, Any] | None:
    return None if look is None else {name: getattr(look, name) for name in Look.__dataclass_fields__}


def _look_of(told: dict[str, Any] | None) -> Look | None:
    return None if told is None else Look(**told)
