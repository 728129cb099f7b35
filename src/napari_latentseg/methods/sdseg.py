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
from napari_latentseg.errors import BadInput
from napari_latentseg.frozen import FrozenModel
from napari_latentseg.methods.base import Batch, Method, Noise, Stage, Tuning, fresh_noise
from napari_latentseg.methods.diffusion import Diffusion, DiffusionConfig
from napari_latentseg.networks.denoiser import Denoiser, DenoiserConfig, build_denoiser, silence_inputs
from napari_latentseg.networks.efficientnet import PyramidConditioner
from napari_latentseg.networks.losses import dice_loss, pixel_cross_entropy

__all__ = ["SDSeg", "SDSegConfig"]

# Masks that the scale of the latents is measured on; the paper's code takes a single batch.
_MEASURED = 64

_PAPER = DenoiserConfig(
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

    denoiser: DenoiserConfig = _PAPER
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
    own_sources: ClassVar[tuple[str, ...]] = ("noise",)
    is_deterministic: ClassVar[bool] = False
    config_class: ClassVar[type[BaseModel]] = SDSegConfig
    config: SDSegConfig
    codec: Codec

    def __init__(self, codec: Codec, config: SDSegConfig) -> None:
        super().__init__(codec.freeze(), config)
        channels = codec.channels
        unet = build_denoiser(config.denoiser, 2 * channels, channels)
        silence_inputs(unet, channels)
        self.denoiser = Denoiser(unet)
        self.conditioner: nn.Module = (
            PyramidConditioner(channels) if config.conditioner == "pyramid" else codec.encoder_copy()
        )
        self._drops = _set_dropout(self.conditioner, config.conditioner_dropout)
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
    def variant(self) -> str:
        config, paper, codec = self.config, SDSegConfig(), self.codec
        # the published model begins with a U-Net that had learnt from photographs
        found = ["U-Net that began at random"]
        if config.denoiser != paper.denoiser:
            same_widths = config.denoiser.widths == paper.denoiser.widths
            found.append("another U-Net" if same_widths else f"widths {_dashed(config.denoiser.widths)}")
        if config.latent_weight != paper.latent_weight:
            found.append(f"latent weight {config.latent_weight:g}")
        if config.pixel_weight:
            found.append("pixel losses")
        if config.prediction != paper.prediction:
            found.append("predicts the latent, not the noise")
        if config.steps != paper.steps:
            found.append(f"{config.steps} steps")
        if config.steps > 1 and config.eta:
            found.append(f"eta {config.eta:g}")
        if config.conditioner == "pyramid":
            found.append("image encoder over an ImageNet network")
        elif not self._drops:
            found.append("no dropout in the image encoder")
        elif config.conditioner_dropout != paper.conditioner_dropout:
            found.append(f"dropout {config.conditioner_dropout:g} in the image encoder")
        if config.scaled_condition:
            found.append("scaled image latent")
        if codec.kind != "kl":
            found.append(f"{codec.kind} codec in place of SD-VAE")
        elif (codec.channels, codec.factor) != (4, 8):
            found.append(f"{codec.channels}-channel codec, 1:{codec.factor}, in place of SD-VAE")
        return ", ".join(found)

    @property
    def size_multiple(self) -> int:
        latent = self.factor * self.config.denoiser.size_multiple
        return math.lcm(latent, PyramidConditioner.FACTOR) if self.config.conditioner == "pyramid" else latent

    @property
    def published_parts(self) -> dict[str, nn.Module]:
        found = self.conditioner
        return {"efficientnet-lite0": found.backbone} if isinstance(found, PyramidConditioner) else {}

    @property
    def trained(self) -> nn.ModuleDict:
        return nn.ModuleDict(
            {"denoiser": self.denoiser, "conditioner": self.conditioner, "latent_scale": self.latent_scale}
        )

    def stages(self) -> list[Stage]:
        return [Stage("", self.trained, self.loss, begin=self._measure)]

    def _measure(self, batches: Iterable[Batch]) -> None:
        """One over the standard deviation of the latents of masks, of those that mark anything.

        Raises
        ------
        BadInput
            Where no mask does, or the codec makes them all the same.
        """
        latents: list[Tensor] = []
        for batch in batches:
            marked = batch.masks[batch.masks.flatten(1).any(dim=1)]
            if len(marked):
                latents += self.codec.encode_mask(marked).float()
            if len(latents) >= _MEASURED:
                break
        std = torch.stack(latents).std() if latents else torch.zeros(())
        if not (torch.isfinite(std) and std > 0):
            raise BadInput("masks", "have latents that do not vary", "mark the target, or use another codec")
        self.latent_scale.value.copy_(1 / std)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equation 3: mean absolute error of the noise, and of the latent that it leads to.

        The one is the other times `Diffusion.amplification`, which spares the difference of two large numbers
        over a small one.
        """
        with torch.no_grad():
            z0 = self._target(batch.masks)
        return self._terms(self.encode(batch.images), z0, batch.masks, generator, len(z0))

    def _target(self, masks: Tensor) -> Tensor:
        return self.latent_scale.value * self.codec.encode_mask(masks).float()

    def tuning(self) -> Tuning:
        """The last block of the U-Net learns, from the image's latent."""
        return Tuning(
            self.denoiser.last,
            lambda condition: condition,
            self._target,
            lambda z_c, z0, masks, annotated, generator, decoded: self._terms(
                z_c, z0, masks, generator, decoded
            ),
            self.draw,
        )

    def _terms(
        self, z_c: Tensor, z0: Tensor, masks: Tensor, generator: torch.Generator | None, decoded: int
    ) -> dict[str, Tensor]:
        t = self.diffusion.draw_timesteps(len(z0), generator)
        epsilon = torch.randn(z0.shape, generator=generator).to(z0)
        z_t = self.diffusion.disturbed(z0, epsilon, t)
        found = self._predict(z_t, t, z_c)
        amplified = self.diffusion.amplification(t)
        if self.config.prediction == "epsilon":
            noise = (found - epsilon).abs()
            latent = amplified * noise
        else:
            latent = (found - z0).abs()
            noise = latent / amplified
        terms = {"noise": noise.mean(), "latent": self.config.latent_weight * latent.mean()}
        if self.config.pixel_weight and decoded:
            guess = found if self.config.prediction == "sample" else self.diffusion.start_of(z_t, found, t)
            guess, masks = guess[:decoded], masks[:decoded]
            pixels = self.codec.decode(guess / self.latent_scale.value).mean(1, keepdim=True).float()
            terms["dice"] = self.config.pixel_weight * dice_loss(pixels.clamp(0, 1), masks)
            terms["cross_entropy"] = self.config.pixel_weight * pixel_cross_entropy(pixels, masks)
        return terms

    def encode(self, images: Tensor) -> Tensor:
        """z_c, the image's latent, `(B, C, H/factor, W/factor)`."""
        found: Tensor = self.conditioner(images)
        if self.config.conditioner == "pyramid":
            with torch.no_grad():
                latent = self.codec.encode(images)
            found = found + latent
        # it maps what the codec maps, scale included
        return found if self.config.scaled_condition else found / self.codec.scale

    def draw(self, condition: Tensor, noise: Noise | None = None) -> Tensor:
        """A mask out of noise: with one step, Equation 2 at the last timestep, decoded."""
        latents = self.diffusion.sample(
            lambda z_t, t: self._predict(z_t, t, condition),
            tuple(condition.shape),
            fresh_noise() if noise is None else noise,
        )
        return self.codec.decode_mask(latents / self.latent_scale.value)

    def _predict(self, z_t: Tensor, t: Tensor, z_c: Tensor) -> Tensor:
        # never in half precision: what the noise is wrong by counts up to 39 times in the latent
        with torch.autocast(z_t.device.type, enabled=False):
            found: Tensor = self.denoiser(z_t.float(), t, z_c.float())
        return found


def _set_dropout(encoder: nn.Module, share: float) -> bool:
    """Set the dropout of an encoder's residual blocks, and say whether there is any."""
    found = [
        module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Dropout) and name.endswith(".dropout")
    ]
    for module in found:
        module.p = share
    return bool(found and share)


def _dashed(widths: tuple[int, ...]) -> str:
    return "-".join(map(str, widths))
