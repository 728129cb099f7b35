"""What every method offers to the rest; nothing above can tell the papers apart but by this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec

__all__ = ["Batch", "Method"]


@dataclass(frozen=True)
class Batch:
    """Annotated images for a training step.

    Attributes
    ----------
    images
        `(B, 3, H, W)` in [0, 1].
    masks
        `(B, K, H, W)` in {0, 1}.
    """

    images: Tensor
    masks: Tensor


class Method(nn.Module, ABC):
    """A paper's composition of a codec, a conditioner, a predictor and a process.

    Attributes
    ----------
    name
        The key of the method, as a card says it.
    title, paper
        For people.
    own_sources
        Sampling sources that lie in the method itself (``"noise"``); ``"augment"`` and ``"members"`` are made
        around it, and every method has them.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    own_sources: ClassVar[tuple[str, ...]] = ()
    config_class: ClassVar[type[BaseModel]]

    def __init__(self, codec: Codec, config: BaseModel) -> None:
        super().__init__()
        self.codec = codec
        self.config = config

    @property
    @abstractmethod
    def variant(self) -> str:
        """What differs from the paper, in plain words; empty for the method as published."""

    @property
    def class_count(self) -> int:
        """How many classes it finds; K in `draw`."""
        return 1

    @property
    @abstractmethod
    def trained(self) -> nn.ModuleDict:
        """The parts whose weights belong to the model; the codec's own do not."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weighted terms of the objective, by name; their sum is what is minimised."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """What is computed once of an image, whatever the number of samples.

        Parameters
        ----------
        images
            `(B, 3, H, W)` in [0, 1]; H and W multiples of the codec's factor.
        """

    @abstractmethod
    def draw(self, condition: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One sample: probabilities `(B, K, H, W)` in [0, 1], from what `encode` gave."""

    def sample(self, images: Tensor, n: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """One sample after another, each `(B, K, H, W)` in [0, 1]."""
        condition = self.encode(images)
        for _ in range(n):
            yield self.draw(condition, generator)

    def parameter_counts(self) -> dict[str, int]:
        """The number of parameters of each part, the frozen codec's among them."""
        counts = {name: _count(part) for name, part in self.trained.items()}
        counts["codec (frozen)"] = _count(self.codec)
        return counts

    def train(self, mode: bool = True) -> Method:
        """Set the trained parts to training; the codec stays in evaluation."""
        super().train(mode)
        self.codec.eval()
        return self

    def describe(self) -> dict[str, Any]:
        """Name, title, paper, variant and sources, for lists and cards."""
        return {
            "name": self.name,
            "title": self.title,
            "paper": self.paper,
            "variant": self.variant,
            "sources": list(self.own_sources),
        }


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
