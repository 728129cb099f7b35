"""Codecs built by diffusers: SD-VAE (`AutoencoderKL`) and TAESD (`AutoencoderTiny`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.errors import BadInput

__all__ = ["KLCodec", "TinyCodec"]


class _DiffusersCodec(Codec):
    """What the two have in common.

    diffusers takes and gives [-1, 1], and never applies `scaling_factor` and `shift_factor` itself; both are
    done here, once.

    Raises
    ------
    BadInput
        Where the autoencoder is not one for colour images, or its scale is none.
    """

    def __init__(self, autoencoder: Any, widths: str) -> None:
        super().__init__()
        config = autoencoder.config
        for side in ("in_channels", "out_channels"):
            if config[side] != 3:
                raise BadInput(side, f"is {config[side]}, not 3", "use an autoencoder for colour images")
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
        """Put shift and scale into the last layer of an encoder."""
        with torch.no_grad():
            layer.bias.sub_(self.shift).mul_(self.scale)
            layer.weight.mul_(self.scale)

    def decode(self, latents: Tensor) -> Tensor:
        signed: Tensor = self.autoencoder.decode(latents / self.scale + self.shift).sample
        return (signed + 1) / 2


class KLCodec(_DiffusersCodec):
    """A KL-regularised autoencoder such as SD-VAE: 8x down, 4 channels, scale 0.18215.

    Parameters
    ----------
    autoencoder
        A `diffusers.AutoencoderKL`.
    """

    kind = "kl"
    has_posterior = True

    def __init__(self, autoencoder: Any) -> None:
        super().__init__(autoencoder, "block_out_channels")

    def encode(self, images: Tensor) -> Tensor:
        return self.posterior(images)[0]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        distribution = self.autoencoder.encode(self._to_signed_range(images)).latent_dist
        return self._scale_latents(distribution.mean), self.scale * distribution.std

    def trainable_encoder(self) -> nn.Module:
        """The encoder, and a 1x1 convolution in place of that of the moments, for the mean alone.

        SDSeg's vision encoder, where the convolution begins at random; of SD-VAE, 34,163,592 + 36 parameters.
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
    """A distilled tiny autoencoder such as TAESD: latents come scaled, there is no posterior.

    Gradient checkpointing must stay off: diffusers' encoder then skips the step from [-1, 1] to [0, 1].

    Parameters
    ----------
    autoencoder
        A `diffusers.AutoencoderTiny`.
    """

    kind = "tiny"

    def __init__(self, autoencoder: Any) -> None:
        super().__init__(autoencoder, "encoder_block_out_channels")

    def encode(self, images: Tensor) -> Tensor:
        return self._scale_latents(self.autoencoder.encode(self._to_signed_range(images)).latents)

    def trainable_encoder(self) -> nn.Module:
        # its layers take [0, 1]
        layers: nn.Sequential = deepcopy(self.autoencoder.encoder.layers)
        self._fold_scaling(layers[-1])
        return layers.requires_grad_(True)


class _SignedInput(nn.Module):
    """A network that was made for [-1, 1], for images in [0, 1]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.network(2 * images - 1)
        return output


def _finite_setting(config: Mapping[str, Any], name: str) -> float:
    value = config[name]
    if value is None and name == "shift_factor":
        return 0.0
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(name, f"is {value!r}, not a number", "copy the folder again")
    return float(value)
