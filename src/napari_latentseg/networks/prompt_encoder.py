"""Prompts - clicks, boxes, an earlier answer - as a latent beside that of the image.

This project's own addition: guided latent diffusion (Salsi et al.) guides one model for many structures by a
class; here it is guided by a place.
"""

from __future__ import annotations

from torch import Tensor, nn

from napari_latentseg.networks.lmm import ResidualUnit

__all__ = ["PROMPT_CHANNELS", "PromptEncoder"]

PROMPT_CHANNELS = ("positive", "negative", "box", "previous")
"""The maps of a prompt, each in [0, 1] at the size of the image: discs around clicks inside and outside the
structure (or scribbles), the inside of a box, and the probability of the answer before."""


class PromptEncoder(nn.Module):
    """Prompt maps `(B, 4, H, W)` to a latent `(B, channels, H/f, W/f)`.

    Pixels are folded into channels first, so that a click keeps its place to the pixel, and the convolutions
    work on few positions: a click costs next to nothing.

    Parameters
    ----------
    channels
        Of the latent; a multiple of 16, the groups of its normalisation.
    factor
        Downsampling factor f of the image's latent.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.fold = nn.PixelUnshuffle(factor)
        self.project = nn.Conv2d(len(PROMPT_CHANNELS) * factor**2, channels, 3, padding=1)
        self.mix = ResidualUnit(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        latent: Tensor = self.mix(self.project(self.fold(maps)))
        return latent
