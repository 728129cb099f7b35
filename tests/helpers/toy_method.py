"""Small trainings: a toy method of two stages, and a tiny GMS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from napari_latentseg.methods.base import Batch, Method, Stage
from napari_latentseg.methods.noise import Noise
from napari_latentseg.training.config import TrainingConfig

TINY = {
    "preprocess": {"mode": "whole", "size": 32},
    "split": {"fraction": 0.3},
    "batch_size": 1,
    "epochs": 4,
    "warmup_epochs": 1,
    "schedule_by": "step",
    "learning_rate": 5e-3,
    "accumulate": 2,
    "ema_decay": 0.7,
    "clip_gradient": 1.0,
}
GMS = {"method": "gms", "settings": {"width": 16, "levels": ["out"], "conditioner": "trained"}}
TOY = {"method": "toy", "codec": None, "stages": {"second": {"epochs": 3}}}


class Plain(BaseModel):
    """No settings."""


class Toy(Method):
    """Two stages, dropout, a running mean, and memories outside its weights."""

    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy"
    paper: ClassVar[str] = "none"
    needs_codec: ClassVar[bool] = False
    stage_names: ClassVar[tuple[str, ...]] = ("first", "second")
    config_class: ClassVar[type[BaseModel]] = Plain
    brightness: Tensor

    def __init__(self, codec: None, config: Plain) -> None:
        super().__init__(codec, config)
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout2d(0.3))
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.PReLU(), nn.Conv2d(4, 1, 1))
        self.register_buffer("brightness", torch.zeros(1), persistent=False)
        self.weighting = 1.0
        self.latest: Tensor | None = None
        self.begun: list[str] = []

    @property
    def deviations_from_paper(self) -> str:
        return "a toy"

    @property
    def downsampling_factor(self) -> int:
        return 1

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        return nn.ModuleDict({"first": self.first, "second": self.second})

    def training_state(self) -> dict[str, Tensor]:
        return super().training_state() | {"weighting": torch.tensor(self.weighting, dtype=torch.float64)}

    def restore_training_state(self, state: dict[str, Tensor]) -> None:
        self.weighting = float(state["weighting"])
        super().restore_training_state({k: v for k, v in state.items() if k != "weighting"})

    def stages(self) -> list[Stage]:
        def begin(batches: Iterable[Batch]) -> None:
            self.begun.append("second")
            self.brightness = torch.stack([b.images.mean() for b in batches]).mean()[None]

        def after() -> dict[str, float]:
            assert self.latest is not None  # the last batch of an epoch is known when it ends
            self.weighting *= 0.9 + 0.1 * float(self.latest)
            self.latest = None
            return {"weighting": self.weighting}

        def judge(images: Tensor, masks: Tensor) -> Tensor:
            return self.first(images).mean(1, keepdim=True).sigmoid()

        return [
            Stage("first", nn.ModuleDict({"first": self.first}), self._early, validate=judge),
            Stage("second", nn.ModuleDict({"second": self.second}), self.loss, begin, after),
        ]

    def _early(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        found = self.first(batch.images + 0.1 * torch.randn(batch.images.shape, generator=generator))
        return {"early": (found.mean(1, keepdim=True) - batch.masks).square().mean()}

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        self.latest = batch.images.mean()
        dropped = nn.functional.dropout(self.first(batch.images - self.brightness), 0.2, self.training)
        return {"late": self.weighting * (self.second(dropped).sigmoid() - batch.masks).square().mean()}

    def encode(self, images: Tensor) -> Tensor:
        return self.first(images - self.brightness)

    def sample(self, condition: Tensor, noise: Noise | None = None) -> Tensor:
        return self.second(condition).sigmoid()


def config_of(changes: dict[str, Any]) -> TrainingConfig:
    return TrainingConfig.model_validate(TINY | changes)


def same_weights(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())
        for a, b in zip(one, other, strict=True)
    )
