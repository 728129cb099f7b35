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
from napari_latentseg.methods.base import Batch, Method, Noise, Tuning
from napari_latentseg.methods.matching import Level, MatchingConfig, matching_terms
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
            self.conditioner = codec.encoder_copy()
        elif config.conditioner == "pyramid":
            self.conditioner = PyramidConditioner(codec.channels)

    @property
    def variant(self) -> str:
        config, paper = self.config, GMSConfig()
        found = []
        if config.classes > 1:
            found.append(f"{config.classes} classes")
        if self.conditioner is not None:
            with_pyramid = " over an ImageNet network" if config.conditioner == "pyramid" else ""
            found.append(f"trained conditioner{with_pyramid}")
        found += config.differences()
        if self._is_disturbed != (self.codec.has_posterior and self.conditioner is None):
            found.append("no posterior noise")
        elif self._is_disturbed and config.posterior_noise != paper.posterior_noise:
            found.append(f"{config.posterior_noise} posterior noise")
        codec = self.codec
        if codec.kind != "kl":
            found.append(f"{codec.kind} codec in place of SD-VAE")
        elif (codec.channels, codec.factor) != (4, 8):
            found.append(f"{codec.channels}-channel codec, 1:{codec.factor}, in place of SD-VAE")
        return ", ".join(found)

    @property
    def class_count(self) -> int:
        return self.config.classes

    @property
    def _is_disturbed(self) -> bool:
        """Whether the image latent is given noise in training."""
        return self.config.posterior_noise != "none" and self.codec.has_posterior and self.conditioner is None

    @property
    def trained(self) -> nn.ModuleDict:
        parts: dict[str, nn.Module] = {"mapper": self.mapper}
        if self.conditioner is not None:
            parts["conditioner"] = self.conditioner
        return nn.ModuleDict(parts)

    @property
    def size_multiple(self) -> int:
        return PyramidConditioner.FACTOR if self.config.conditioner == "pyramid" else self.factor

    @property
    def published_parts(self) -> dict[str, nn.Module]:
        found = self.conditioner
        return {"efficientnet-lite0": found.backbone} if isinstance(found, PyramidConditioner) else {}

    def encode(self, images: Tensor) -> Tensor:
        """The image latent Z_I."""
        if self.config.conditioner == "trained" and self.conditioner is not None:
            found: Tensor = self.conditioner(images)
            return found
        with torch.no_grad():
            z = self.codec.encode(images)
        return z if self.conditioner is None else z + self.conditioner(images)

    def draw(self, condition: Tensor, noise: Noise | None = None) -> Tensor:
        """The decoded masks; the same at every call, since GMS has no noise at test time."""
        level: Tensor = self.mapper(condition)["out"]
        masks = self.codec.decode_mask(self._by_class(level))
        return masks.reshape(len(level), self.config.classes, *masks.shape[-2:])

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equation 5, summed over the supervised levels: matching in the latent, Dice in the pixels.

        Classes stand side by side as images do; what was not annotated is left out.
        """
        count = self.config.classes
        if batch.masks.shape[1] != count:
            wanted = "one channel" if count == 1 else f"{count} channels"
            raise ValueError(f"a mask has {wanted}, not {batch.masks.shape[1]}")
        annotated = slice(None) if batch.annotated is None else batch.annotated.flatten()
        masks = batch.masks.flatten(0, 1)[:, None][annotated]
        with torch.no_grad():
            target = self.codec.encode_mask(masks)
        z = self._encode_in_training(batch.images, generator)
        levels: dict[str, Tensor] = self.mapper(z, self.config.levels)
        found = {name: self._by_class(level)[annotated] for name, level in levels.items()}
        return matching_terms(self.config, self.codec, found, target, masks)

    def tuning(self) -> Tuning:
        """The end of the mapper learns, from what comes before it."""
        mapper = self.mapper
        return Tuning(mapper.last, mapper.front, self._target, self._tuning_loss, self._tuning_draw)

    def _target(self, masks: Tensor) -> Tensor:
        """The latents of the masks, side by side in the channels: `(B, K C, h, w)`."""
        latents = self.codec.encode_mask(masks.flatten(0, 1)[:, None])
        return latents.reshape(len(masks), -1, *latents.shape[-2:])

    def _tuning_loss(
        self,
        features: Tensor,
        target: Tensor,
        masks: Tensor,
        annotated: Tensor | None,
        generator: torch.Generator | None,
        decoded: int,
    ) -> dict[str, Tensor]:
        rows = slice(None) if annotated is None else annotated.flatten()
        found = {"out": self._by_class(self.mapper.back(features))[rows]}
        wanted, flat = self._by_class(target)[rows], masks.flatten(0, 1)[:, None][rows]
        return matching_terms(self.config, self.codec, found, wanted, flat, decoded * self.config.classes)

    def _tuning_draw(self, features: Tensor, noise: Noise | None = None) -> Tensor:
        masks = self.codec.decode_mask(self._by_class(self.mapper.back(features)))
        return masks.reshape(len(features), self.config.classes, *masks.shape[-2:])

    def _by_class(self, latents: Tensor) -> Tensor:
        """`(B, K C, h, w)` to `(B K, C, h, w)`: the classes of an image follow each other."""
        apart: Tensor = latents.unflatten(1, (self.config.classes, self.codec.channels))
        return apart.flatten(0, 1)

    def _encode_in_training(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """The image latent, in half of the steps with noise; one coin a step, as the paper's code has it."""
        if not (self.training and self._is_disturbed) or torch.rand((), generator=generator) < 0.5:
            return self.encode(images)
        with torch.no_grad():
            z, std = self.codec.posterior(images)
        assert std is not None  # the codec says that it has a posterior
        if self.config.posterior_noise == "official":
            std = std / self.codec.scale
        return z + std * torch.randn(z.shape, generator=generator).to(z)
