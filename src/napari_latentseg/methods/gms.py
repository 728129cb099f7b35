"""GMS: Generative Medical Segmentation (Huo et al., AAAI 2025).

A frozen autoencoder encodes the image and the mask; the latent mapping model (LMM) is trained to predict the
latent of the mask from that of the image, and the frozen decoder turns it into the mask. A prediction is one
pass without noise, so it is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.methods.base import Batch, FineTuneSpec
from napari_latentseg.methods.deviations import codec_deviation, join_deviations
from napari_latentseg.methods.latent_matching import Level, MatchingConfig, MatchingMethod, matching_losses
from napari_latentseg.methods.noise import Noise
from napari_latentseg.networks.efficientnet import Backbone, PyramidConditioner

__all__ = ["GMS", "GMSConfig"]


class GMSConfig(MatchingConfig):
    """Settings of GMS; the defaults are the paper's. See also `MatchingConfig`.

    Attributes
    ----------
    classes
        Number of classes; the paper has one. The mapper predicts one latent per class, stacked in its
        channels, and each is decoded to a mask. 254, as labels with background fit in a byte.
    conditioner
        How the image latent is made. ``"frozen"``: by the codec's encoder, as published. ``"trained"``: by a
        copy of it that is trained with the mapper, as in SDSeg and Wave-GMS. ``"pyramid"``: the frozen
        encoder's latent plus the output of a trained feature pyramid over an ImageNet network, for targets
        that are recognised by their surroundings more than by their texture. Anything but ``"frozen"`` makes
        the model a variant.
    backbone
        The ImageNet network under the pyramid; without one it is of no effect.
    levels
        Supervised decoder levels; the paper's code trains three of the four.
    posterior_noise
        Noise added to the image latent in half of the training steps; only with a codec that has a posterior.
        ``"official"``: as in the paper's code, with the standard deviation not multiplied by the codec's
        scale; ``"scaled"``: with it multiplied; or ``"none"``.
    """

    levels: tuple[Level, ...] = ("level2", "level1", "out")
    classes: int = Field(1, ge=1, le=254)
    conditioner: Literal["frozen", "trained", "pyramid"] = "frozen"
    backbone: Backbone = "efficientnet-lite0"
    posterior_noise: Literal["official", "scaled", "none"] = "official"

    @property
    def has_pyramid(self) -> bool:
        return self.conditioner == "pyramid"


class GMS(MatchingMethod):
    """Frozen codec, latent mapping model, frozen decoder.

    Parameters
    ----------
    codec
        The frozen autoencoder ("image tokenizer"); SD-VAE in the paper.
    config
        See `GMSConfig`.
    """

    name: ClassVar[str] = "gms"
    title: ClassVar[str] = "Generative Medical Segmentation"
    paper: ClassVar[str] = "Huo, Ouyang, Ourselin, Sparks: Generative Medical Segmentation. AAAI 2025"
    network_functions: ClassVar[tuple[str, ...]] = ("encode", "predict_masks")
    predictor_parts: ClassVar[tuple[str, ...]] = ("mapper",)
    config_class: ClassVar[type[BaseModel]] = GMSConfig
    config: GMSConfig
    codec: Codec

    def __init__(self, codec: Codec, config: GMSConfig) -> None:
        super().__init__(codec, config)
        self.mapper = self._make_mapper(codec.channels, config.classes)
        self.conditioner: nn.Module | None = None
        if config.conditioner == "trained":
            self.conditioner = codec.trainable_encoder()
        elif config.conditioner == "pyramid":
            self.conditioner = self._make_pyramid(config.backbone)

    @property
    def deviations_from_paper(self) -> str:
        config, paper = self.config, GMSConfig()
        adds_noise = self._adds_posterior_noise
        published_adds_noise = self.codec.has_posterior and self.conditioner is None
        backbone = " over an ImageNet network" if config.has_pyramid else ""
        return join_deviations(
            (config.classes > 1, f"{config.classes} classes"),
            (self.conditioner is not None, f"trained conditioner{backbone}"),
            *config.deviations_from_paper(),
            (published_adds_noise and not adds_noise, "no posterior noise"),
            (
                adds_noise and config.posterior_noise != paper.posterior_noise,
                f"{config.posterior_noise} posterior noise",
            ),
            codec_deviation(self.codec, "kl", "SD-VAE"),
        )

    @property
    def class_count(self) -> int:
        return self.config.classes

    @property
    def _adds_posterior_noise(self) -> bool:
        """Whether noise is added to the image latent in training."""
        return self.config.posterior_noise != "none" and self.codec.has_posterior and self.conditioner is None

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        modules: dict[str, nn.Module] = {"mapper": self.mapper}
        if self.conditioner is not None:
            modules["conditioner"] = self.conditioner
        return nn.ModuleDict(modules)

    @property
    def size_multiple(self) -> int:
        return PyramidConditioner.FACTOR if self.config.has_pyramid else self.downsampling_factor

    @property
    def pretrained_modules(self) -> dict[str, nn.Module]:
        conditioner = self.conditioner
        return (
            {conditioner.backbone_name: conditioner.backbone}
            if isinstance(conditioner, PyramidConditioner)
            else {}
        )

    def encode(self, images: Tensor) -> Tensor:
        """The image latent Z_I, `(B, C, H/f, W/f)`; with skips, these follow in further channels."""
        conditioner = self.conditioner
        if conditioner is not None and not isinstance(conditioner, PyramidConditioner):
            latents: Tensor = conditioner(images)
            return latents
        with torch.no_grad():
            z = self.codec.encode(images)
        return z if conditioner is None else conditioner.condition(z, images)

    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """The decoded masks, `(B, K, H, W)` in [0, 1]; GMS has no noise at test time and ignores it."""
        return self.predict_masks(conditioning)

    def predict_masks(self, conditioning: Tensor) -> Tensor:
        """The decoded masks, `(B, K, H, W)` in [0, 1]."""
        mask_latents: Tensor = self.mapper(conditioning)["out"]
        masks: Tensor = self.mask_codec.decode_mask(self._split_classes(mask_latents))
        per_class: Tensor = masks.unflatten(0, (-1, self.config.classes))
        return per_class.squeeze(2)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equation 5, summed over the supervised levels: MSE of the latents and Dice of the decoded masks.

        Each class of each image is one row of the batch; classes that were not annotated are left out.

        Raises
        ------
        ValueError
            If the masks do not have one channel per class.
        """
        class_count = self.config.classes
        if batch.masks.shape[1] != class_count:
            expected_channels = "one channel" if class_count == 1 else f"{class_count} channels"
            raise ValueError(f"a mask has {expected_channels}, not {batch.masks.shape[1]}")
        annotated = slice(None) if batch.annotated is None else batch.annotated.flatten()
        masks = batch.masks.flatten(0, 1)[:, None][annotated]
        with torch.no_grad():
            target = self._encode_masks(masks) if self.config.latent_weight else None
        z = self._encode_in_training(batch.images, generator)
        levels: dict[str, Tensor] = self.mapper(z, self.config.levels)
        predicted = {name: self._split_classes(level)[annotated] for name, level in levels.items()}
        classes = self._class_of_rows(len(batch.images), masks.device)[annotated]
        return matching_losses(self.config, self.mask_codec, predicted, target, masks, classes=classes)

    def _class_of_rows(self, image_count: int, device: torch.device) -> Tensor:
        """The class index of each row of `_split_classes`, `(B K,)`."""
        return torch.arange(self.config.classes, device=device).repeat(image_count)

    def _encode_masks(self, masks: Tensor) -> Tensor:
        """Latents of masks `(N, 1, H, W)`; that of an empty one is computed once on a CPU.

        Of several classes most slices show some alone: of those that hippocampus-mr is trained on, 41 % of
        the masks are empty. On a GPU, to ask which are would take longer.
        """
        if masks.device.type != "cpu":
            return self.mask_codec.encode_mask(masks)
        is_empty = ~masks.flatten(1).any(1)
        first_of_each = ~is_empty | (is_empty.cumsum(0) == 1)
        latents = self.mask_codec.encode_mask(masks[first_of_each])
        rows = first_of_each.cumsum(0) - 1
        rows[is_empty] = rows[is_empty][:1].expand(int(is_empty.sum()))
        return latents[rows]

    def loss_row_count(self, annotated: Tensor) -> int:
        """How many annotated classes there are, over all images."""
        return int(annotated.sum())

    def fine_tune_spec(self) -> FineTuneSpec:
        """The mapper's last block is trained on the features before it."""
        mapper = self.mapper
        return self._spec(mapper.last_block, mapper.encode_features, mapper.decode_features)

    def whole_mapper_spec(self) -> FineTuneSpec:
        """As `fine_tune_spec`, but the whole mapper is trained, on image latents."""
        return self._spec(
            nn.ModuleDict({"mapper": self.mapper}), lambda latents: latents, lambda z: self.mapper(z)["out"]
        )

    def _spec(
        self,
        trainable: nn.ModuleDict,
        cache_features: Callable[[Tensor], Tensor],
        map_features: Callable[[Tensor], Tensor],
    ) -> FineTuneSpec:
        return FineTuneSpec(
            trainable,
            cache_features,
            self._mask_latents,
            partial(self._fine_tune_loss, map_features),
            partial(self._fine_tune_sample, map_features),
        )

    def _mask_latents(self, masks: Tensor) -> Tensor:
        """Latents of masks `(B, K, H, W)`, stacked in the channels: `(B, K C, h, w)`."""
        latents = self.mask_codec.encode_mask(masks.flatten(0, 1)[:, None])
        return latents.reshape(len(masks), -1, *latents.shape[-2:])

    def _fine_tune_loss(
        self,
        map_features: Callable[[Tensor], Tensor],
        features: Tensor,
        target: Tensor,
        masks: Tensor,
        annotated: Tensor | None,
        generator: torch.Generator | None,
        decoded_count: int,
    ) -> dict[str, Tensor]:
        rows = slice(None) if annotated is None else annotated.flatten()
        predicted = {"out": self._split_classes(map_features(features))[rows]}
        target_latents, class_masks = self._split_classes(target)[rows], masks.flatten(0, 1)[:, None][rows]
        return matching_losses(
            self.config,
            self.mask_codec,
            predicted,
            target_latents,
            class_masks,
            decoded_count * self.config.classes,
            self._class_of_rows(len(features), masks.device)[rows],
        )

    def _fine_tune_sample(
        self,
        map_features: Callable[[Tensor], Tensor],
        features: Tensor,
        noise: Noise | None = None,
    ) -> Tensor:
        masks = self.mask_codec.decode_mask(self._split_classes(map_features(features)))
        return masks.reshape(len(features), self.config.classes, *masks.shape[-2:])

    def _split_classes(self, latents: Tensor) -> Tensor:
        """`(B, K C, h, w)` to `(B K, C, h, w)`: the classes of an image are consecutive rows."""
        per_class: Tensor = latents.unflatten(1, (self.config.classes, self.mask_codec.channels))
        return per_class.flatten(0, 1)

    def _encode_in_training(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """The image latent, with noise in half of the steps: one coin per step, as in the paper's code."""
        if not (self.training and self._adds_posterior_noise) or torch.rand((), generator=generator) < 0.5:
            return self.encode(images)
        with torch.no_grad():
            z, std = self.codec.posterior(images)
        assert std is not None  # has_posterior
        if self.config.posterior_noise == "official":
            std = std / self.codec.scale
        return z + std * torch.randn(z.shape, generator=generator).to(z)
