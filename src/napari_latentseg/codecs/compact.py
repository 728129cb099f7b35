"""The embedded codec: small enough to travel with the package."""

from __future__ import annotations

from copy import deepcopy

from torch import Tensor, nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.networks.compact import CompactDecoder, CompactEncoder

__all__ = ["CompactCodec"]


class CompactCodec(Codec):
    """The project's own autoencoder; images in [0, 1] inside as outside, scale 1."""

    kind = "compact"

    def __init__(
        self,
        channels: int = 32,
        widths: tuple[int, int] = (64, 128),
        blocks: tuple[int, int] = (3, 4),
    ) -> None:
        super().__init__()
        self.channels = channels
        self.encoder = CompactEncoder(channels, widths, blocks)
        self.decoder = CompactDecoder(channels, widths, blocks)

    def encode(self, images: Tensor) -> Tensor:
        z: Tensor = self.encoder(images)
        return z

    def decode(self, latents: Tensor) -> Tensor:
        x: Tensor = self.decoder(latents)
        return x

    def encoder_copy(self) -> nn.Module:
        return deepcopy(self.encoder).requires_grad_(True)
