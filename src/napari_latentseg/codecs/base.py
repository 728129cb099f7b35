"""What every codec offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from napari_latentseg.codecs.spec import Kind
from napari_latentseg.errors import BadInput

__all__ = ["Codec"]


class Codec(nn.Module, ABC):
    """A pair of encoder and decoder.

    Attributes
    ----------
    kind
        The key under which it is built.
    channels
        Channels of a latent.
    downsampling_factor
        Pixels for one position of a latent, along each side.
    scale
        What the autoencoder's own latents are multiplied by, to be of about unit scale.
    has_posterior
        Whether the encoder gives a distribution, and not only a latent.
    """

    kind: Kind
    channels: int
    downsampling_factor: int = 8
    scale: float = 1.0
    has_posterior: bool = False

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images in [0, 1], `(B, 3, H, W)`, to scaled latents `(B, channels, H/factor, W/factor)`.

        H and W must be multiples of `downsampling_factor`. Where the autoencoder has a posterior, this is its
        mean.
        """

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to images, nominally in [0, 1] but not clamped, `(B, 3, H, W)`."""

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """What `encode` gives, and its standard deviation in the same units, of one pass of the encoder.

        The second is None where there is no posterior.
        """
        return self.encode(images), None

    def posterior_std(self, images: Tensor) -> Tensor | None:
        """Standard deviation of the posterior in the units of `encode`, None where there is no posterior."""
        return self.posterior(images)[1] if self.has_posterior else None

    def trainable_encoder(self) -> nn.Module:
        """A trainable copy of the encoder, which maps what `encode` maps.

        Raises
        ------
        BadInput
            Where this kind of codec does not offer one.
        """
        raise BadInput(
            "codec",
            f"a {self.kind} codec offers no encoder to train",
            "leave the conditioner frozen, or use another codec",
        )

    def encode_mask(self, masks: Tensor) -> Tensor:
        """Masks in {0, 1} or probabilities, `(B, 1, H, W)`, encoded as three equal channels.

        Raises
        ------
        ValueError
            Where the masks have several channels: three would pass for the colours of an image.
        """
        if masks.shape[1] != 1:
            raise ValueError(f"a mask has one channel, not {masks.shape[1]}")
        return self.encode(masks.expand(-1, 3, -1, -1))

    def decode_mask(self, latents: Tensor) -> Tensor:
        """Probabilities `(B, 1, H, W)` in [0, 1]: the mean over the channels first, then the clamp."""
        return self.decode(latents).mean(dim=1, keepdim=True).clamp(0, 1)

    def freeze(self) -> Codec:
        """Fix the weights. Gradients still pass through to a latent, as a mapper's training needs."""
        self.requires_grad_(False)
        return self.eval()
