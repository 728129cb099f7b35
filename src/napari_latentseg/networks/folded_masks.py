"""Masks folded into channels: a latent of masks that loses nothing and has no decoder.

A codec made for images spends its decoder on colours and textures that a mask does not have, and a small
network learns slowly through it. Folding (pixel unshuffle) brings a mask to the resolution of a latent as it
is: the mapper predicts each pixel of it. This is this project's own, in none of the five papers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_latentseg.networks.losses import MASK_STEEPNESS

__all__ = ["FoldedMasks"]


class FoldedMasks:
    """Masks as latents of `factor` x `factor` pixels each; the calls are those of `Codec` for masks.

    Parameters
    ----------
    factor
        Pixels per latent position along each side.

    Attributes
    ----------
    channels
        Of a latent: the square of the factor.
    """

    def __init__(self, factor: int) -> None:
        self.factor = factor
        self.channels = factor * factor

    def encode_mask(self, masks: Tensor) -> Tensor:
        """Masks `(B, 1, H, W)` in [0, 1] to latents `(B, channels, H/factor, W/factor)`, the same values."""
        return F.pixel_unshuffle(masks, self.factor)

    def mask_pixels(self, latents: Tensor) -> Tensor:
        """Pixel values `(B, 1, H, W)` of latents, nominally in [0, 1]."""
        return F.pixel_shuffle(latents, self.factor)

    def mask_probabilities(self, pixels: Tensor) -> Tensor:
        """Probabilities in [0, 1] of pixel values: those that `pixel_cross_entropy` trains."""
        return torch.sigmoid(MASK_STEEPNESS * (pixels - 0.5))

    def decode_mask(self, latents: Tensor) -> Tensor:
        """Probabilities `(B, 1, H, W)` in [0, 1] of latents."""
        return self.mask_probabilities(self.mask_pixels(latents))
