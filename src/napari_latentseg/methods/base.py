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

__all__ = ["Batch", "FineTuneSpec", "Method", "Noise", "Stage", "random_noise"]


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


def random_noise(generator: torch.Generator | None = None) -> Noise:
    """Noise that is drawn anew at every call, for training and trials."""

    def sample_noise(shape: tuple[int, ...], step: int = 0) -> Tensor:
        return torch.randn(shape, generator=generator)

    return sample_noise


@dataclass(frozen=True)
class Stage:
    """A part of a training, in which some of the weights learn by an objective of their own.

    Attributes
    ----------
    name
        As the configuration calls it; empty for a method with a single stage.
    trainable
        What learns; the rest stays as it is.
    loss
        The weighted terms of the objective, by name.
    on_start
        Called once before the stage, with batches of the images to learn from as they are, not varied.
    after_epoch
        Called after every epoch; gives what is worth a place in the log, by name.
    validate
        Gives probabilities `(B, K, H, W)` from images and masks, to be held against the masks; None for the
        method's own answer to the images.
    """

    name: str
    trainable: nn.ModuleDict
    loss: Callable[[Batch, torch.Generator | None], dict[str, Tensor]]
    on_start: Callable[[Iterable[Batch]], None] = field(default=lambda batches: None)
    after_epoch: Callable[[], dict[str, float]] = field(default=dict)
    validate: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class FineTuneSpec:
    """How a trained method is taught a little more: what learns, and what is computed beforehand, once.

    Attributes
    ----------
    trainable
        What learns: the end of the predictor. Everything before it stays as it is.
    cache_features
        From what `Method.encode` gave to what the parts begin from, a row an image.
    target
        From masks `(B, K, H, W)` to what they are aimed at, a row an image.
    loss
        The weighted terms of the objective, by name, from what `cache_features` and `target` gave, the masks
        `(B, K, H, W)`, `annotated` as in `Batch` or None, a generator, and how many rows of the batch, from
        the first, are held against their masks in the pixels too, which is dear.
    sample
        As `Method.sample`, from what `cache_features` gave.
    """

    trainable: nn.ModuleDict
    cache_features: Callable[[Tensor], Tensor]
    target: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor, Tensor, Tensor | None, torch.Generator | None, int], dict[str, Tensor]]
    sample: Callable[[Tensor, Noise | None], Tensor]


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
    sampling_sources
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
    sampling_sources: ClassVar[tuple[str, ...]] = ()
    is_deterministic: ClassVar[bool] = True
    needs_codec: ClassVar[bool] = True
    config_class: ClassVar[type[BaseModel]]

    def __init__(self, codec: Codec | None, config: BaseModel) -> None:
        super().__init__()
        self.codec = codec
        self.config = config

    @property
    @abstractmethod
    def deviations_from_paper(self) -> str:
        """What differs from the paper, in plain words; empty for the method as published."""

    @property
    def downsampling_factor(self) -> int:
        """Pixels for one position of the latent, along each side."""
        if self.codec is None:
            raise NotImplementedError(f"{type(self).__name__} has no codec, and must say its factor")
        return self.codec.downsampling_factor

    @property
    def size_multiple(self) -> int:
        """What the sides of an image must be multiples of."""
        return self.downsampling_factor

    @property
    def class_count(self) -> int:
        """How many classes it finds; K in `sample`."""
        return 1

    @property
    @abstractmethod
    def trainable_modules(self) -> nn.ModuleDict:
        """The parts whose weights belong to the model; the codec's own do not."""

    def available_sources(self, *, has_augmentation: bool = True, members: int = 1) -> tuple[str, ...]:
        """The sampling sources that a model of this method can offer; the first is the default.

        Parameters
        ----------
        has_augmentation
            Whether the training varied its images, within ranges that a test may vary them in too.
        members
            How many predictors the model has.
        """
        member_sources = ("members",) if members > 1 else ()
        if not self.is_deterministic:
            return (*self.sampling_sources, *member_sources)
        # what lies in a deterministic method is worth less than what varies the images
        return (*member_sources, *(("augment",) if has_augmentation else ()), *self.sampling_sources, "none")

    @property
    def pretrained_modules(self) -> dict[str, nn.Module]:
        """The trained parts that begin from weights that others published, by the name of those."""
        return {}

    def stages(self) -> list[Stage]:
        """What is trained, one after the other; the last stage gives the method its answer."""
        return [Stage("", self.trainable_modules, self.loss)]

    def fine_tune_spec(self) -> FineTuneSpec:
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
    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """One sample: probabilities `(B, K, H, W)` in [0, 1], from what `encode` gave.

        Parameters
        ----------
        conditioning
            From `encode`.
        noise
            What the sample is drawn with; None for the answer of a deterministic method without a source,
            and for noise drawn anew in the others.
        """

    def sample_classes(
        self, classes: Sequence[int], conditioning: Tensor, noise: Noise | None = None
    ) -> Tensor:
        """Some classes of a sample alone, `(B, len(classes), H, W)`; as in `sample`, but for rounding.

        Parameters
        ----------
        classes
            Their positions, from 0.
        conditioning, noise
            As for `sample`.
        """
        return self.sample(conditioning, noise)[:, list(classes)]

    def training_state(self) -> dict[str, Tensor]:
        """What a training needs to go on beside the weights, by name; here, the buffers kept out of these."""
        persistent_names = self.state_dict().keys()
        return {
            name: value
            for name, value in self.named_buffers()
            if name not in persistent_names and not name.startswith("codec.")
        }

    def restore_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `training_state` gave, on the device of the method."""
        for name, value in state.items():
            module_name, _, buffer_name = name.rpartition(".")
            self.get_submodule(module_name).register_buffer(buffer_name, value, persistent=False)

    def sample_many(
        self, images: Tensor, count: int, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """One sample after another, each `(B, K, H, W)` in [0, 1], of the method's own source if any."""
        conditioning = self.encode(images)
        for _ in range(count):
            yield self.sample(conditioning, random_noise(generator) if self.sampling_sources else None)

    def train(self, mode: bool = True) -> Method:
        """Set the trained parts to training; the codec stays in evaluation."""
        super().train(mode)
        if self.codec is not None:
            self.codec.eval()
        return self
