"""Codecs built by diffusers: SD-VAE (`AutoencoderKL`), TAESD (`AutoencoderTiny`) and VQ-VAEs (`VQModel`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput

__all__ = ["KLCodec", "TinyCodec", "VQCodec"]

# Scales of the latents of the autoencoders of Stable Diffusion 1 and 2, and of SDXL (their `scaling_factor`).
_SD_SCALE, _SDXL_SCALE = 0.18215, 0.13025
_SDXL_NAME = "SDXL's VAE"
_TAESD_SCALE = 1.0


class _DiffusersCodec(Codec):
    """Value range and latent scale of diffusers' autoencoders.

    They work on images in [-1, 1], and do not apply their `scaling_factor` and `shift_factor`; both are done
    here.

    Parameters
    ----------
    autoencoder
        The diffusers model.
    widths
        Name of the setting with the channels of each resolution.

    Raises
    ------
    BadInput
        If the autoencoder is not for three-channel images, or its scale is not a positive number.
    """

    def __init__(self, autoencoder: Any, widths: str) -> None:
        super().__init__()
        config = autoencoder.config
        for side in ("in_channels", "out_channels"):
            if config[side] != 3:
                raise BadInput(
                    side, f"is {config[side]}, not 3", "use an autoencoder for images with three channels"
                )
        self.autoencoder = autoencoder
        self.channels = int(config["latent_channels"])
        self.downsampling_factor = 2 ** (len(config[widths]) - 1)
        self.scale = _finite_setting(config, "scaling_factor")
        self.shift = _finite_setting(config, "shift_factor")
        if self.scale <= 0:
            raise BadInput("scaling_factor", f"is {self.scale}", "it must be above 0; copy the folder again")

    def _to_signed_range(self, images: Tensor) -> Tensor:
        return 2 * images - 1

    def _scale_latents(self, latents: Tensor) -> Tensor:
        return self.scale * (latents - self.shift)

    def _fold_scaling(self, layer: Any) -> None:
        """Fold shift and scale into the last convolution of an encoder."""
        with torch.no_grad():
            layer.bias.sub_(self.shift).mul_(self.scale)
            layer.weight.mul_(self.scale)

    def decode(self, latents: Tensor) -> Tensor:
        signed: Tensor = self.autoencoder.decode(latents / self.scale + self.shift).sample
        return (signed + 1) / 2


class KLCodec(_DiffusersCodec):
    """A KL autoencoder such as SD-VAE, which downsamples by 8, with 4 latent channels and scale 0.18215.

    Parameters
    ----------
    autoencoder
        A `diffusers.AutoencoderKL`.
    """

    kind = "kl"
    has_posterior = True

    def __init__(self, autoencoder: Any) -> None:
        super().__init__(autoencoder, "block_out_channels")
        if self.scale != _SD_SCALE:
            self.other_latents = _SDXL_NAME if self.scale == _SDXL_SCALE else _scale_text(self.scale)

    def encode(self, images: Tensor) -> Tensor:
        return self.posterior(images)[0]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        distribution = self.autoencoder.encode(self._to_signed_range(images)).latent_dist
        return self._scale_latents(distribution.mean), self.scale * distribution.std

    def trainable_encoder(self) -> nn.Module:
        """The encoder, with a 1 x 1 convolution that gives the posterior mean alone.

        SDSeg's image encoder (34,163,592 + 36 parameters for SD-VAE). In its code the convolution is
        initialised randomly, here with the codec's weights for the mean.
        """
        encoder = deepcopy(self.autoencoder.encoder)
        head: Any = nn.Conv2d(encoder.conv_out.out_channels, self.channels, 1)
        moments = self.autoencoder.quant_conv
        with torch.no_grad():
            if moments is None:
                nn.init.dirac_(head.weight)
                nn.init.zeros_(head.bias)
            else:
                head.weight.copy_(moments.weight[: self.channels])
                head.bias.copy_(moments.bias[: self.channels])
        self._fold_scaling(head)
        return _SignedInput(nn.Sequential(encoder, head)).requires_grad_(True)


class TinyCodec(_DiffusersCodec):
    """A distilled autoencoder such as TAESD, whose latents are already scaled; it has no posterior.

    Gradient checkpointing must stay off: with it diffusers' encoder skips the conversion from [-1, 1] to [0,
    1].

    Parameters
    ----------
    autoencoder
        A `diffusers.AutoencoderTiny`.
    """

    kind = "tiny"

    def __init__(self, autoencoder: Any) -> None:
        super().__init__(autoencoder, "encoder_block_out_channels")
        if self.scale != _TAESD_SCALE:
            self.other_latents = _scale_text(self.scale)

    def encode(self, images: Tensor) -> Tensor:
        return self._scale_latents(self.autoencoder.encode(self._to_signed_range(images)).latents)

    def trainable_encoder(self) -> nn.Module:
        # these layers take images in [0, 1]; the conversion is in the forward of the encoder around them
        layers: nn.Sequential = deepcopy(self.autoencoder.encoder.layers)
        self._fold_scaling(layers[-1])
        return layers.requires_grad_(True)


class VQCodec(_DiffusersCodec):
    """A VQ-VAE, whose latents are codes of a codebook: the other tokenizer of GMS's Table 5.

    Images are encoded to codes. What a predictor gives is quantised before it is decoded; the gradient passes
    the quantisation unchanged (straight through).

    Parameters
    ----------
    autoencoder
        A `diffusers.VQModel`.
    """

    kind = "vq"

    def __init__(self, autoencoder: Any) -> None:
        super().__init__(autoencoder, "block_out_channels")

    def encode(self, images: Tensor) -> Tensor:
        outputs = self.autoencoder.encode(self._to_signed_range(images)).latents
        return self._scale_latents(self.autoencoder.quantize(outputs)[0])


class _SignedInput(nn.Module):
    """Adapts a network for images in [-1, 1] to images in [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.network(2 * images - 1)
        return output


def _scale_text(scale: float) -> str:
    return f"codec with latent scale {scale:g}"


def _finite_setting(config: Mapping[str, Any], name: str) -> float:
    value = config.get(name)
    if value is None and name == "shift_factor":
        return 0.0
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(name, f"is {value!r}, not a number", "copy the folder again")
    return float(value)
