"""GMS: Generative Medical Segmentation (Huo et al., AAAI 2025).

A frozen autoencoder turns the image and the mask into latents; the latent mapping model (LMM) learns the way
from the one to the other; the same autoencoder's decoder gives the mask. One pass, no noise: deterministic.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.methods.base import Batch, FineTuneSpec, Method, Noise
from napari_latentseg.methods.latent_matching import Level, MatchingConfig, matching_losses
from napari_latentseg.networks.efficientnet import PyramidConditioner
from napari_latentseg.networks.lmm import LatentMappingModel

__all__ = ["GMS", "GMSConfig"]


class GMSConfig(MatchingConfig):
    """What makes a GMS model; the defaults are the paper's. See also `MatchingConfig`.

    Attributes
    ----------
    classes
        How many there are; the paper has one. The mapper gives a latent for each, side by side in its
        channels, and each is decoded to a mask of its own.
    conditioner
        ``"frozen"``: the codec's own encoder, as published. ``"trained"``: a copy of it that is trained with
        the task, as SDSeg and Wave-GMS do; a model that has one is called a variant. ``"pyramid"``: the
        frozen encoder's latent, to which a trained pyramid over an ImageNet network is added, for targets
        that are found by the whole image more than by their texture.
    levels
        The paper's code trains three of the four.
    posterior_noise
        Noise on the image latent in training, in half of the steps: ``"official"`` as the paper's code does
        it (standard deviation not scaled), ``"scaled"``, or ``"none"``. Only where the codec has a posterior.
    """

    levels: tuple[Level, ...] = ("level2", "level1", "out")
    classes: int = Field(1, ge=1, le=254)
    conditioner: Literal["frozen", "trained", "pyramid"] = "frozen"
    posterior_noise: Literal["official", "scaled", "none"] = "official"


class GMS(Method):
    """Frozen codec, latent mapping model, frozen decoder.

    Parameters
    ----------
    codec
        The image tokenizer; the paper's is SD-VAE.
    config
        See `GMSConfig`.
    """

    name: ClassVar[str] = "gms"
    title: ClassVar[str] = "Generative Medical Segmentation"
    paper: ClassVar[str] = "Huo, Ouyang, Ourselin, Sparks: Generative Medical Segmentation. AAAI 2025"
    config_class: ClassVar[type[BaseModel]] = GMSConfig
    config: GMSConfig
    codec: Codec

    def __init__(self, codec: Codec, config: GMSConfig) -> None:
        super().__init__(codec.freeze(), config)
        self.mapper = LatentMappingModel(codec.channels * config.classes, codec.channels, config.width)
        self.conditioner: nn.Module | None = None
        if config.conditioner == "trained":
            self.conditioner = codec.trainable_encoder()
        elif config.conditioner == "pyramid":
            self.conditioner = PyramidConditioner(codec.channels)

    @property
    def deviations_from_paper(self) -> str:
        config, paper = self.config, GMSConfig()
        deviations = []
        if config.classes > 1:
            deviations.append(f"{config.classes} classes")
        if self.conditioner is not None:
            with_pyramid = " over an ImageNet network" if config.conditioner == "pyramid" else ""
            deviations.append(f"trained conditioner{with_pyramid}")
        deviations += config.deviations_from_paper()
        if self._adds_posterior_noise != (self.codec.has_posterior and self.conditioner is None):
            deviations.append("no posterior noise")
        elif self._adds_posterior_noise and config.posterior_noise != paper.posterior_noise:
            deviations.append(f"{config.posterior_noise} posterior noise")
        codec = self.codec
        if codec.kind != "kl":
            deviations.append(f"{codec.kind} codec in place of SD-VAE")
        elif (codec.channels, codec.downsampling_factor) != (4, 8):
            deviations.append(
                f"{codec.channels}-channel codec, 1:{codec.downsampling_factor}, in place of SD-VAE"
            )
        return ", ".join(deviations)

    @property
    def class_count(self) -> int:
        return self.config.classes

    @property
    def _adds_posterior_noise(self) -> bool:
        """Whether the image latent is given noise in training."""
        return self.config.posterior_noise != "none" and self.codec.has_posterior and self.conditioner is None

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        modules: dict[str, nn.Module] = {"mapper": self.mapper}
        if self.conditioner is not None:
            modules["conditioner"] = self.conditioner
        return nn.ModuleDict(modules)

    @property
    def size_multiple(self) -> int:
        return PyramidConditioner.FACTOR if self.config.conditioner == "pyramid" else self.downsampling_factor

    @property
    def pretrained_modules(self) -> dict[str, nn.Module]:
        conditioner = self.conditioner
        return (
            {"efficientnet-lite0": conditioner.backbone}
            if isinstance(conditioner, PyramidConditioner)
            else {}
        )

    def encode(self, images: Tensor) -> Tensor:
        """The image latent Z_I."""
        if self.config.conditioner == "trained" and self.conditioner is not None:
            latents: Tensor = self.conditioner(images)
            return latents
        with torch.no_grad():
            z = self.codec.encode(images)
        return z if self.conditioner is None else z + self.conditioner(images)

    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """The decoded masks; the same at every call, since GMS has no noise at test time."""
        mask_latents: Tensor = self.mapper(conditioning)["out"]
        masks = self.codec.decode_mask(self._split_classes(mask_latents))
        return masks.reshape(len(mask_latents), self.config.classes, *masks.shape[-2:])

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equation 5, summed over the supervised levels: matching in the latent, Dice in the pixels.

        Classes stand side by side as images do; what was not annotated is left out.
        """
        class_count = self.config.classes
        if batch.masks.shape[1] != class_count:
            expected_channels = "one channel" if class_count == 1 else f"{class_count} channels"
            raise ValueError(f"a mask has {expected_channels}, not {batch.masks.shape[1]}")
        annotated = slice(None) if batch.annotated is None else batch.annotated.flatten()
        masks = batch.masks.flatten(0, 1)[:, None][annotated]
        with torch.no_grad():
            target = self.codec.encode_mask(masks)
        z = self._encode_in_training(batch.images, generator)
        levels: dict[str, Tensor] = self.mapper(z, self.config.levels)
        predicted = {name: self._split_classes(level)[annotated] for name, level in levels.items()}
        return matching_losses(self.config, self.codec, predicted, target, masks)

    def fine_tune_spec(self) -> FineTuneSpec:
        """The end of the mapper learns, from what comes before it."""
        mapper = self.mapper
        return FineTuneSpec(
            mapper.last_block,
            mapper.encode_features,
            self._mask_latents,
            self._fine_tune_loss,
            self._fine_tune_sample,
        )

    def _mask_latents(self, masks: Tensor) -> Tensor:
        """The latents of the masks, side by side in the channels: `(B, K C, h, w)`."""
        latents = self.codec.encode_mask(masks.flatten(0, 1)[:, None])
        return latents.reshape(len(masks), -1, *latents.shape[-2:])

    def _fine_tune_loss(
        self,
        features: Tensor,
        target: Tensor,
        masks: Tensor,
        annotated: Tensor | None,
        generator: torch.Generator | None,
        decoded_count: int,
    ) -> dict[str, Tensor]:
        rows = slice(None) if annotated is None else annotated.flatten()
        predicted = {"out": self._split_classes(self.mapper.decode_features(features))[rows]}
        target_latents, class_masks = self._split_classes(target)[rows], masks.flatten(0, 1)[:, None][rows]
        return matching_losses(
            self.config,
            self.codec,
            predicted,
            target_latents,
            class_masks,
            decoded_count * self.config.classes,
        )

    def _fine_tune_sample(self, features: Tensor, noise: Noise | None = None) -> Tensor:
        masks = self.codec.decode_mask(self._split_classes(self.mapper.decode_features(features)))
        return masks.reshape(len(features), self.config.classes, *masks.shape[-2:])

    def _split_classes(self, latents: Tensor) -> Tensor:
        """`(B, K C, h, w)` to `(B K, C, h, w)`: the classes of an image follow each other."""
        per_class: Tensor = latents.unflatten(1, (self.config.classes, self.codec.channels))
        return per_class.flatten(0, 1)

    def _encode_in_training(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """The image latent, in half of the steps with noise; one coin a step, as the paper's code has it."""
        if not (self.training and self._adds_posterior_noise) or torch.rand((), generator=generator) < 0.5:
            return self.encode(images)
        with torch.no_grad():
            z, std = self.codec.posterior(images)
        assert std is not None  # the codec says that it has a posterior
        if self.config.posterior_noise == "official":
            std = std / self.codec.scale
        return z + std * torch.randn(z.shape, generator=generator).to(z)
