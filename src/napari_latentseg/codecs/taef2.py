"""The tiny autoencoder distilled from the FLUX.2 VAE, with 32 latent channels."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.networks.taef2 import build_taef2_decoder, build_taef2_encoder

__all__ = ["Taef2Codec"]


class Taef2Codec(Codec):
    """taef2 (networks/taef2.py): works on images in [0, 1]; 32 latent channels, in about [-3, 3], scale 1."""

    kind = "taef2"
    channels = 32

    def __init__(self) -> None:
        super().__init__()
        self.encoder = build_taef2_encoder()
        self.decoder = build_taef2_decoder()

    def encode(self, images: Tensor) -> Tensor:
        z: Tensor = self.encoder(images)
        return z

    def decode(self, latents: Tensor) -> Tensor:
        x: Tensor = self.decoder(latents)
        return x

    def trainable_encoder(self) -> nn.Module:
        return deepcopy(self.encoder).requires_grad_(True)
