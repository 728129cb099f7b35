"""A small convolutional autoencoder that works at a quarter resolution and below.

Full-resolution convolutions are what makes the usual tiny autoencoders slow on a CPU. Here the
pixels are folded into channels first (pixel unshuffle), so that the most expensive layer works on
a sixteenth of the positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CompactDecoder", "CompactEncoder"]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip, no normalisation (as in TAESD)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(x + self.conv2(self.act(self.conv1(x))))
        return y


class CompactEncoder(nn.Module):
    """Images `(B, 3, H, W)` to latents `(B, channels, H/8, W/8)`; H and W divide by 8."""

    def __init__(
        self,
        channels: int = 32,
        widths: tuple[int, int] = (64, 128),
        blocks: tuple[int, int] = (3, 4),
    ) -> None:
        super().__init__()
        fine, coarse = widths
        self.stem = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, fine, 3, padding=1))
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(blocks[0])))
        self.down = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * fine, coarse, 1))
        self.coarse = nn.Sequential(*(ResidualBlock(coarse) for _ in range(blocks[1])))
        self.head = nn.Conv2d(coarse, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fine(self.stem(x))
        z: Tensor = self.head(self.coarse(self.down(x)))
        return z


class CompactDecoder(nn.Module):
    """Latents `(B, channels, h, w)` to images `(B, 3, 8h, 8w)`, the encoder mirrored.

    The input goes through `3 tanh(z / 3)` first (as in TAESD), so that a mapper's wild prediction
    cannot leave the range that the decoder has seen.
    """

    def __init__(
        self,
        channels: int = 32,
        widths: tuple[int, int] = (64, 128),
        blocks: tuple[int, int] = (3, 4),
    ) -> None:
        super().__init__()
        fine, coarse = widths
        self.stem = nn.Conv2d(channels, coarse, 3, padding=1)
        self.coarse = nn.Sequential(*(ResidualBlock(coarse) for _ in range(blocks[1])))
        self.up = nn.Sequential(nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2))
        self.fine = nn.Sequential(*(ResidualBlock(fine) for _ in range(blocks[0])))
        self.head = nn.Sequential(nn.Conv2d(fine, 48, 3, padding=1), nn.PixelShuffle(4))

    def forward(self, z: Tensor) -> Tensor:
        z = 3 * torch.tanh(z / 3)
        x: Tensor = self.head(self.fine(self.up(self.coarse(self.stem(z)))))
        return x
