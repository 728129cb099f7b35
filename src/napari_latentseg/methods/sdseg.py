"""SDSeg: Stable Diffusion Segmentation with a single-step reverse process (Lin et al., MICCAI 2024).

A frozen autoencoder turns the mask into a latent; a U-Net learns to take noise off it, beside the latent
that a trained encoder makes of the image. A second loss, on the latent that the predicted noise leads to,
lets one step from pure noise do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch, FineTuneSpec, Method, Noise, Stage, random_noise
from napari_latentseg.methods.diffusion import Diffusion, DiffusionConfig
from napari_latentseg.networks.denoiser import Denoiser, DenoiserConfig, build_denoiser, zero_input_channels
from napari_latentseg.networks.efficientnet import PyramidConditioner
from napari_latentseg.networks.losses import dice_loss, pixel_cross_entropy

__all__ = ["SDSeg", "SDSegConfig"]

# Masks that the scale of the latents is measured on; the paper's code takes a single batch.
_MIN_SCALE_MASKS = 64

_PAPER_DENOISER = DenoiserConfig(
    widths=(192, 384, 384, 768, 768),
    attention=(True, True, True, True, False),
    resample="resnet",
    scale_shift=True,
    heads=8,
    dropout=0.2,
)


class SDSegConfig(FrozenModel):
    """What makes an SDSeg model; the defaults are the paper's (its code where the paper is silent).

    Attributes
    ----------
    denoiser
        The U-Net, in the paper that of a latent diffusion model of LSUN churches.
    latent_weight
        lambda of Equation 3.
    pixel_weight
        Weight of the Dice and cross-entropy of the mask that the predicted latent decodes to, which the paper
        does not have: absolute errors of latents say little of small targets until much has been learnt.
    prediction
        What the U-Net predicts: the noise (``"epsilon"``), or the mask's latent itself (``"sample"``), with
        the same loss in other words. Without weights to begin from it learns sooner: at the last timestep, an
        error of the noise is 39 times as large in the latent.
    steps, eta
        Of a sample: 1 as published; more are DDIM (`eta` 0) or DDPM (1).
    conditioner
        ``"copy"``: the trained copy of the codec's encoder, as published. ``"pyramid"``: the frozen encoder's
        latent, to which a trained pyramid over an ImageNet network is added: the paper's copy begins from
        Stable Diffusion's encoder, which has seen many pictures, and a small codec's has not.
    conditioner_dropout
        In the residual blocks of the image encoder, where it has such as can drop (SD-VAE's has).
    scaled_condition
        Multiply the image's latent with the codec's scale, so that it begins with about unit variance.
    """

    denoiser: DenoiserConfig = _PAPER_DENOISER
    latent_weight: float = Field(1.0, ge=0)
    pixel_weight: float = Field(0.0, ge=0)
    prediction: Literal["epsilon", "sample"] = "epsilon"
    steps: int = Field(1, ge=1, le=1000)
    eta: float = Field(0.0, ge=0, le=1)
    conditioner: Literal["copy", "pyramid"] = "copy"
    conditioner_dropout: float = Field(0.2, ge=0, lt=1)
    scaled_condition: bool = False


class LatentScale(nn.Module):
    """The number that brings the latents of masks to unit standard deviation; saved with the weights."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.ones(()))


class SDSeg(Method):
    """Frozen codec for masks, trained image encoder, diffusion on the mask's latent.

    Parameters
    ----------
    codec
        The paper's is SD-VAE.
    config
        See `SDSegConfig`.
    """

    name: ClassVar[str] = "sdseg"
    title: ClassVar[str] = "Stable Diffusion Segmentation"
    paper: ClassVar[str] = (
        "Lin, Chen, Yan, Yu, Zheng: Stable Diffusion Segmentation for Biomedical Images with Single-step "
        "Reverse Process. MICCAI 2024"
    )
    sampling_sources: ClassVar[tuple[str, ...]] = ("noise",)
    is_deterministic: ClassVar[bool] = False
    config_class: ClassVar[type[BaseModel]] = SDSegConfig
    config: SDSegConfig
    codec: Codec

    def __init__(self, codec: Codec, config: SDSegConfig) -> None:
        super().__init__(codec.freeze(), config)
        channels = codec.channels
        unet = build_denoiser(config.denoiser, 2 * channels, channels)
        zero_input_channels(unet, channels)
        self.denoiser = Denoiser(unet)
        self.conditioner: nn.Module = (
            PyramidConditioner(channels) if config.conditioner == "pyramid" else codec.trainable_encoder()
        )
        self._has_dropout = _set_dropout(self.conditioner, config.conditioner_dropout)
        self.latent_scale = LatentScale()
        self.diffusion = Diffusion(
            DiffusionConfig(
                beta_schedule="scaled_linear",
                beta_start=0.0015,
                beta_end=0.0155,
                prediction=config.prediction,
                steps=config.steps,
                eta=config.eta,
            )
        )

    @property
    def deviations_from_paper(self) -> str:
        config, paper, codec = self.config, SDSegConfig(), self.codec
        # the published model begins with a U-Net that had learnt from photographs
        deviations = ["U-Net that began at random"]
        if config.denoiser != paper.denoiser:
            same_widths = config.denoiser.widths == paper.denoiser.widths
            deviations.append(
                "another U-Net" if same_widths else f"widths {_join_widths(config.denoiser.widths)}"
            )
        if config.latent_weight != paper.latent_weight:
            deviations.append(f"latent weight {config.latent_weight:g}")
        if config.pixel_weight:
            deviations.append("pixel losses")
        if config.prediction != paper.prediction:
            deviations.append("predicts the latent, not the noise")
        if config.steps != paper.steps:
            deviations.append(f"{config.steps} steps")
        if config.steps > 1 and config.eta:
            deviations.append(f"eta {config.eta:g}")
        if config.conditioner == "pyramid":
            deviations.append("image encoder over an ImageNet network")
        elif not self._has_dropout:
            deviations.append("no dropout in the image encoder")
        elif config.conditioner_dropout != paper.conditioner_dropout:
            deviations.append(f"dropout {config.conditioner_dropout:g} in the image encoder")
        if config.scaled_condition:
            deviations.append("scaled image latent")
        if codec.kind != "kl":
            deviations.append(f"{codec.kind} codec in place of SD-VAE")
        elif (codec.channels, codec.downsampling_factor) != (4, 8):
            deviations.append(
                f"{codec.channels}-channel codec, 1:{codec.downsampling_factor}, in place of SD-VAE"
            )
        return ", ".join(deviations)

    @property
    def size_multiple(self) -> int:
        latent_multiple = self.downsampling_factor * self.config.denoiser.size_multiple
        return (
            math.lcm(latent_multiple, PyramidConditioner.FACTOR)
            if self.config.conditioner == "pyramid"
            else latent_multiple
        )

    @property
    def pretrained_modules(self) -> dict[str, nn.Module]:
        conditioner = self.conditioner
        return (
            {"efficientnet-lite0": conditioner.backbone}
            if isinstance(conditioner, PyramidConditioner)
            else {}
        )

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        return nn.ModuleDict(
            {"denoiser": self.denoiser, "conditioner": self.conditioner, "latent_scale": self.latent_scale}
        )

    def stages(self) -> list[Stage]:
        return [Stage("", self.trainable_modules, self.loss, on_start=self._measure_latent_scale)]

    def _measure_latent_scale(self, batches: Iterable[Batch]) -> None:
        """One over the standard deviation of the latents of masks, of those that mark anything.

        Raises
        ------
        BadInput
            Where no mask does, or the codec makes them all the same.
        """
        latents: list[Tensor] = []
        for batch in batches:
            foreground_masks = batch.masks[batch.masks.flatten(1).any(dim=1)]
            if len(foreground_masks):
                latents += self.codec.encode_mask(foreground_masks).float()
            if len(latents) >= _MIN_SCALE_MASKS:
                break
        std = torch.stack(latents).std() if latents else torch.zeros(())
        if not (torch.isfinite(std) and std > 0):
            raise BadInput("masks", "have latents that do not vary", "mark the target, or use another codec")
        self.latent_scale.value.copy_(1 / std)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equation 3: mean absolute error of the noise, and of the latent that it leads to.

        The one is the other times `Diffusion.latent_to_noise_error_ratio`, which spares the difference of two
        large numbers over a small one.
        """
        with torch.no_grad():
            z0 = self._mask_latents(batch.masks)
        return self._loss_terms(self.encode(batch.images), z0, batch.masks, generator, len(z0))

    def _mask_latents(self, masks: Tensor) -> Tensor:
        return self.latent_scale.value * self.codec.encode_mask(masks).float()

    def fine_tune_spec(self) -> FineTuneSpec:
        """The last block of the U-Net learns, from the image's latent."""
        return FineTuneSpec(
            self.denoiser.last_block,
            lambda condition: condition,
            self._mask_latents,
            lambda z_c, z0, masks, annotated, generator, decoded: self._loss_terms(
                z_c, z0, masks, generator, decoded
            ),
            self.sample,
        )

    def _loss_terms(
        self, z_c: Tensor, z0: Tensor, masks: Tensor, generator: torch.Generator | None, decoded_count: int
    ) -> dict[str, Tensor]:
        t = self.diffusion.sample_timesteps(len(z0), generator)
        epsilon = torch.randn(z0.shape, generator=generator).to(z0)
        z_t = self.diffusion.add_noise(z0, epsilon, t)
        predicted = self._denoise(z_t, t, z_c)
        error_ratio = self.diffusion.latent_to_noise_error_ratio(t)
        if self.config.prediction == "epsilon":
            noise_error = (predicted - epsilon).abs()
            latent_error = error_ratio * noise_error
        else:
            latent_error = (predicted - z0).abs()
            noise_error = latent_error / error_ratio
        terms = {"noise": noise_error.mean(), "latent": self.config.latent_weight * latent_error.mean()}
        if self.config.pixel_weight and decoded_count:
            predicted_z0 = (
                predicted
                if self.config.prediction == "sample"
                else self.diffusion.predict_x0(z_t, predicted, t)
            )
            predicted_z0, masks = predicted_z0[:decoded_count], masks[:decoded_count]
            pixels = self.codec.decode(predicted_z0 / self.latent_scale.value).mean(1, keepdim=True).float()
            terms["dice"] = self.config.pixel_weight * dice_loss(pixels.clamp(0, 1), masks)
            terms["cross_entropy"] = self.config.pixel_weight * pixel_cross_entropy(pixels, masks)
        return terms

    def encode(self, images: Tensor) -> Tensor:
        """z_c, the image's latent, `(B, C, H/factor, W/factor)`."""
        conditioning: Tensor = self.conditioner(images)
        if self.config.conditioner == "pyramid":
            with torch.no_grad():
                latent = self.codec.encode(images)
            conditioning = conditioning + latent
        # it maps what the codec maps, scale included
        return conditioning if self.config.scaled_condition else conditioning / self.codec.scale

    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """A mask out of noise: with one step, Equation 2 at the last timestep, decoded."""
        latents = self.diffusion.sample(
            lambda z_t, t: self._denoise(z_t, t, conditioning),
            tuple(conditioning.shape),
            random_noise() if noise is None else noise,
        )
        return self.codec.decode_mask(latents / self.latent_scale.value)

    def _denoise(self, z_t: Tensor, t: Tensor, z_c: Tensor) -> Tensor:
        # never in half precision: what the noise is wrong by counts up to 39 times in the latent
        with torch.autocast(z_t.device.type, enabled=False):
            predicted: Tensor = self.denoiser(z_t.float(), t, z_c.float())
        return predicted


def _set_dropout(encoder: nn.Module, rate: float) -> bool:
    """Set the dropout of an encoder's residual blocks, and say whether there is any."""
    dropouts = [
        module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Dropout) and name.endswith(".dropout")
    ]
    for module in dropouts:
        module.p = rate
    return bool(dropouts and rate)


def _join_widths(widths: tuple[int, ...]) -> str:
    return "-".join(map(str, widths))
