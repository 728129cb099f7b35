"""A conditioner that sees the whole image: an encoder, and a small pyramid below its resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_latentseg.networks.lmm import ResidualUnit, SpatialAttention

__all__ = ["ContextConditioner"]


class ContextConditioner(nn.Module):
    """An encoder whose latent is corrected by what half and a quarter of its resolution show.

    The last layer begins at zero, so that training begins from the encoder as it is.

    Parameters
    ----------
    encoder
        Images to latents, `(B, 3, H, W)` to `(B, channels, H/8, W/8)`.
    channels
        Of its latents.
    widths
        At the encoder's resolution, half and a quarter of it; multiples of 16.
    dropout
        Fraction of the feature maps left out in training.
    """

    def __init__(
        self,
        encoder: nn.Module,
        channels: int,
        widths: tuple[int, int, int] = (96, 128, 160),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.encoder = encoder
        self.stem = nn.Conv2d(channels, fine, 3, padding=1)
        self.fine = ResidualUnit(fine, fine)
        self.middle = nn.Sequential(ResidualUnit(fine, middle), ResidualUnit(middle, middle))
        self.coarse = nn.Sequential(
            ResidualUnit(middle, coarse), ResidualUnit(coarse, coarse), SpatialAttention(coarse)
        )
        self.to_middle = ResidualUnit(coarse + middle, middle)
        self.to_fine = ResidualUnit(middle + fine, fine)
        self.out = nn.Conv2d(fine, channels, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(torch.as_tensor(self.out.bias))

    def forward(self, images: Tensor) -> Tensor:
        z: Tensor = self.encoder(images)
        fine = self.fine(self.stem(z))
        middle = self.middle(_half(fine))
        coarse = self.dropout(self.coarse(_half(middle)))
        middle = self.dropout(self.to_middle(torch.cat([_grown(coarse, middle), middle], 1)))
        fine = self.to_fine(torch.cat([_grown(middle, fine), fine], 1))
        out: Tensor = self.out(fine)
        return z + out


def _half(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _grown(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="nearest")
