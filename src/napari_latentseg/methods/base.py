"""The interface of every method; training, inference and widgets know the papers only through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.noise import Noise, random_noise
from napari_latentseg.networks.folded_masks import FoldedMasks

__all__ = [
    "Batch",
    "FineTuneSpec",
    "Method",
    "Reconstruction",
    "Stage",
]


@dataclass(frozen=True)
class Batch:
    """Annotated images for a training step.

    Attributes
    ----------
    images
        `(B, 3, H, W)`, float32 in [0, 1].
    masks
        `(B, K, H, W)` in {0, 1}, one channel per class; classes may overlap.
    annotated
        `(B, K)`, bool: whether a class was annotated in the data set an image comes from; None where all
        classes were. A class that was not annotated is unknown there, not background, and takes no part in
        the loss.
    whole_annotated
        Where several processes share a batch, `annotated` of all of it, on the CPU; otherwise None.
    """

    images: Tensor
    masks: Tensor
    annotated: Tensor | None = None
    whole_annotated: Tensor | None = None


@dataclass(frozen=True)
class Reconstruction:
    """Images and masks that were encoded and decoded.

    Attributes
    ----------
    images, given_images
        The decoded images, and the images as the autoencoder was given them: `(B, C, H, W)` in [0, 1], grey
        where it sees grey ones.
    masks
        The decoded probabilities, `(B, K, H, W)` in [0, 1].
    """

    images: Tensor
    given_images: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Stage:
    """One stage of a training: some of the weights are trained with an objective of their own.

    Attributes
    ----------
    name
        As the training configuration calls it (``"autoencoders"``, ``"diffusion"``); empty for a method with
        a single stage.
    trainable
        The modules that are trained; all other weights stay fixed.
    loss
        From a batch and a random generator to the weighted terms of the objective, by name (each a scalar).
    on_start
        Called once before the stage, with batches of the training images without augmentation.
    after_epoch
        Called after every epoch; returns further columns of the training log, by name.
    validate
        From images `(B, 3, H, W)` and masks `(B, K, H, W)` to probabilities `(B, K, H, W)` that are compared
        with the masks; None to compare the method's own prediction. An autoencoder is validated by its
        reconstruction.
    """

    name: str
    trainable: nn.ModuleDict
    loss: Callable[[Batch, torch.Generator | None], dict[str, Tensor]]
    on_start: Callable[[Iterable[Batch]], None] = field(default=lambda batches: None)
    after_epoch: Callable[[], dict[str, float]] = field(default=dict)
    validate: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class FineTuneSpec:
    """How a trained method is fine-tuned on a few images: the trained layers, and what is cached per image.

    Only the last layers are trained. Their input and the latents of the masks are computed once per image and
    kept, so that a step runs the last layers alone.

    Attributes
    ----------
    trainable
        The last layers of the predictor; all weights before them stay fixed.
    cache_features
        From the output of `Method.encode` to the input of the trained layers, `(B, ...)`.
    encode_masks
        From masks `(B, K, H, W)` in {0, 1} to the target latents, `(B, ...)`.
    loss
        From features (of `cache_features`), target latents (of `encode_masks`), masks `(B, K, H, W)`,
        `annotated` (as in `Batch`, or None), a random generator and `decoded_count` to the weighted terms of
        the objective, by name. Only the first `decoded_count` images of the batch are decoded for the pixel
        losses, where decoding is slow.
    sample
        As `Method.sample`, but from the features of `cache_features`.
    """

    trainable: nn.ModuleDict
    cache_features: Callable[[Tensor], Tensor]
    encode_masks: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor, Tensor, Tensor | None, torch.Generator | None, int], dict[str, Tensor]]
    sample: Callable[[Tensor, Noise | None], Tensor]


class Method(nn.Module, ABC):
    """A segmentation method: codec, image encoder (conditioner), predictor and sampling process of one paper.

    Parameters
    ----------
    codec
        The pretrained autoencoder, which stays frozen; None for a method that trains its own.
    config
        The method's settings, of its `config_class`.

    Attributes
    ----------
    name
        The key of the method in model cards and configurations.
    title, paper
        Name and reference to show.
    sampling_sources
        Sources of randomness inside the method: the ``"noise"`` of a diffusion, or a learned ``"posterior"``.
        The sources ``"augment"`` (test-time augmentation), ``"members"`` (ensemble members) and
        ``"members-augment"`` (both) work with any method.
    is_deterministic
        Whether `sample` without noise gives the same prediction every time.
    needs_codec
        Whether it is built on a pretrained codec.
    network_functions
        Names of the methods in which its networks run in a prediction. Each maps tensors to a tensor, or to a
        tuple of them, in the same way for every value and batch size, so that an engine can compile it.
    predictor_parts
        Which of `trainable_modules` are the predictor, which works on what `encode` gives. Members of a model
        may share everything else. Empty where the predictor cannot be trained apart.
    takes_prompts
        Whether it segments what is pointed at, and nothing without prompts.
    stage_names
        The names of its `stages`; empty for a method with a single stage, which has no name.
    config_class
        The pydantic model of its settings.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    sampling_sources: ClassVar[tuple[str, ...]] = ()
    is_deterministic: ClassVar[bool] = True
    takes_prompts: ClassVar[bool] = False
    stage_names: ClassVar[tuple[str, ...]] = ()
    needs_codec: ClassVar[bool] = True
    network_functions: ClassVar[tuple[str, ...]] = ()
    predictor_parts: ClassVar[tuple[str, ...]] = ()
    config_class: ClassVar[type[BaseModel]]

    def __init__(self, codec: Codec | None, config: BaseModel) -> None:
        super().__init__()
        self.codec = codec
        self.config = config

    @property
    @abstractmethod
    def deviations_from_paper(self) -> str:
        """What differs from the paper, in words, comma-separated; empty for the published method."""

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent position along each side, e.g. 8."""
        if self.codec is None:
            raise NotImplementedError(
                f"{type(self).__name__} has no codec and must define downsampling_factor"
            )
        return self.codec.downsampling_factor

    @property
    def float32_functions(self) -> tuple[str, ...]:
        """Those of `network_functions` that never run in half precision; see `Diffusion.needs_float32`."""
        return ()

    @property
    def size_multiple(self) -> int:
        """Height and width of an image in pixels must be multiples of this."""
        return self.downsampling_factor

    @property
    def class_count(self) -> int:
        """Number of classes K that it segments, without background."""
        return 1

    @property
    def result_class_count(self) -> int:
        """The number of classes of its results: one where it is pointed at, whatever it learned from."""
        return 1 if self.takes_prompts else self.class_count

    @property
    @abstractmethod
    def trainable_modules(self) -> nn.ModuleDict:
        """The modules whose weights are saved with the model, by name; not a pretrained codec."""

    @property
    def predictor_modules(self) -> nn.ModuleDict:
        """The modules of `predictor_parts`, by name: what a member has of its own if it shares the rest."""
        modules = self.trainable_modules
        return nn.ModuleDict({name: modules[name] for name in self.predictor_parts})

    def predictor_stage(self) -> Stage:
        """The training of the predictor alone: the last stage, on what the other parts give already."""
        return replace(self.stages()[-1], trainable=self.predictor_modules, on_start=lambda batches: None)

    def share_conditioning(self, first: Method) -> None:
        """Use the codec and all trained parts but the predictor of another member: the same modules.

        Parameters
        ----------
        first
            Of the same method and settings.
        """
        self.codec = first.codec
        for name, module in first.trainable_modules.items():
            if name not in self.predictor_parts:
                setattr(self, name, module)

    def available_sources(
        self, *, has_augmentation: bool = True, members: int = 1, collapsed: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """The sampling sources that a model of this method can offer; the first is the default.

        Parameters
        ----------
        has_augmentation
            Whether the model was trained with augmentation; test-time augmentation then uses the same ranges.
        members
            Number of ensemble members of the model.
        collapsed
            Sources of the method's own whose samples are as good as equal, which are left out. A method that
            cannot predict without its source keeps it.
        """
        member_sources: tuple[str, ...] = ("members",) if members > 1 else ()
        if members > 1 and has_augmentation and self.is_deterministic:
            # augmented first: its Dice and Brier score are better than those of one pass of each member, and
            # its samples' own intervals hold about as often (docs/benchmarks/uncertainty.md)
            member_sources = ("members-augment", "members")
        if not self.is_deterministic:
            return (*self.sampling_sources, *member_sources)
        own_sources = [source for source in self.sampling_sources if source not in collapsed]
        # The posterior of a method that also predicts without it (Wave-GMS) is nearly a point, and its
        # samples hardly differ (docs/methods.md): augmentation tells more about the uncertainty.
        return (*member_sources, *(("augment",) if has_augmentation else ()), *own_sources, "none")

    @property
    def pretrained_modules(self) -> dict[str, nn.Module]:
        """The modules that are initialised from published weights, by the name of those weights."""
        return {}

    @property
    def mask_codec(self) -> Codec | FoldedMasks | None:
        """The autoencoder of masks: for most methods the codec, where they have one."""
        return self.codec

    def stages(self) -> list[Stage]:
        """The stages of its training, in order; the last one trains the predictor."""
        return [Stage("", self.trainable_modules, self.loss)]

    def reconstruct(self, images: Tensor, masks: Tensor) -> Reconstruction:
        """Images and masks after its autoencoders have encoded and decoded them.

        Parameters
        ----------
        images, masks
            As in `Batch`.
        """
        codec, mask_codec = self.codec, self.mask_codec
        if codec is None or mask_codec is None:
            raise NotImplementedError(f"{type(self).__name__} has no codec and must define reconstruct")
        decoded = [
            mask_codec.decode_mask(mask_codec.encode_mask(masks[:, k, None])) for k in range(masks.shape[1])
        ]
        return Reconstruction(
            codec.decode(codec.encode(images)).clamp(0, 1), images, torch.cat(decoded, dim=1)
        )

    def fine_tune_spec(self) -> FineTuneSpec:
        """How it is fine-tuned on a few images.

        Raises
        ------
        BadInput
            If the method has no way to be fine-tuned.
        """
        raise BadInput("method", f"{self.name} cannot be fine-tuned", "train a new model")

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """The weighted terms of the last stage's objective, by name, each a scalar; their sum is minimised.

        Parameters
        ----------
        batch
            Images and masks; see `Batch`.
        generator
            Of the CPU, for noise and timesteps; torch's global one where not given.
        """

    def loss_row_count(self, annotated: Tensor) -> int:
        """The number of rows, all of the same weight, that the terms of the loss are means of.

        Several processes weight the loss of their shares of a batch by it.

        Parameters
        ----------
        annotated
            `(B, K)`, as in `Batch`.
        """
        return len(annotated)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """The conditioning: what is computed once per image, whatever the number of samples.

        Parameters
        ----------
        images
            `(B, 3, H, W)` in [0, 1]; H and W multiples of `size_multiple`.

        Returns
        -------
        Tensor
            `(B, C, H/f, W/f)` with the `downsampling_factor` f; C depends on the method.
        """

    @abstractmethod
    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """One sample of the segmentation.

        Parameters
        ----------
        conditioning
            From `encode`.
        noise
            The random numbers of the sample. None means the prediction without noise for a deterministic
            method, and fresh noise for a diffusion.

        Returns
        -------
        Tensor
            Probabilities `(B, K, H, W)` in [0, 1]; classes may overlap.
        """

    def sample_classes(
        self, classes: Sequence[int], conditioning: Tensor, noise: Noise | None = None
    ) -> Tensor:
        """Only some classes of a sample, `(B, len(classes), H, W)` in [0, 1].

        They equal those of `sample` but for rounding.

        Parameters
        ----------
        classes
            Indices of the classes, from 0.
        conditioning, noise
            As for `sample`.
        """
        return self.sample(conditioning, noise)[:, list(classes)]

    def training_state(self) -> dict[str, Tensor]:
        """What a resumed training needs beside the weights: the buffers not saved with them."""
        persistent_names = self.state_dict().keys()
        return {
            name: value
            for name, value in self.named_buffers()
            if name not in persistent_names and not name.startswith("codec.")
        }

    def restore_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `training_state` returned; the tensors must be on the device of the method."""
        for name, value in state.items():
            module_name, _, buffer_name = name.rpartition(".")
            self.get_submodule(module_name).register_buffer(buffer_name, value, persistent=False)

    def sample_many(
        self, images: Tensor, count: int, generator: torch.Generator | None = None
    ) -> Iterator[Tensor]:
        """Several samples, each `(B, K, H, W)` in [0, 1]; random if the method has a sampling source.

        Parameters
        ----------
        images
            As for `encode`.
        count
            Number of samples.
        generator
            Of the CPU; torch's global one where not given.
        """
        conditioning = self.encode(images)
        for _ in range(count):
            yield self.sample(conditioning, random_noise(generator) if self.sampling_sources else None)

    def train(self, mode: bool = True) -> Method:
        """Set the trained modules to training mode; the frozen codec stays in evaluation mode."""
        super().train(mode)
        if self.codec is not None:
            self.codec.eval()
        return self
