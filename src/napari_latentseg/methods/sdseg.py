"""SDSeg: Stable Diffusion Segmentation with a single-step reverse process (Lin et al., MICCAI 2024).

A frozen autoencoder encodes the mask; a U-Net is trained to denoise that latent, conditioned on the latent
that a trained encoder makes of the image. A second loss, on the clean latent that the predicted noise
implies, makes a single step from pure noise sufficient.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch, FineTuneSpec, Method, Stage
from napari_latentseg.methods.deviations import codec_deviation, join_deviations
from napari_latentseg.methods.diffusion import Diffusion, DiffusionConfig
from napari_latentseg.methods.noise import Noise, random_noise
from napari_latentseg.networks.denoiser import (
    Denoiser,
    DenoiserConfig,
    build_denoiser,
    zero_input_channels,
    zero_last_layers,
)
from napari_latentseg.networks.efficientnet import Backbone, PyramidConditioner
from napari_latentseg.networks.ldm_unet import ldm_unet_state
from napari_latentseg.networks.losses import dice_loss, pixel_cross_entropy
from napari_latentseg.utils.weights import load_state

__all__ = ["SDSeg", "SDSegConfig"]

# At least so many masks for measuring the scale of the latents. The paper's code uses its first batch, of 4;
# the standard deviation of so few masks varies widely, and that of empty ones is near 0.
_MIN_SCALE_MASKS = 64

# The U-Net of the paper's code, 294,973,828 parameters; the paper does not describe it. With the image
# encoder they are the 329.0 M that GMS (Table 1) and Wave-GMS (Table 2) count for SDSeg.
_PAPER_DENOISER = DenoiserConfig(
    widths=(192, 384, 384, 768, 768),
    attention=(True, True, True, True, False),
    resample="resnet",
    scale_shift=True,
    heads=8,
    dropout=0.2,
)


class SDSegConfig(FrozenModel):
    """Settings of SDSeg; the defaults are the paper's, or its code's where the paper is silent.

    Attributes
    ----------
    denoiser
        The U-Net; in the paper's code that of a latent diffusion model of LSUN churches.
    latent_weight
        lambda of Equation 3.
    pixel_weight
        Weight of the Dice loss and cross-entropy of the decoded mask, which the paper does not have. For
        small targets the absolute error of latents is a weak signal until late in the training.
    prediction
        What the U-Net predicts: the noise (``"epsilon"``, as published), or the clean mask latent
        (``"sample"``) with the equivalent loss. Without pretrained weights the latter learns faster: at the
        last timestep an error of the noise is multiplied by 39 in the latent.
    steps, eta
        Sampling steps, 1 as published; with more, `eta` 0 is DDIM and 1 is DDPM.
    conditioner
        ``"copy"``: a trained copy of the codec's encoder, as published. ``"pyramid"``: the frozen encoder's
        latent plus the output of a trained feature pyramid over an ImageNet network. The paper's copy starts
        from Stable Diffusion's encoder, pretrained on many photographs; that of a small codec has learnt
        less. ``"frozen"``: the codec's own encoder, which is not trained (Table 6).
    backbone
        The ImageNet network under the pyramid; without one it is of no effect.
    conditioner_dropout
        Dropout rate in the residual blocks of the image encoder, if it has dropout layers (SD-VAE's has); 0.2
        as in the paper's code.
    scaled_condition
        Multiply the image latent by the codec's scale, so that it has about unit variance at first.
    unet_sha256
        SHA-256 of the file of weights that the U-Net began from; empty where it began at random, which makes
        the model a variant. The training fills it in.
    zero_init
        Begin with zeros in the last layer of each block of the U-Net, as the latent diffusion models' code
        does; of no effect where the U-Net begins from weights.
    scale_from
        What the scale of the mask latents is measured on: 64 or more ``"masks"`` that are not empty, or the
        ``"first_batch"`` as in the paper's code.
    """

    denoiser: DenoiserConfig = _PAPER_DENOISER
    latent_weight: float = Field(1.0, ge=0)
    pixel_weight: float = Field(0.0, ge=0)
    prediction: Literal["epsilon", "sample"] = "epsilon"
    steps: int = Field(1, ge=1, le=1000)
    eta: float = Field(0.0, ge=0, le=1)
    conditioner: Literal["copy", "pyramid", "frozen"] = "copy"
    backbone: Backbone = "efficientnet-lite0"
    conditioner_dropout: float = Field(0.2, ge=0, lt=1)
    scaled_condition: bool = False
    unet_sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    zero_init: bool = False
    scale_from: Literal["masks", "first_batch"] = "masks"


class LatentScale(nn.Module):
    """The factor that brings mask latents to unit standard deviation; a scalar saved with the weights."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.ones(()))


class SDSeg(Method):
    """Frozen codec for masks, trained image encoder, diffusion of the mask latent.

    Parameters
    ----------
    codec
        The frozen autoencoder; SD-VAE in the paper.
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
    network_functions: ClassVar[tuple[str, ...]] = ("encode", "denoise", "decode")
    predictor_parts: ClassVar[tuple[str, ...]] = ("denoiser",)
    config_class: ClassVar[type[BaseModel]] = SDSegConfig
    config: SDSegConfig
    codec: Codec

    def __init__(self, codec: Codec, config: SDSegConfig) -> None:
        super().__init__(codec.freeze(), config)
        channels = codec.channels
        unet = build_denoiser(config.denoiser, 2 * channels, channels)
        if config.zero_init:
            zero_last_layers(unet)
        zero_input_channels(unet, channels)
        self.denoiser = Denoiser(unet)
        self.conditioner: nn.Module = nn.Identity()
        if config.conditioner == "pyramid":
            self.conditioner = PyramidConditioner(channels, backbone=config.backbone)
        elif config.conditioner == "copy":
            self.conditioner = codec.trainable_encoder()
        self._has_dropout = _set_dropout(self.conditioner, config.conditioner_dropout)
        self.latent_scale = LatentScale()
        self.diffusion = Diffusion(
            DiffusionConfig(
                # of the latent diffusion models (Rombach et al., CVPR 2022), as in the paper's code
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
        config, paper = self.config, SDSegConfig()
        widths = config.denoiser.widths
        is_copy = config.conditioner == "copy"
        has_other_dropout = config.conditioner_dropout != paper.conditioner_dropout
        return join_deviations(
            # the published model starts from a U-Net pretrained on photographs (LSUN churches)
            (not config.unet_sha256, "U-Net trained from scratch"),
            (widths != paper.denoiser.widths, f"widths {'-'.join(map(str, widths))}"),
            (widths == paper.denoiser.widths and config.denoiser != paper.denoiser, "another U-Net"),
            (config.latent_weight != paper.latent_weight, f"latent weight {config.latent_weight:g}"),
            (config.pixel_weight > 0, "pixel losses"),
            (config.prediction != paper.prediction, "predicts the latent, not the noise"),
            (config.steps != paper.steps, f"{config.steps} steps"),
            (config.steps > 1 and config.eta > 0, f"eta {config.eta:g}"),
            (config.conditioner == "pyramid", "image encoder over an ImageNet network"),
            (config.conditioner == "frozen", "frozen image encoder"),
            (is_copy and not self._has_dropout, "no dropout in the image encoder"),
            (
                is_copy and self._has_dropout and has_other_dropout,
                f"dropout {config.conditioner_dropout:g} in the image encoder",
            ),
            (config.scaled_condition, "scaled image latent"),
            codec_deviation(self.codec, "kl", "SD-VAE"),
        )

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
            {conditioner.backbone_name: conditioner.backbone}
            if isinstance(conditioner, PyramidConditioner)
            else {}
        )

    def begin_from_ldm_unet(self, published: Mapping[str, Tensor], path: Path) -> None:
        """Begin with the U-Net of a latent diffusion model, such as that of LSUN churches.

        Parameters
        ----------
        published
            State dict of its checkpoint.
        path
            The file, for messages.

        Raises
        ------
        BadInput
            If it holds no U-Net, or another than this one; the method is unchanged then.
        """
        unet = self.denoiser.unet
        load_state(unet, ldm_unet_state(published, unet, self.config.denoiser, path), path)

    @property
    def float32_functions(self) -> tuple[str, ...]:
        """The U-Net, whatever it predicts: with one step no other follows that could correct an error."""
        return ("denoise",)

    @property
    def trainable_modules(self) -> nn.ModuleDict:
        return nn.ModuleDict(
            {"denoiser": self.denoiser, "conditioner": self.conditioner, "latent_scale": self.latent_scale}
        )

    def stages(self) -> list[Stage]:
        return [Stage("", self.trainable_modules, self.loss, on_start=self._measure_latent_scale)]

    def _measure_latent_scale(self, batches: Iterable[Batch]) -> None:
        """Set the latent scale to one over the standard deviation of the latents of masks, see `scale_from`.

        Raises
        ------
        BadInput
            If all masks are empty, or all latents are the same.
        """
        latents: list[Tensor] = []
        for batch in batches:
            if self.config.scale_from == "first_batch":
                latents += self.codec.encode_mask(batch.masks).float()
                break
            foreground_masks = batch.masks[batch.masks.flatten(1).any(dim=1)]
            if len(foreground_masks):
                latents += self.codec.encode_mask(foreground_masks).float()
            if len(latents) >= _MIN_SCALE_MASKS:
                break
        std = torch.stack(latents).std() if latents else torch.zeros(())
        if not (torch.isfinite(std) and std > 0):
            raise BadInput(
                "masks", "are empty, or have constant latents", "annotate the target, or use another codec"
            )
        self.latent_scale.value.copy_(1 / std)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Equation 3: mean absolute error of the noise, and of the clean latent that it implies.

        The latent error is computed as the noise error times `Diffusion.latent_to_noise_error_ratio`, which
        is the same: Equation 2 divides a difference by sqrt(alpha-bar_t), down to 0.026, and loses digits.
        """
        with torch.no_grad():
            z0 = self._mask_latents(batch.masks)
        return self._loss_terms(self.encode(batch.images), z0, batch.masks, generator, len(z0))

    def _mask_latents(self, masks: Tensor) -> Tensor:
        return self.latent_scale.value * self.codec.encode_mask(masks).float()

    def fine_tune_spec(self) -> FineTuneSpec:
        """The last block of the U-Net is trained, given the image latent."""
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
        predicted = self.denoise(z_t, t, z_c)
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
        """z_c, the image latent, `(B, C, H/f, W/f)`."""
        conditioning: Tensor = self.conditioner(images)
        if self.config.conditioner != "copy":
            with torch.no_grad():
                latent = self.codec.encode(images)
            conditioning = latent if self.config.conditioner == "frozen" else conditioning + latent
        # all kinds of conditioner give latents multiplied by the codec's scale; the paper's code does not
        # scale them
        return conditioning if self.config.scaled_condition else conditioning / self.codec.scale

    def sample(self, conditioning: Tensor, noise: Noise | None = None) -> Tensor:
        """A mask `(B, 1, H, W)` in [0, 1] from noise; with one step, Equation 2 at the last timestep."""
        latents = self.diffusion.sample(
            lambda z_t, t: self.denoise(z_t, t, conditioning),
            tuple(conditioning.shape),
            random_noise() if noise is None else noise,
        )
        return self.decode(latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Masks `(B, 1, H, W)` in [0, 1] of mask latents `(B, C, h, w)`."""
        return self.codec.decode_mask(latents / self.latent_scale.value)

    def denoise(self, z_t: Tensor, t: Tensor, z_c: Tensor) -> Tensor:
        """The U-Net's prediction from noisy latents, timesteps `(B,)` and image latents: `(B, C, h, w)`."""
        # never in half precision: an error of the noise is multiplied by up to 39 in the latent (Equation 2)
        with torch.autocast(z_t.device.type, enabled=False):
            predicted: Tensor = self.denoiser(z_t.float(), t, z_c.float())
        return predicted


def _set_dropout(encoder: nn.Module, rate: float) -> bool:
    """Set the dropout rate in an encoder's residual blocks; whether there is any dropout then."""
    dropouts = [
        module
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Dropout) and name.endswith(".dropout")
    ]
    for module in dropouts:
        module.p = rate
    return bool(dropouts and rate)
