"""Wave-GMS: a lightweight multi-scale generative model (Ahmed, Shaikh, Mohy-ud-Din, 2025).

As GMS, but the image latent comes from a small encoder on Haar wavelets, which is trained together with the
mapper and aligned with the latents of the frozen codec (TAESD). What the paper leaves open follows its
authors' development code; docs/methods.md lists it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch, FineTuneSpec, Stage
from napari_latentseg.methods.deviations import codec_deviation, join_deviations
from napari_latentseg.methods.latent_matching import Level, MatchingConfig, MatchingMethod, matching_losses
from napari_latentseg.methods.noise import Noise, random_noise
from napari_latentseg.networks.efficientnet import Backbone, PyramidConditioner
from napari_latentseg.networks.skip_connections import join_skips, split_skips
from napari_latentseg.networks.wavelet import WaveEncoder
from napari_latentseg.utils.batch_share import when_batch_is_complete

__all__ = ["WaveGMS", "WaveGMSConfig", "alignment_loss"]

# clamp of the log variance, as in diffusers and the authors' code; only a guard against overflow in exp
_LOG_VARIANCE_RANGE = (-30.0, 20.0)


class WaveGMSConfig(MatchingConfig):
    """Settings of Wave-GMS; the defaults are the paper's. See also `MatchingConfig`.

    Attributes
    ----------
    levels
        Supervised decoder levels: four in the paper, ``("level2", "level1", "out")`` in the development code.
    align_weight
        Weight of the alignment with the codec's image latents; 0 for none (an ablation in the paper).
    align
        Distance in the alignment: ``"l1"`` as in the paper, ``"smooth_l1"`` as in the development code.
    conditioner
        How the image latent is made. ``"wavelet"``: by the encoder on wavelets, as published. ``"pyramid"``:
        by it and a trained feature pyramid over an ImageNet network, whose output is added to the mean after
        the alignment; a variant.
    backbone
        The ImageNet network under the pyramid; without one it is of no effect.
    sample_in_training
        Draw the image latent from the encoder's normal distribution in training, instead of its mean.
        Otherwise the variance is never trained, and the model has no posterior to sample from.
    """

    levels: tuple[Level, ...] = ("level3", "level2", "level1", "out")
    align_weight: float = Field(1.0, ge=0)
    align: Literal["l1", "smooth_l1"] = "l1"
    conditioner: Literal["wavelet", "pyramid"] = "wavelet"
    backbone: Backbone = "efficientnet-lite0"
    sample_in_training: bool = True


def alignment_loss(z: Tensor, target: Tensor, distance: Literal["l1", "smooth_l1"] = "l1") -> Tensor:
    """L_align of Section 2.4, a scalar: 0.9 (1 - cosine similarity) + 0.1 mean absolute difference.

    Parameters
    ----------
    z, target
        Latents `(B, C, h, w)`; the cosine is taken over the C channels at each position, then averaged.
    distance
        See `WaveGMSConfig.align`.
    """
    absolute_error = (F.l1_loss if distance == "l1" else F.smooth_l1_loss)(z, target)
    return 0.9 * (1 - F.cosine_similarity(z, target, dim=1).mean()) + 0.1 * absolute_error


class WaveGMS(MatchingMethod):
    """Wavelet encoder and latent mapping model, trained together; frozen decoder.

    Parameters
    ----------
    codec
        The frozen autoencoder, with one latent position for 8 x 8 pixels; TAESD in the paper.
    config
        See `WaveGMSConfig`.

    Raises
    ------
    BadInput
        If the codec has another downsampling factor: three wavelet levels end at an eighth of the size.
    """

    name: ClassVar[str] = "wave-gms"
    title: ClassVar[str] = "Wave-GMS, a multi-scale generative model on wavelets"
    paper: ClassVar[str] = (
        "Ahmed, Shaikh, Mohy-ud-Din: Wave-GMS: Lightweight Multi-Scale Generative Model for Medical Image"
        " Segmentation. 2025"
    )
    network_functions: ClassVar[tuple[str, ...]] = ("encode", "predict_masks", "predict_mean")
    predictor_parts: ClassVar[tuple[str, ...]] = ("mapper",)
    config_class: ClassVar[type[BaseModel]] = WaveGMSConfig
    config: WaveGMSConfig
    codec: Codec

    def __init__(self, codec: Codec, config: WaveGMSConfig) -> None:
        if codec.downsampling_factor != WaveEncoder.FACTOR:
            raise BadInput(
                "codec",
                f"downsamples by {codec.downsampling_factor}, the wavelet encoder by {WaveEncoder.FACTOR}",
                "use TAESD or the embedded codec",
            )
        super().__init__(codec, config)
        self.encoder = WaveEncoder(codec.channels)
        self.pyramid: PyramidConditioner | None = None
        if config.conditioner == "pyramid":
            self.pyramid = self._make_pyramid(config.backbone)
        self.mapper = self._make_mapper(codec.channels)
        self._posterior_statistics: list[Tensor] = []

    @property
    def sampling_sources(self) -> tuple[str, ...]:  # type: ignore[override]
        """The posterior, where its variance is trained."""
        return ("posterior",) if self.config.sample_in_training else ()

    @property
    def deviations_from_paper(self) -> str:
        config, paper = self.config, WaveGMSConfig()
        aligned = config.align_weight > 0
        return join_deviations(
            *config.deviations_from_paper(),
            (not aligned, "no alignment"),
            (
                aligned and config.align_weight != paper.align_weight,
                f"alignment weight {config.align_weight:g}",
            ),
            (aligned and config.align != paper.align, "smooth distance in the alignment"),
            (self.pyramid is not None, "image encoder over an ImageNet network"),
            (not config.sample_in_training, "no sampling in training"),
            codec_deviation(self.codec, "tiny", "TAESD"),
        )

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        modules: dict[str, nn.Module] = {"encoder": self.encoder, "mapper": self.mapper}
        if self.pyramid is not None:
            modules["pyramid"] = self.pyramid
        return nn.ModuleDict(modules)

    @property
    def size_multiple(self) -> int:
        return self.downsampling_factor if self.pyramid is None else PyramidConditioner.FACTOR

    @property
    def pretrained_modules(self) -> dict[str, nn.Module]:
        return {} if self.pyramid is None else {self.pyramid.backbone_name: self.pyramid.backbone}

    def stages(self) -> list[Stage]:
        return [Stage("", self.trainable_modules, self.loss, after_epoch=self._report_posterior_width)]

    def encode(self, images: Tensor) -> Tensor:
        """Mean and log variance of the image latent, stacked in the channels: `(B, 2 C, H/8, W/8)`.

        With skips, these follow in further channels.
        """
        moments: Tensor = self.encoder(images)
        if self.pyramid is None:
            return moments
        mean, log_variance = moments.chunk(2, dim=1)
        mean, skips = split_skips(self.pyramid.condition(mean, images), self.mapper.skip_channels)
        return join_skips(torch.cat([mean, log_variance], dim=1), skips)

    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """The decoded mask `(B, 1, H, W)` in [0, 1]: of the mean latent, or of a posterior sample."""
        if noise is None:
            return self.predict_mean(conditioning)
        moments, skips = split_skips(conditioning, self.mapper.skip_channels)
        mean, std = _mean_and_std(moments)
        drawn = mean + std * noise(tuple(mean.shape)).to(mean)
        return self.predict_masks(join_skips(drawn, skips))

    def predict_mean(self, conditioning: Tensor) -> Tensor:
        """The decoded masks `(B, 1, H, W)` in [0, 1] of the mean image latent of what `encode` gives."""
        return self.predict_masks(self._mean_latents(conditioning))

    def predict_masks(self, latents: Tensor) -> Tensor:
        """The decoded masks `(B, 1, H, W)` in [0, 1] of image latents `(B, C, h, w)`, and skips."""
        mask_latents: Tensor = self.mapper(latents)["out"]
        return self.mask_codec.decode_mask(mask_latents)

    def _mean_latents(self, conditioning: Tensor) -> Tensor:
        """The input of the mapper without noise, from the output of `encode`."""
        moments, skips = split_skips(conditioning, self.mapper.skip_channels)
        return join_skips(_mean_and_std(moments)[0], skips)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """L_total of Section 2.4: that of GMS over the levels, and the alignment of the image latent."""
        with torch.no_grad():
            target = self.mask_codec.encode_mask(batch.masks) if self.config.latent_weight else None
        mean, std = _mean_and_std(self.encoder(batch.images))
        z = mean
        if self.training and self.config.sample_in_training:
            z = mean + std * random_noise(generator)(tuple(mean.shape)).to(mean)
            per_image = torch.stack([std.flatten(1).mean(1), mean.abs().flatten(1).mean(1)], dim=1)
            when_batch_is_complete(lambda rows: self._posterior_statistics.append(rows.mean(0)), per_image)
        # the alignment is that of the wavelet encoder: it would hold back what the pyramid adds
        condition = z if self.pyramid is None else self.pyramid.condition(z, batch.images)
        predicted: dict[str, Tensor] = self.mapper(condition, self.config.levels)
        terms = matching_losses(self.config, self.mask_codec, predicted, target, batch.masks)
        if self.config.align_weight:
            with torch.no_grad():
                image_latents = self.codec.encode(batch.images)
            terms["align"] = self.config.align_weight * alignment_loss(
                z, image_latents.float(), self.config.align
            )
        return terms

    def fine_tune_spec(self) -> FineTuneSpec:
        """The mapper's last block is trained on the features before it, from the mean of the image latent."""
        mapper, mask_codec = self.mapper, self.mask_codec

        def cache_features(conditioning: Tensor) -> Tensor:
            return mapper.encode_features(self._mean_latents(conditioning))

        def loss(
            features: Tensor,
            target: Tensor,
            masks: Tensor,
            annotated: Tensor | None,
            generator: torch.Generator | None,
            decoded_count: int,
        ) -> dict[str, Tensor]:
            predicted = {"out": mapper.decode_features(features)}
            return matching_losses(self.config, mask_codec, predicted, target, masks, decoded_count)

        def sample(features: Tensor, noise: Noise | None) -> Tensor:
            return mask_codec.decode_mask(mapper.decode_features(features))

        return FineTuneSpec(mapper.last_block, cache_features, mask_codec.encode_mask, loss, sample)

    def _report_posterior_width(self) -> dict[str, float]:
        """Mean standard deviation of the posterior over the epoch, and relative to the mean's magnitude.

        A ratio of a few hundredths or less means that the posterior has collapsed (docs/methods.md).
        """
        if not self._posterior_statistics:
            return {}
        std, mean = torch.stack(self._posterior_statistics).mean(0).tolist()
        self._posterior_statistics.clear()
        return {"sigma": std, "sigma_to_mean": std / mean}


def _mean_and_std(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation in float32, each `(B, C, h, w)`."""
    mean, log_variance = moments.float().chunk(2, dim=1)
    return mean, (0.5 * log_variance.clamp(*_LOG_VARIANCE_RANGE)).exp()
