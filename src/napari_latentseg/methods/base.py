"""What every method offers to the rest; nothing above can tell the papers apart but by this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput

__all__ = ["Batch", "Method", "Noise", "Stage", "Tuning", "fresh_noise"]


@dataclass(frozen=True)
class Batch:
    """Annotated images for a training step.

    Attributes
    ----------
    images
        `(B, 3, H, W)` in [0, 1].
    masks
        `(B, K, H, W)` in {0, 1}; classes may overlap.
    annotated
        `(B, K)`, whether a class was looked for in an image at all; None where all were. What was not
        annotated is not background.
    """

    images: Tensor
    masks: Tensor
    annotated: Tensor | None = None


class Noise(Protocol):
    """Standard normal noise for one sample: asked for by shape and step, the same at every call."""

    def __call__(self, shape: tuple[int, ...], step: int = 0) -> Tensor:
        """Noise of the shape `(B, C, h, w)` on the CPU, float32; another for every step."""


def fresh_noise(generator: torch.Generator | None = None) -> Noise:
    """Noise that is drawn anew at every call, for training and trials."""

    def draw(shape: tuple[int, ...], step: int = 0) -> Tensor:
        return torch.randn(shape, generator=generator)

    return draw


@dataclass(frozen=True)
class Stage:
    """A part of a training, in which some of the weights learn by an objective of their own.

    Attributes
    ----------
    name
        As the configuration calls it; empty for a method with a single stage.
    parts
        What learns; the rest stays as it is.
    loss
        The weighted terms of the objective, by name.
    begin
        Called once before the stage, with batches of the images to learn from as they are, not varied.
    after_epoch
        Called after every epoch; gives what is worth a place in the log, by name.
    judge
        Gives probabilities `(B, K, H, W)` from images and masks, to be held against the masks; None for the
        method's own answer to the images.
    """

    name: str
    parts: nn.ModuleDict
    loss: Callable[[Batch, torch.Generator | None], dict[str, Tensor]]
    begin: Callable[[Iterable[Batch]], None] = field(default=lambda batches: None)
    after_epoch: Callable[[], dict[str, float]] = field(default=dict)
    judge: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Tuning:
    """How a trained method is taught a little more: what learns, and what is computed beforehand, once.

    Attributes
    ----------
    parts
        What learns: the end of the predictor. Everything before it stays as it is.
    prepare
        From what `Method.encode` gave to what the parts begin from, a row an image.
    target
        From masks `(B, K, H, W)` to what they are aimed at, a row an image.
    loss
        The weighted terms of the objective, by name, from what `prepare` and `target` gave, the masks
        `(B, K, H, W)`, `annotated` as in `Batch` or None, a generator, and how many rows of the batch, from
        the first, are held against their masks in the pixels too, which is dear.
    draw
        As `Method.draw`, from what `prepare` gave.
    """

    parts: nn.ModuleDict
    prepare: Callable[[Tensor], Tensor]
    target: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor, Tensor, Tensor | None, torch.Generator | None, int], dict[str, Tensor]]
    draw: Callable[[Tensor, Noise | None], Tensor]


class Method(nn.Module, ABC):
    """A paper's composition of codecs, a conditioner, a predictor and a process.

    Parameters
    ----------
    codec
        The frozen autoencoder that comes from elsewhere; None for a method that trains its own.
    config
        The method's settings.

    Attributes
    ----------
    name
        The key of the method, as a card says it.
    title, paper
        For people.
    own_sources
        Sampling sources that lie in the method itself: ``"noise"`` of a diffusion, or a learned
        ``"posterior"``. ``"augment"`` and ``"members"`` are made around it.
    is_deterministic
        Whether, without any source, it gives the same answer every time.
    needs_codec
        Whether it is built on a codec that comes from elsewhere.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    own_sources: ClassVar[tuple[str, ...]] = ()
    is_deterministic: ClassVar[bool] = True
    needs_codec: ClassVar[bool] = True
    config_class: ClassVar[type[BaseModel]]

    def __init__(self, codec: Codec | None, config: BaseModel) -> None:
        super().__init__()
        self.codec = codec
        self.config = config

    @property
    @abstractmethod
    def variant(self) -> str:
        """What differs from the paper, in plain words; empty for the method as published."""

    @property
    def factor(self) -> int:
        """Pixels for one position of the latent, along each side."""
        if self.codec is None:
            raise NotImplementedError(f"{type(self).__name__} has no codec, and must say its factor")
        return self.codec.factor

    @property
    def size_multiple(self) -> int:
        """What the sides of an image must be multiples of."""
        return self.factor

    @property
    def class_count(self) -> int:
        """How many classes it finds; K in `draw`."""
        return 1

    @property
    @abstractmethod
    def trained(self) -> nn.ModuleDict:
        """The parts whose weights belong to the model; the codec's own do not."""

    def sources(self, *, varied: bool = True, members: int = 1) -> tuple[str, ...]:
        """The sampling sources that a model of this method can offer; the first is the default.

        Parameters
        ----------
        varied
            Whether the training varied its images, within ranges that a test may vary them in too.
        members
            How many predictors the model has.
        """
        several = ("members",) if members > 1 else ()
        if not self.is_deterministic:
            return (*self.own_sources, *several)
        # what lies in a deterministic method is worth less than what varies the images
        return (*several, *(("augment",) if varied else ()), *self.own_sources, "none")

    @property
    def published_parts(self) -> dict[str, nn.Module]:
        """The trained parts that begin from weights that others published, by the name of those."""
        return {}

    def stages(self) -> list[Stage]:
        """What is trained, one after the other; the last stage gives the method its answer."""
        return [Stage("", self.trained, self.loss)]

    def tuning(self) -> Tuning:
        """How it is taught a little more.

        Raises
        ------
        BadInput
            Where the method offers no way.
        """
        raise BadInput("method", f"{self.name} cannot be taught from a few images", "train a new model")

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weighted terms of the last stage's objective, by name; their sum is what is minimised."""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """What is computed once of an image, whatever the number of samples; one row an image.

        Parameters
        ----------
        images
            `(B, 3, H, W)` in [0, 1]; H and W multiples of `size_multiple`.
        """

    @abstractmethod
    def draw(self, condition: Tensor, noise: Noise | None = None) -> Tensor:
        """One sample: probabilities `(B, K, H, W)` in [0, 1], from what `encode` gave.

        Parameters
        ----------
        condition
            From `encode`.
        noise
            What the sample is drawn with; None for the answer of a deterministic method without a source,
            and for noise drawn anew in the others.
        """

    def draw_only(self, classes: Sequence[int], condition: Tensor, noise: Noise | None = None) -> Tensor:
        """Some classes of a sample alone, `(B, len(classes), H, W)`; as in `draw`, but for rounding.

        Parameters
        ----------
        classes
            Their positions, from 0.
        condition, noise
            As for `draw`.
        """
        return self.draw(condition, noise)[:, list(classes)]

    def training_state(self) -> dict[str, Tensor]:
        """What a training needs to go on beside the weights, by name; here, the buffers kept out of these."""
        kept = self.state_dict().keys()
        return {
            name: value
            for name, value in self.named_buffers()
            if name not in kept and not name.startswith("codec.")
        }

    def restore_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `training_state` gave, on the device of the method."""
        for name, value in state.items():
            owner, _, leaf = name.rpartition(".")
            self.get_submodule(owner).register_buffer(leaf, value, persistent=False)

    def sample(self, images: Tensor, n: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
        """One sample after another, each `(B, K, H, W)` in [0, 1], of the method's own source if any."""
        condition = self.encode(images)
        for _ in range(n):
            yield self.draw(condition, fresh_noise(generator) if self.own_sources else None)

    def train(self, mode: bool = True) -> Method:
        """Set the trained parts to training; the codec stays in evaluation."""
        super().train(mode)
        if self.codec is not None:
            self.codec.eval()
        return self
