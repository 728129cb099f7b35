"""The embedded codec, small enough to come with the package."""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.networks.compact import CompactDecoder, CompactEncoder

__all__ = ["CompactCodec"]


class CompactCodec(Codec):
    """The autoencoder of this project (networks/compact.py); it works on images in [0, 1].

    Parameters
    ----------
    channels, widths, blocks
        Sizes of the networks; see `CompactEncoder`.
    scale
        Brings latents of images to about unit variance, as 0.18215 does for SD-VAE, so that losses on latents
        keep the weight that the papers give them.

    Raises
    ------
    ValueError
        If the scale is not above 0.
    """

    kind = "compact"

    def __init__(
        self,
        channels: int = 32,
        widths: tuple[int, int] = (64, 128),
        blocks: tuple[int, int] = (3, 4),
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"a scale is above 0, not {scale}")
        self.channels = channels
        self.scale = scale
        self.encoder = CompactEncoder(channels, widths, blocks)
        self.decoder = CompactDecoder(channels, widths, blocks)

    def encode(self, images: Tensor) -> Tensor:
        z: Tensor = self.encoder(images)
        return self.scale * z

    def decode(self, latents: Tensor) -> Tensor:
        x: Tensor = self.decoder(latents / self.scale)
        return x

    def trainable_encoder(self) -> nn.Module:
        copy = deepcopy(self.encoder).requires_grad_(True)
        with torch.no_grad():  # the copy includes the scale, in its last layer
            for weight in copy.head.parameters():
                weight.mul_(self.scale)
        return copy
