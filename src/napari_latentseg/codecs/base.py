"""The interface of every codec."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from napari_latentseg.codecs.spec import Kind
from napari_latentseg.errors import BadInput

__all__ = ["Codec"]


class Codec(nn.Module, ABC):
    """A pretrained autoencoder: images to latents and back.

    Attributes
    ----------
    kind
        Its key in model cards and `build_codec`.
    channels
        Latent channels.
    downsampling_factor
        Pixels per latent position along each side.
    scale
        Factor that brings the autoencoder's latents to about unit standard deviation; `encode` multiplies by
        it, and `decode` divides.
    has_posterior
        Whether the encoder gives a normal distribution (a KL autoencoder) or only a latent.
    other_latents
        What it is, where it has the shape of a codec of the papers but other latents: ``"SDXL's VAE"``,
        ``"TAESDXL"``. Empty for the papers' codecs, and where the shape already differs.
    """

    kind: Kind
    channels: int
    downsampling_factor: int = 8
    scale: float = 1.0
    has_posterior: bool = False
    other_latents: str = ""

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images in [0, 1], `(B, 3, H, W)`, to scaled latents `(B, channels, H/factor, W/factor)`.

        H and W must be multiples of `downsampling_factor`. With a posterior, the latent is its mean.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents `(B, channels, h, w)` to images `(B, 3, H, W)`, nominally in [0, 1], not clamped."""

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean (as `encode`) and standard deviation of the posterior, from one pass of the encoder.

        Both are scaled, `(B, channels, H/f, W/f)`; the standard deviation is None without a posterior.
        """
        return self.encode(images), None

    def posterior_std(self, images: Tensor) -> Tensor | None:
        """Standard deviation of the posterior, scaled as `encode`'s latents; None without a posterior."""
        return self.posterior(images)[1] if self.has_posterior else None

    def trainable_encoder(self) -> nn.Module:
        """A trainable copy of the encoder, from images in [0, 1] to scaled latents, as `encode`.

        Raises
        ------
        BadInput
            If this kind of codec has no encoder to copy.
        """
        raise BadInput(
            "codec",
            f"a {self.kind} codec has no encoder that can be trained",
            "use a frozen conditioner, or another codec",
        )

    def encode_mask(self, masks: Tensor) -> Tensor:
        """Latents of masks `(B, 1, H, W)` in [0, 1], encoded as grey images with three equal channels.

        Raises
        ------
        ValueError
            If the masks have more than one channel: three would pass for the colours of an image.
        """
        if masks.shape[1] != 1:
            raise ValueError(f"a mask has one channel, not {masks.shape[1]}")
        return self.encode(masks.expand(-1, 3, -1, -1))

    def mask_pixels(self, latents: Tensor) -> Tensor:
        """Pixel values `(B, 1, H, W)` of latents: the mean over the three decoded channels, not clamped."""
        return self.decode(latents).mean(dim=1, keepdim=True)

    def mask_probabilities(self, pixels: Tensor) -> Tensor:
        """Probabilities in [0, 1] of what `mask_pixels` gives: clamped."""
        return pixels.clamp(0, 1)

    def decode_mask(self, latents: Tensor) -> Tensor:
        """Probabilities `(B, 1, H, W)` in [0, 1]: the mean over the three decoded channels, then clamped.

        GMS's code has this order; SDSeg's clamps first, which hardly differs.
        """
        return self.mask_probabilities(self.mask_pixels(latents))

    def freeze(self) -> Codec:
        """Freeze the weights; the gradient still flows through the decoder to a latent, for pixel losses."""
        self.requires_grad_(False)
        return self.eval()
